package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/blob/mem"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

var (
	acme   = RepositoryKey{GroupID: 1, Name: "team/app"}
	other  = RepositoryKey{GroupID: 2, Name: "team/app"}
	cached = RepositoryKey{GroupID: 1, UpstreamID: 7, Epoch: 1, Name: "library/alpine"}
)

// run runs a subtest on each engine, with a blob store whose stages can be read back on one and cannot on the other.
func run(t *testing.T, o Options, fn func(t *testing.T, s *Store)) {
	t.Helper()
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			useMemoryFolder(t)
			db := metatest.Open(t, engine)
			addGroups(t, db)
			var blobs blob.Store = mem.New(mem.Options{PartSize: 16})
			if engine == meta.SQLite {
				var err error
				blobs, err = fs.New(t.TempDir())
				ok(t, err)
			}
			fn(t, open(t, db, blobs, o))
		})
	}
}

// useMemoryFolder makes t.TempDir a folder in memory where there is one. These tests stop processes, not machines, and
// thousands of flushes to a disk would only make them slow.
func useMemoryFolder(t *testing.T) {
	t.Helper()
	const folder = "/dev/shm"
	if info, err := os.Stat(folder); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", folder)
	}
}

// addGroups adds the groups of the repositories above, and the upstream.
func addGroups(t testing.TB, db *meta.DB) {
	t.Helper()
	ok(t, db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return errors.Join(
			tx.InsertGroup(ctx, query.InsertGroupParams{ID: 1, Name: "acme", Enabled: true}),
			tx.InsertGroup(ctx, query.InsertGroupParams{ID: 2, Name: "other", Enabled: true}),
			tx.InsertUpstream(ctx, query.InsertUpstreamParams{ID: 7, GroupID: 1, Name: "hub", Epoch: 1}))
	}))
}

func open(t testing.TB, db database, blobs blob.Store, o Options) *Store {
	t.Helper()
	s := newStore(db, blobs, o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func want(t testing.TB, err error, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digestOf(b []byte) oci.Digest { return oci.DigestOf(oci.SHA256, b) }

// commit stores bytes the way a fill does.
func commit(ctx context.Context, s *Store, key RepositoryKey, content []byte) (Blob, error) {
	stage, err := s.Stage(ctx)
	if err != nil {
		return Blob{}, err
	}
	if _, err := stage.Append(ctx, 0, bytes.NewReader(content)); err != nil {
		return Blob{}, err
	}
	b, err := s.CommitBlob(ctx, key, stage, digestOf(content))
	return b, errors.Join(err, stage.Close())
}

// image is a small image: what pushes and pulls move.
type image struct {
	config, layer, payload []byte
	digest                 oci.Digest
	manifest               *oci.Manifest
}

func descriptor(mediaType string, content []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: digestOf(content), Size: int64(len(content))}
}

// newImage makes an image that name tells from others.
func newImage(name string) image {
	img := image{
		config: fmt.Appendf(nil, `{"os":"linux","architecture":"arm64","variant":"v8","created":"2026-01-02T03:04:05Z","config":{"Labels":{"name":%q}}}`, name),
		layer:  []byte("layer of " + name),
	}
	return img.seal(map[string]any{
		"config": descriptor(oci.MediaTypeImageConfig, img.config),
		"layers": []oci.Descriptor{descriptor("application/vnd.oci.image.layer.v1.tar", img.layer)},
	}, oci.MediaTypeImageManifest)
}

// seal makes the payload of a manifest from its fields.
func (img image) seal(fields map[string]any, mediaType string) image {
	fields["schemaVersion"], fields["mediaType"] = 2, mediaType
	var err error
	if img.payload, err = json.Marshal(fields); err != nil {
		panic(err)
	}
	img.digest = digestOf(img.payload)
	if img.manifest, err = oci.ParseManifest(mediaType, img.payload); err != nil {
		panic(err)
	}
	return img
}

// newReferrer makes a manifest without blobs whose subject is another one.
func newReferrer(subject oci.Digest, artifactType string) image {
	return image{}.seal(map[string]any{
		"subject": oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: subject, Size: 1}, "artifactType": artifactType,
		"layers": []oci.Descriptor{}, "annotations": map[string]string{"of": string(subject)},
	}, oci.MediaTypeImageManifest)
}

func newIndex(children ...image) image {
	var list []oci.Descriptor
	for _, child := range children {
		list = append(list, descriptor(oci.MediaTypeImageManifest, child.payload))
	}
	return image{}.seal(map[string]any{"manifests": list}, oci.MediaTypeImageIndex)
}

func (img image) put(key RepositoryKey, tags ...string) PutManifest {
	return PutManifest{
		Repository: key, Digest: img.digest, MediaType: img.manifest.MediaType, Payload: img.payload, Manifest: img.manifest,
		Tags: tags, Via: ViaPush, Strict: key.UpstreamID == 0,
	}
}

// push stores the blobs and then the manifest, as clients do.
func push(ctx context.Context, s *Store, key RepositoryKey, img image, tags ...string) (int64, error) {
	for _, content := range [][]byte{img.config, img.layer} {
		if content == nil {
			continue
		}
		if _, err := commit(ctx, s, key, content); err != nil {
			return 0, err
		}
	}
	return s.PutManifest(ctx, img.put(key, tags...))
}

func mustPush(t testing.TB, s *Store, key RepositoryKey, img image, tags ...string) int64 {
	t.Helper()
	id, err := push(t.Context(), s, key, img, tags...)
	ok(t, err)
	return id
}

// collect reviews every candidate that is due at at until none is, and deletes what is doomed: what package gc does. Nobody may
// write meanwhile: a writer can make candidates for as long as it likes.
func collect(ctx context.Context, s *Store, at time.Time) error {
	for range 20 {
		n, err := sweep(ctx, s, at)
		if n == 0 || err != nil {
			return err
		}
	}
	return errors.New("the collection does not end")
}

// sweep is one round of collect and returns how much it found to do.
func sweep(ctx context.Context, s *Store, at time.Time) (int, error) {
	candidates, err := s.ClaimCandidates(ctx, at, 1000)
	if err != nil {
		return 0, err
	}
	for _, c := range candidates {
		if _, err := s.Review(ctx, []Candidate{c}); err != nil {
			return 0, err
		}
	}
	doomed, err := s.DoomedKeys(ctx, 1000)
	if err != nil {
		return 0, err
	}
	for _, d := range doomed {
		if err := s.blobs.Delete(ctx, d.Key); err != nil {
			return 0, err
		}
		if err := s.ForgetDoomed(ctx, d.Key); err != nil {
			return 0, err
		}
	}
	return len(candidates) + len(doomed), nil
}

// sound fails the test unless every promise about rows and bytes holds. garbage says whether objects that no row names are
// accepted: what a crash leaves for the scrub.
func sound(t testing.TB, s *Store, garbage bool) {
	t.Helper()
	ctx := t.Context()
	ok(t, s.CheckRows(ctx, func(p Problem) { t.Errorf("%s %s: %s", p.Kind, p.Subject, p.Detail) }))
	blobs, err := s.BlobPage(ctx, "", 10_000)
	ok(t, err)
	for _, b := range blobs {
		content, err := s.blobs.Open(ctx, b.Key, 0, -1)
		if err != nil {
			t.Errorf("blob %s: %v", b.Digest, err)
			continue
		}
		data, err := io.ReadAll(io.LimitReader(content.Body, content.Length))
		ok(t, errors.Join(err, content.Body.Close()))
		if digestOf(data) != b.Digest || int64(len(data)) != b.Size {
			t.Errorf("blob %s has the bytes of %s", b.Digest, digestOf(data))
		}
	}
	for info, err := range s.blobs.List(ctx, "", "") {
		ok(t, err)
		named, err := s.HasKey(ctx, info.Key)
		ok(t, err)
		if !named && !garbage {
			t.Errorf("nothing names object %s", info.Key)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// objects counts the objects in the blob store.
func objects(t testing.TB, s *Store) (n int) {
	t.Helper()
	for _, err := range s.blobs.List(t.Context(), "", "") {
		ok(t, err)
		n++
	}
	return n
}

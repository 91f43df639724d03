package hosted_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/hosted"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// open returns an empty store with the groups 1 to 99.
func open(t *testing.T) *store.Store {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // nothing here stops the machine, and flushing to a disk is slow
	}
	db := metatest.Open(t, meta.SQLite)
	err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) (err error) {
		for id := range int64(99) {
			err = errors.Join(err, tx.InsertGroup(ctx, query.InsertGroupParams{ID: id + 1, Name: fmt.Sprint("g", id+1), Enabled: true}))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := fs.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := store.New(db, blobs, store.Options{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSuite(t *testing.T) {
	o := registrytest.Options{Push: true, Delete: true, Tags: true, Catalog: true, Referrers: true}
	s, group := open(t), int64(0)
	registrytest.Run(t, o, func(t *testing.T, fixture registrytest.Fixture) registry.Registry {
		group++ // a fresh group is a fresh registry
		r := hosted.New(s, group, nil)
		fixture.PushTo(t, r)
		return r
	})
}

func TestBlobIsAFile(t *testing.T) {
	r := hosted.New(open(t), 1, nil)
	c := registrytest.RandomBlob(1, 100_000)
	registrytest.PushBlob(t, r, "a", c)
	b, err := r.Blob(t.Context(), "a", c.Digest, registry.Range{Offset: 100, Length: 50_000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Body.Close() }()
	if _, ok := b.Body.(*os.File); !ok {
		t.Errorf("the body is a %T: it cannot leave by sendfile", b.Body)
	}
}

func TestSparseIndex(t *testing.T) {
	r := hosted.New(open(t), 1, func(name string) bool { return name == "sparse" })
	index := registrytest.RandomIndex(1, 1, 10).Manifest
	put := registry.PutManifest{MediaType: index.MediaType, Payload: index.Payload}
	if _, err := r.PutManifest(t.Context(), "sparse", oci.ByTag("t"), put); err != nil {
		t.Errorf("where it is allowed: %v", err)
	}
	_, err := r.PutManifest(t.Context(), "strict", oci.ByTag("t"), put)
	if oci.ErrorCode(err) != oci.CodeManifestBlobUnknown {
		t.Errorf("elsewhere: %v", err)
	}
	image := registrytest.RandomImage(2, 1, 10).Manifest
	_, err = r.PutManifest(t.Context(), "sparse", oci.ByTag("t"), registry.PutManifest{MediaType: image.MediaType, Payload: image.Payload})
	if oci.ErrorCode(err) != oci.CodeManifestBlobUnknown {
		t.Errorf("an image without its blobs: %v", err)
	}
}

func TestDeleteOfANeededBlobIs405(t *testing.T) {
	r := hosted.New(open(t), 1, nil)
	image := registrytest.RandomImage(1, 1, 10)
	registrytest.Push(t, r, "a", []string{"t"}, image)
	e, ok := errors.AsType[*oci.Error](r.DeleteBlob(t.Context(), "a", image.Config().Digest))
	if !ok || e.Code != oci.CodeDenied || e.Status() != 405 {
		t.Errorf("%v", e)
	}
}

// TestTwoRequestsOnOneUpload: the second is told so, the first is not disturbed, and later the upload goes on.
func TestTwoRequestsOnOneUpload(t *testing.T) {
	r, ctx := hosted.New(open(t), 1, nil), t.Context()
	c := registrytest.RandomBlob(1, 100)
	first, err := r.StartUpload(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.ResumeUpload(ctx, "a", first.ID())
	if e, ok := errors.AsType[*oci.Error](err); !ok || e.Code != oci.CodeBlobUploadInvalid || e.Status() != 409 || e.RetryAfter <= 0 {
		t.Errorf("while the first works on it: %v", err)
	}
	if err := errors.Join(first.Append(ctx, 0, c.Reader(0)), first.Close()); err != nil {
		t.Fatal(err)
	}
	second, err := r.ResumeUpload(ctx, "a", first.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Commit(ctx, c.Digest); err != nil {
		t.Error(err)
	}
}

// TestTransferIsolation: what another group, or another repository of one's own, holds is of no use without a mount.
func TestTransferIsolation(t *testing.T) {
	s, ctx := open(t), t.Context()
	one, two := hosted.New(s, 1, nil), hosted.New(s, 2, nil)
	image := registrytest.RandomImage(1, 1, 1000)
	registrytest.Push(t, one, "a", []string{"t"}, image)
	layer := image.Layers()[0].Digest
	for name, r := range map[string]registry.Registry{"b": one, "a": two} {
		if _, err := r.StatBlob(ctx, name, layer); registry.AsOutcome(err).Outcome != registry.Absent {
			t.Errorf("stat: %v", err)
		}
		_, err := r.PutManifest(ctx, name, oci.ByTag("t"), registry.PutManifest{MediaType: image.Manifest.MediaType, Payload: image.Manifest.Payload})
		if oci.ErrorCode(err) != oci.CodeManifestBlobUnknown {
			t.Errorf("a manifest of another's blobs: %v", err)
		}
	}
	if _, err := two.MountBlob(ctx, "a", "a", layer); oci.ErrorCode(err) != oci.CodeBlobUnknown {
		t.Errorf("mount from the other group by its name: %v", err)
	}
	if _, err := two.LinkBlob(ctx, "b", one, "a", layer); err != nil {
		t.Errorf("link that was checked above: %v", err)
	}
	if got := registrytest.ReadBlob(t, two, "b", layer, registry.Range{}); !bytes.Equal(got, image.Layers()[0].Bytes()) {
		t.Error("other bytes")
	}
	if _, err := two.LinkBlob(ctx, "c", registrytest.NewMemory(), "a", layer); oci.ErrorCode(err) != oci.CodeUnsupported {
		t.Errorf("link from something else: %v", err)
	}
}

func TestMember(t *testing.T) {
	r, ctx := hosted.New(open(t), 1, nil), t.Context()
	image := registrytest.RandomImage(1, 1, 100)
	registrytest.Push(t, r, "team/app", []string{"t"}, image)
	registrytest.Push(t, r, "teams/app", []string{"t"}, registrytest.RandomImage(2, 1, 10))
	m := hosted.NewMember(r, "team")
	for _, c := range []struct {
		name   string
		q      virtual.Query
		exists bool
		want   registry.Outcome
	}{
		{"tag", virtual.Query{Kind: virtual.KindManifest, Repository: "team/app", Reference: oci.ByTag("t")}, true, registry.Found},
		{"digest", virtual.Query{Kind: virtual.KindManifest, Repository: "team/app", Reference: oci.ByDigest(image.Manifest.Digest)}, true, registry.Found},
		{"blob", virtual.Query{Kind: virtual.KindBlob, Repository: "team/app", Reference: oci.ByDigest(image.Config().Digest)}, true, registry.Found},
		{"tags", virtual.Query{Kind: virtual.KindTags, Repository: "team/app"}, true, registry.Found},
		{"referrers", virtual.Query{Kind: virtual.KindReferrers, Repository: "team/app", Reference: oci.ByDigest(image.Manifest.Digest)}, true, registry.Found},
		{"another tag", virtual.Query{Kind: virtual.KindManifest, Repository: "team/app", Reference: oci.ByTag("none")}, true, registry.Absent},
		{"outside the prefix", virtual.Query{Kind: virtual.KindManifest, Repository: "teams/app", Reference: oci.ByTag("t")}, false, registry.Absent},
	} {
		t.Run(c.name, func(t *testing.T) {
			peek, err := m.Peek(ctx, c.q)
			found := peek.State == virtual.Fresh
			if err != nil || peek.Exists != c.exists || found != (c.want == registry.Found) {
				t.Errorf("peek: %+v %v", peek, err)
			}
			for _, mode := range []virtual.Mode{virtual.ModeGet, virtual.ModeHead, virtual.ModeProbe} {
				c.q.Mode = mode
				a := m.Ask(ctx, c.q)
				if a.Outcome != c.want {
					t.Errorf("ask: %s %v", a.Outcome, a.Err)
				}
				if a.Blob != nil {
					_ = a.Blob.Body.Close()
				}
			}
		})
	}
	var tags []string
	for tag, err := range m.Admissions(ctx, "team/app", image.Config().Digest) {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
	}
	if !slices.Contains(tags, "t") {
		t.Errorf("the config was admitted by %q, want its tag", tags)
	}
	for range m.Admissions(ctx, "teams/app", image.Config().Digest) {
		t.Error("an admission outside the prefix")
	}
}

// Package worktest gives the tests of jobs a store with rows and bytes, a clock to move, and images to put into it.
package worktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/blob/mem"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Repositories that exist in every fixture's group.
var (
	Hosted = store.RepositoryKey{GroupID: 1, Name: "team/app"}
	Other  = store.RepositoryKey{GroupID: 1, Name: "team/other"}
	Cached = store.RepositoryKey{GroupID: 1, UpstreamID: 7, Epoch: 1, Name: "library/alpine"}
	Stale  = store.RepositoryKey{GroupID: 1, UpstreamID: 7, Epoch: 0, Name: "library/alpine"} // of an earlier epoch
)

// Log is a logger for jobs under test.
func Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Fixture is a store under test.
type Fixture struct {
	DB    *meta.DB
	Blobs blob.Store
	Store *store.Store
	Clock *Clock
}

// Run runs a subtest on SQLite with bytes in a folder, and on PostgreSQL with bytes in memory, where deleted objects stay
// listed for a while. wrap, if not nil, puts something around the bytes.
func Run(t *testing.T, o store.Options, wrap func(blob.Store) blob.Store, fn func(t *testing.T, f *Fixture)) {
	t.Helper()
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		var blobs blob.Store = mem.New(mem.Options{PartSize: 64, Linger: 1})
		if db.Engine() == meta.SQLite {
			var err error
			if blobs, err = fs.New(t.TempDir()); err != nil {
				t.Fatal(err)
			}
		}
		if wrap != nil {
			blobs = wrap(blobs)
		}
		fn(t, newFixture(t, db, blobs, o))
	})
}

// WithCapacity is a fixture whose bytes are in a memory of bounded size.
func WithCapacity(t *testing.T, db *meta.DB, capacity int64) *Fixture {
	t.Helper()
	return newFixture(t, db, mem.New(mem.Options{Capacity: capacity}), store.Options{})
}

func newFixture(t *testing.T, db *meta.DB, blobs blob.Store, o store.Options) *Fixture {
	t.Helper()
	Must(t, db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return errors.Join(
			tx.InsertGroup(ctx, query.InsertGroupParams{ID: 1, Name: "acme", Enabled: true}),
			tx.InsertUpstream(ctx, query.InsertUpstreamParams{
				ID: 7, GroupID: 1, Name: "hub", Url: "https://hub.test", Epoch: 1, Enabled: true,
				OnUnknown: meta.Continue, OnUpstreamDelete: meta.Serve, Freshness: "{}", Settings: "{}",
			}))
	}))
	f := &Fixture{DB: db, Blobs: blobs, Clock: &Clock{now: time.UnixMicro(time.Now().UnixMicro())}}
	o.Now = f.Clock.Now
	f.Store = store.New(db, blobs, o)
	t.Cleanup(func() {
		if err := f.Store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return f
}

// Clock is a clock that runs only when it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Pass moves the clock.
func (c *Clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Image is a small image.
type Image struct {
	Blobs    [][]byte // config, then layers
	Payload  []byte
	Digest   oci.Digest
	Manifest *oci.Manifest
}

// NewImage makes an image of layers with the given content and a config of its own.
func NewImage(layers ...string) Image {
	img := Image{Blobs: [][]byte{fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","layers":%q}`, layers)}}
	descriptors := []oci.Descriptor{}
	for _, layer := range layers {
		img.Blobs = append(img.Blobs, []byte(layer))
		descriptors = append(descriptors, descriptor("application/vnd.oci.image.layer.v1.tar", []byte(layer)))
	}
	var err error
	img.Payload, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest,
		"config": descriptor(oci.MediaTypeImageConfig, img.Blobs[0]), "layers": descriptors,
	})
	if err == nil {
		img.Manifest, err = oci.ParseManifest(oci.MediaTypeImageManifest, img.Payload)
	}
	if err != nil {
		panic(err) // no input reaches it
	}
	img.Digest = oci.DigestOf(oci.SHA256, img.Payload)
	return img
}

func descriptor(mediaType string, content []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: oci.DigestOf(oci.SHA256, content), Size: int64(len(content))}
}

// Size is the size of the image's blobs.
func (img Image) Size() (n int64) {
	for _, b := range img.Blobs {
		n += int64(len(b))
	}
	return n
}

// Commit stores a blob in a repository.
func Commit(ctx context.Context, s *store.Store, key store.RepositoryKey, content []byte) error {
	stage, err := s.Stage(ctx)
	if err != nil {
		return err
	}
	defer stage.Close()
	if _, err := stage.Append(ctx, 0, bytes.NewReader(content)); err != nil {
		return errors.Join(err, stage.Drop(ctx))
	}
	_, err = s.CommitBlob(ctx, key, stage, oci.DigestOf(oci.SHA256, content))
	return err
}

// Put stores an image's manifest under a tag; its blobs must be there if the repository is hosted.
func Put(ctx context.Context, s *store.Store, key store.RepositoryKey, img Image, tag string) (repository int64, err error) {
	return s.PutManifest(ctx, store.PutManifest{
		Repository: key, Digest: img.Digest, MediaType: oci.MediaTypeImageManifest, Payload: img.Payload, Manifest: img.Manifest,
		Tags: []string{tag}, Strict: key.UpstreamID == 0,
	})
}

// Push stores an image with its blobs and returns the repository's id.
func (f *Fixture) Push(t *testing.T, key store.RepositoryKey, img Image, tag string) int64 {
	t.Helper()
	for _, b := range img.Blobs {
		Must(t, Commit(t.Context(), f.Store, key, b))
	}
	id, err := Put(t.Context(), f.Store, key, img, tag)
	Must(t, err)
	return id
}

// Objects is how many objects the blob store holds. (A deleted one may be listed, but it cannot be opened.)
func (f *Fixture) Objects(t *testing.T) (n int) {
	t.Helper()
	for info, err := range f.Blobs.List(t.Context(), "", "") {
		Must(t, err)
		content, err := f.Blobs.Open(t.Context(), info.Key, 0, -1)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		Must(t, err)
		Must(t, content.Body.Close())
		n++
	}
	return n
}

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

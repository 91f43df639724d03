package gc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/work/gc"
	"github.com/weir-registry/weir/internal/work/worktest"
)

// Pushes, fills, mounts and deletes of the same few digests, while a collector without any grace takes what it can. Whatever
// happens, what a transaction acknowledged as stored together is there together, and in the end nothing is left over.
func TestRacingWriters(t *testing.T) {
	const writers, rounds = 4, 12
	images := []worktest.Image{worktest.NewImage("a", "b"), worktest.NewImage("b", "c"), worktest.NewImage("c", "a")}
	worktest.Run(t, store.Options{Grace: -1}, nil, func(t *testing.T, f *worktest.Fixture) {
		collector := newCollector(f, gc.Options{HighBytes: 60, LowBytes: 30})
		stop := make(chan struct{})
		var collecting, writing sync.WaitGroup
		collecting.Go(func() {
			for {
				if err := errors.Join(collector.Collect(t.Context()), collector.Evict(t.Context())); err != nil {
					t.Errorf("collect: %v", err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		for n := range writers {
			writing.Go(func() {
				w := writer{t: t, f: f, random: rand.New(rand.NewPCG(uint64(n), 1))}
				for range rounds {
					w.act(images[w.random.IntN(len(images))])
				}
			})
		}
		writing.Wait()
		close(stop)
		collecting.Wait()

		wantSound(t, f)
		for _, img := range images {
			for _, key := range []store.RepositoryKey{worktest.Hosted, worktest.Other, worktest.Cached} {
				removeIfThere(t, f, key, img)
			}
		}
		worktest.Must(t, collector.Collect(t.Context()))
		wantObjects(t, f, "after everything was deleted", 0)
		wantSound(t, f)
	})
}

func removeIfThere(t *testing.T, f *worktest.Fixture, key store.RepositoryKey, img worktest.Image) {
	t.Helper()
	id, err := f.Store.RepositoryID(t.Context(), key)
	if errors.Is(err, store.ErrNotFound) {
		return
	}
	worktest.Must(t, err)
	if err := f.Store.DeleteManifest(t.Context(), id, img.Digest); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
}

// writer does what clients do, each step in its own transaction, and reports only what must not happen.
type writer struct {
	t      *testing.T
	f      *worktest.Fixture
	random *rand.Rand
}

func (w *writer) act(img worktest.Image) {
	ctx := w.t.Context()
	switch w.random.IntN(5) {
	case 0:
		w.push(ctx, worktest.Hosted, img)
	case 1:
		w.mountAndPush(ctx, img)
	case 2:
		w.fill(ctx, img)
	case 3:
		w.delete(ctx, img)
	case 4:
		w.read(ctx, img)
	}
}

// push sends everything again when the collector was faster than the manifest: that is what having no grace period means.
func (w *writer) push(ctx context.Context, key store.RepositoryKey, img worktest.Image) {
	for range 20 {
		for _, b := range img.Blobs {
			if err := worktest.Commit(ctx, w.f.Store, key, b); err != nil {
				w.t.Errorf("push a blob: %v", err)
				return
			}
		}
		var missing *store.MissingError
		if _, err := worktest.Put(ctx, w.f.Store, key, img, fmt.Sprint("t", w.random.IntN(3))); !errors.As(err, &missing) {
			if err != nil {
				w.t.Errorf("push a manifest: %v", err)
			}
			return
		}
	}
}

func (w *writer) mountAndPush(ctx context.Context, img worktest.Image) {
	for _, b := range img.Blobs {
		_, err := w.f.Store.LinkBlob(ctx, worktest.Other, oci.DigestOf(oci.SHA256, b))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			w.t.Errorf("mount: %v", err)
		}
	}
	w.push(ctx, worktest.Other, img)
}

// fill stores a cached image in the order of a pull: the manifest first.
func (w *writer) fill(ctx context.Context, img worktest.Image) {
	if _, err := worktest.Put(ctx, w.f.Store, worktest.Cached, img, "latest"); err != nil {
		w.t.Errorf("fill a manifest: %v", err)
	}
	for _, b := range img.Blobs {
		if err := worktest.Commit(ctx, w.f.Store, worktest.Cached, b); err != nil {
			w.t.Errorf("fill a blob: %v", err)
		}
	}
}

func (w *writer) delete(ctx context.Context, img worktest.Image) {
	id, err := w.f.Store.RepositoryID(ctx, worktest.Hosted)
	if err == nil {
		err = w.f.Store.DeleteManifest(ctx, id, img.Digest)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		w.t.Errorf("delete: %v", err)
	}
}

// read pulls: a blob that is linked can be read to its end, unless it is deleted in this moment.
func (w *writer) read(ctx context.Context, img worktest.Image) {
	id, err := w.f.Store.RepositoryID(ctx, worktest.Hosted)
	if err != nil {
		return
	}
	for _, want := range img.Blobs {
		b, err := w.f.Store.Blob(ctx, id, oci.DigestOf(oci.SHA256, want))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		var content blob.Content
		if err == nil {
			content, err = w.f.Store.OpenBlob(ctx, b, 0, -1)
		}
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			w.t.Errorf("read: %v", err)
			return
		}
		got, err := io.ReadAll(io.LimitReader(content.Body, content.Length))
		if err != nil || string(got) != string(want) {
			w.t.Errorf("read %q, %v; want %q", got, err, want)
		}
		_ = content.Body.Close()
	}
}

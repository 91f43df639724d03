package faults

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/hosted"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// slowBlobs is a blob store whose disk has stopped writing: whatever is to be durable waits until it goes on. It still reads.
type slowBlobs struct {
	blob.Store
	waits chan struct{} // gets an element for each write that waits

	mu   sync.Mutex
	goOn chan struct{} // nil = as fast as ever
}

func (s *slowBlobs) stop() (goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	s.goOn = c
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.goOn = nil
		close(c)
	}
}

func (s *slowBlobs) wait() {
	s.mu.Lock()
	c := s.goOn
	s.mu.Unlock()
	if c != nil {
		s.waits <- struct{}{}
		<-c
	}
}

// Stage implements blob.Store.
func (s *slowBlobs) Stage(ctx context.Context) (blob.Stage, error) {
	st, err := s.Store.Stage(ctx)
	return &slowStage{st, s}, err
}

type slowStage struct {
	blob.Stage
	store *slowBlobs
}

// Commit implements blob.Stage.
func (s *slowStage) Commit(ctx context.Context, digest oci.Digest) (string, error) {
	s.store.wait()
	return s.Stage.Commit(ctx, digest)
}

// TestDiskSlow stops the disk in the middle of many pushes. Nobody else waits for it: neither pulls nor changes that need no bytes.
func TestDiskSlow(t *testing.T) {
	t.Parallel()
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return tx.InsertGroup(ctx, query.InsertGroupParams{ID: 1, Name: "acme", Enabled: true})
		})
		if err != nil {
			t.Fatal(err)
		}
		under, err := fs.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		const pushes = 64
		slow := &slowBlobs{Store: under, waits: make(chan struct{}, pushes)}
		s := store.New(db, slow, store.Options{})
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		r := hosted.New(s, 1, nil)
		image := registrytest.RandomImage(1, 2, 10_000)
		for _, b := range image.Blobs {
			registrytest.PushBlob(t, r, "app", b)
		}
		put := registry.PutManifest{MediaType: image.Manifest.MediaType, Payload: image.Manifest.Payload}
		tag(t, r, "1", put)

		goOn := slow.stop()
		var all sync.WaitGroup
		for i := range pushes {
			all.Go(func() { registrytest.PushBlob(t, r, "app", registrytest.RandomBlob(uint64(100+i), 1000)) })
		}
		for range pushes {
			<-slow.waits
		}
		pullSlow(t, r, image)
		tag(t, r, "2", put)
		if err := r.DeleteManifest(t.Context(), "app", oci.ByTag("1")); err != nil {
			t.Error(err)
		}
		goOn()
		all.Wait()
	})
}

func tag(t *testing.T, r *hosted.Registry, name string, put registry.PutManifest) {
	t.Helper()
	if _, err := r.PutManifest(t.Context(), "app", oci.ByTag(name), put); err != nil {
		t.Fatal(err)
	}
}

func pullSlow(t *testing.T, r *hosted.Registry, image registrytest.Image) {
	t.Helper()
	if m, err := r.Manifest(t.Context(), "app", oci.ByTag("1")); err != nil || !bytes.Equal(m.Payload, image.Manifest.Payload) {
		t.Fatalf("manifest: %v", err)
	}
	for _, b := range image.Blobs {
		got, err := r.Blob(t.Context(), "app", b.Digest, registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(got.Body)
		if _ = got.Body.Close(); err != nil || !bytes.Equal(content, b.Bytes()) {
			t.Errorf("blob: %d bytes, %v", len(content), err)
		}
	}
}

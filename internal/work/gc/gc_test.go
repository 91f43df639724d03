package gc_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/work/check"
	"github.com/weir-registry/weir/internal/work/gc"
	"github.com/weir-registry/weir/internal/work/worktest"
)

func newCollector(f *worktest.Fixture, o gc.Options) *gc.Collector {
	o.Log, o.Now = worktest.Log(), f.Clock.Now
	if o.MinFree == 0 {
		o.MinFree = -1
	}
	return gc.New(f.Store, f.Blobs, o)
}

// wantSound checks every promise of the store: rows against rows, rows against bytes, bytes against rows.
func wantSound(t *testing.T, f *worktest.Fixture) {
	t.Helper()
	c := check.New(f.Store, f.Blobs, check.Options{Log: worktest.Log(), Now: f.Clock.Now, Deep: true, Grace: -1})
	_, err := c.Run(t.Context(), func(p check.Finding) {
		if p.Kind != check.OrphanStage { // the sweep's business
			t.Errorf("%s %s: %s", p.Kind, p.Subject, p.Detail)
		}
	})
	worktest.Must(t, err)
}

func wantObjects(t *testing.T, f *worktest.Fixture, what string, want int) {
	t.Helper()
	if n := f.Objects(t); n != want {
		t.Errorf("%s: %d objects, want %d", what, n, want)
	}
}

func TestDeleteGivesSpaceBack(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		c := newCollector(f, gc.Options{})
		gone, kept := worktest.NewImage("one", "shared"), worktest.NewImage("two", "shared")
		id := f.Push(t, worktest.Hosted, gone, "gone")
		f.Push(t, worktest.Hosted, kept, "kept")
		f.Push(t, worktest.Other, worktest.NewImage("shared"), "a")
		worktest.Must(t, f.Store.DeleteManifest(t.Context(), id, gone.Digest))
		worktest.Must(t, c.Collect(t.Context()))
		wantObjects(t, f, "within the grace period", 6)
		f.Clock.Pass(25 * time.Hour)
		worktest.Must(t, c.Collect(t.Context()))
		wantObjects(t, f, "afterwards", 4) // without the config and the layer of its own
		wantSound(t, f)
		keys, err := f.Store.DoomedKeys(t.Context(), 10)
		if err != nil || len(keys) != 0 {
			t.Errorf("doomed keys left: %v, %v", keys, err)
		}
		if _, err := f.Store.Blob(t.Context(), id, oci.DigestOf(oci.SHA256, []byte("shared"))); err != nil {
			t.Errorf("the shared layer: %v", err)
		}
	})
}

func TestUnusedUploadsGo(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		c := newCollector(f, gc.Options{})
		worktest.Must(t, worktest.Commit(t.Context(), f.Store, worktest.Hosted, []byte("never named")))
		f.Clock.Pass(25 * time.Hour)
		worktest.Must(t, c.Collect(t.Context()))
		wantObjects(t, f, "after a push that was never finished", 0)
		wantSound(t, f)
	})
}

// failing is a content whose reviews of some digests fail.
type failing struct {
	*store.Store
	digest    oci.Digest
	postponed []time.Time
}

func (f *failing) Review(ctx context.Context, batch []store.Candidate) (store.Collected, error) {
	if slices.ContainsFunc(batch, func(c store.Candidate) bool { return c.Kind == store.CandidateLink && c.Digest == f.digest }) {
		return store.Collected{}, errors.New("no luck")
	}
	return f.Store.Review(ctx, batch)
}

func (f *failing) Postpone(ctx context.Context, c store.Candidate, until time.Time) error {
	f.postponed = append(f.postponed, until)
	return f.Store.Postpone(ctx, c, until)
}

func TestFailureIsPutOff(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		bad := []byte("bad")
		for _, content := range [][]byte{[]byte("good"), bad, []byte("better")} {
			worktest.Must(t, worktest.Commit(t.Context(), f.Store, worktest.Hosted, content))
		}
		content := &failing{Store: f.Store, digest: oci.DigestOf(oci.SHA256, bad)}
		c := gc.New(content, f.Blobs, gc.Options{Log: worktest.Log(), Now: f.Clock.Now})
		f.Clock.Pass(25 * time.Hour)
		for n, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			if err := c.Collect(t.Context()); err == nil {
				t.Fatal("Collect hides the failure")
			}
			wantObjects(t, f, "the others are collected", 1)
			if len(content.postponed) != n+1 || !content.postponed[n].Equal(f.Clock.Now().Add(wait)) {
				t.Fatalf("put off to %v, want %v after %v", content.postponed, wait, f.Clock.Now())
			}
			worktest.Must(t, c.Collect(t.Context())) // not due
			f.Clock.Pass(wait)
		}
		content.digest = ""
		worktest.Must(t, c.Collect(t.Context()))
		wantObjects(t, f, "in the end", 0)
	})
}

// stuck is a blob store that cannot delete.
type stuck struct {
	blob.Store
	on bool
}

func (s *stuck) Delete(ctx context.Context, key string) error {
	if s.on {
		return errors.New("503 slow down")
	}
	return s.Store.Delete(ctx, key)
}

func TestBytesThatCannotBeDeleted(t *testing.T) {
	var blobs *stuck
	wrap := func(under blob.Store) blob.Store { blobs = &stuck{Store: under, on: true}; return blobs }
	worktest.Run(t, store.Options{Grace: -1}, wrap, func(t *testing.T, f *worktest.Fixture) {
		c := newCollector(f, gc.Options{})
		content := []byte("content")
		worktest.Must(t, worktest.Commit(t.Context(), f.Store, worktest.Hosted, content))
		worktest.Must(t, c.Collect(t.Context()))
		if err := c.Collect(t.Context()); err == nil {
			t.Error("Collect hides that bytes cannot be deleted")
		}
		wantObjects(t, f, "while nothing can be deleted", 1)
		wantSound(t, f) // doomed: not an orphan
		// A push of the same content meanwhile gets an object of its own.
		worktest.Must(t, worktest.Commit(t.Context(), f.Store, worktest.Cached, content))
		blobs.on = false
		keys, err := f.Store.DoomedKeys(t.Context(), 10)
		worktest.Must(t, err)
		if len(keys) != 1 {
			t.Fatalf("doomed keys: %v", keys)
		}
		id := f.Push(t, worktest.Cached, worktest.NewImage("content"), "a")
		worktest.Must(t, c.Collect(t.Context()))
		wantSound(t, f)
		b, err := f.Store.Blob(t.Context(), id, oci.DigestOf(oci.SHA256, content))
		if err != nil || b.Key == keys[0].Key {
			t.Errorf("the new blob: %+v, %v", b, err)
		}
	})
}

func TestHandlers(t *testing.T) {
	worktest.Run(t, store.Options{Grace: -1}, nil, func(t *testing.T, f *worktest.Fixture) {
		worktest.Must(t, worktest.Commit(t.Context(), f.Store, worktest.Hosted, []byte("content")))
		var kinds []string
		for _, h := range newCollector(f, gc.Options{}).Handlers() {
			kinds = append(kinds, h.Kind)
			worktest.Must(t, h.Run(t.Context(), nil))
			if h.Every <= 0 {
				t.Errorf("%s does not recur", h.Kind)
			}
		}
		if !slices.Equal(kinds, []string{gc.KindCollect, gc.KindEvict, gc.KindTrim}) {
			t.Errorf("kinds %v", kinds)
		}
		wantObjects(t, f, "after the jobs ran", 0)
	})
}

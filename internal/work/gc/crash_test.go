package gc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/blobtest"
	"github.com/weir-registry/weir/internal/work/gc"
	"github.com/weir-registry/weir/internal/work/worktest"
)

// crashing is a store, and its bytes, whose process dies at a chosen step: before the step, or after it when nobody learns of
// its result. Steps are what changes rows or bytes.
type crashing struct {
	*store.Store
	at     int
	moment blobtest.Moment
	steps  int
	dead   bool
}

func (c *crashing) step(do func() error) error {
	if c.dead {
		return blobtest.ErrCrash
	}
	c.steps++
	c.dead = c.steps == c.at
	if c.dead && c.moment == blobtest.Before {
		return blobtest.ErrCrash
	}
	err := do()
	if c.dead {
		return blobtest.ErrCrash
	}
	return err
}

func (c *crashing) Postpone(ctx context.Context, candidate store.Candidate, until time.Time) error {
	return c.step(func() error { return c.Store.Postpone(ctx, candidate, until) })
}

func (c *crashing) Review(ctx context.Context, batch []store.Candidate) (collected store.Collected, err error) {
	err = c.step(func() error { collected, err = c.Store.Review(ctx, batch); return err })
	return collected, err
}

func (c *crashing) ForgetDoomed(ctx context.Context, keys ...string) error {
	return c.step(func() error { return c.Store.ForgetDoomed(ctx, keys...) })
}

func (c *crashing) EvictManifest(ctx context.Context, repository int64, digest oci.Digest) error {
	return c.step(func() error { return c.Store.EvictManifest(ctx, repository, digest) })
}

// crashingBlobs is the bytes' side of crashing.
type crashingBlobs struct {
	blob.Store
	c *crashing
}

func (b crashingBlobs) Delete(ctx context.Context, key string) error {
	return b.c.step(func() error { return b.Store.Delete(ctx, key) })
}

func TestCrashAtEveryStep(t *testing.T) {
	worktest.Run(t, store.Options{Grace: -1}, nil, func(t *testing.T, f *worktest.Fixture) {
		for n := 1; ; n++ {
			through := true
			for _, moment := range []blobtest.Moment{blobtest.Before, blobtest.After} {
				if crashOnce(t, f, n, moment) {
					through = false
				}
			}
			if through {
				if n < 8 {
					t.Errorf("only %d steps: the crashes were not where they should be", n-1)
				}
				return
			}
		}
	})
}

// crashOnce fills the store with what has to go and with what must stay, lets a collector die at its nth step, lets a new one
// go on, and looks. It reports whether there was an nth step.
func crashOnce(t *testing.T, f *worktest.Fixture, n int, moment blobtest.Moment) (crashed bool) {
	t.Helper()
	kept := worktest.NewImage("kept", "shared")
	deleted := worktest.NewImage(fmt.Sprintf("deleted %d %d", n, moment), "shared")
	evicted := worktest.NewImage(fmt.Sprintf("evicted %d %d", n, moment))
	f.Push(t, worktest.Hosted, kept, "kept")
	id := f.Push(t, worktest.Hosted, deleted, "deleted")
	f.Push(t, worktest.Stale, evicted, "evicted")
	worktest.Must(t, f.Store.DeleteManifest(t.Context(), id, deleted.Digest))

	dying := &crashing{Store: f.Store, at: n, moment: moment}
	c := gc.New(dying, crashingBlobs{f.Blobs, dying}, gc.Options{Log: worktest.Log(), Now: f.Clock.Now, MinFree: -1})
	err := errors.Join(c.Collect(t.Context()), c.Evict(t.Context()))
	if err == nil && !dying.dead {
		return false
	}
	wantSound(t, f)
	next := newCollector(f, gc.Options{})
	worktest.Must(t, next.Collect(t.Context()))
	worktest.Must(t, next.Evict(t.Context()))
	wantSound(t, f)
	wantObjects(t, f, fmt.Sprintf("crash at step %d, moment %d", n, moment), len(kept.Blobs))
	return dying.dead
}

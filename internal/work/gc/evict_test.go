package gc_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/work/gc"
	"github.com/weir-registry/weir/internal/work/worktest"
)

// fill puts n cached images of about 1000 bytes each, one hour after another, and pulls the first one last.
func fill(t *testing.T, f *worktest.Fixture, n int) (repository int64, images []worktest.Image) {
	t.Helper()
	for i := range n {
		img := worktest.NewImage(fmt.Sprintf("%0900d", i))
		repository = f.Push(t, worktest.Cached, img, fmt.Sprint("v", i))
		images = append(images, img)
		f.Clock.Pass(time.Hour)
	}
	return repository, images
}

// cachedImages tells which of the images are there.
func cachedImages(t *testing.T, f *worktest.Fixture, repository int64, images []worktest.Image) (there []int) {
	t.Helper()
	for i, img := range images {
		_, err := f.Store.Manifest(t.Context(), repository, img.Digest)
		if err == nil {
			there = append(there, i)
		} else if !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return there
}

func TestEvictToLowWatermark(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		repository, images := fill(t, f, 10)
		f.Push(t, worktest.Hosted, worktest.NewImage("hosted"), "a")
		size := images[0].Size()
		c := newCollector(f, gc.Options{HighBytes: 10 * size, LowBytes: 6 * size})
		worktest.Must(t, c.Evict(t.Context()))
		if got := cachedImages(t, f, repository, images); len(got) != 10 {
			t.Errorf("at the high watermark: %v are left", got)
		}
		one := worktest.NewImage("one more")
		f.Push(t, worktest.Cached, one, "more")
		worktest.Must(t, c.Evict(t.Context()))
		got := cachedImages(t, f, repository, images)
		if len(got) != 5 || got[0] != 5 { // and the small one
			t.Errorf("%v are left, want the five pulled last", got)
		}
		cached, err := f.Store.CachedBytes(t.Context())
		if err != nil || cached > 6*size {
			t.Errorf("%d bytes are cached, want at most %d (%v)", cached, 6*size, err)
		}
		wantObjects(t, f, "bytes of evicted images are gone", 2*5+2+2)
		wantSound(t, f)
	})
}

func TestEvictForSpace(t *testing.T) {
	const capacity = 25_000
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			f := worktest.WithCapacity(t, metatest.Open(t, engine), capacity)
			repository, images := fill(t, f, 10)
			free, err := f.Blobs.Space(t.Context())
			worktest.Must(t, err)
			wanted := free + 2*images[0].Size() + 1 // more than two of them
			c := newCollector(f, gc.Options{MinFree: wanted})
			worktest.Must(t, c.Evict(t.Context()))
			if got := cachedImages(t, f, repository, images); len(got) != 7 || got[0] != 3 {
				t.Errorf("%v are left, want the seven pulled last", got)
			}
			if after, err := f.Blobs.Space(t.Context()); err != nil || after < wanted {
				t.Errorf("%d bytes free, want %d (%v)", after, wanted, err)
			}
			c = newCollector(f, gc.Options{MinFree: capacity * 10}) // more than there is: the cache must live all the same
			worktest.Must(t, c.Evict(t.Context()))
			if got := cachedImages(t, f, repository, images); len(got) != 6 {
				t.Errorf("%v are left, want as many as half of the space holds", got)
			}
		})
	}
}

func TestOutdatedContentGoesWithoutBudget(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		img := worktest.NewImage("one", "two")
		f.Push(t, worktest.Stale, img, "a")
		f.Push(t, worktest.Cached, worktest.NewImage("one"), "a")
		f.Push(t, worktest.Hosted, worktest.NewImage("one"), "a")
		f.Clock.Pass(25 * time.Hour)
		worktest.Must(t, newCollector(f, gc.Options{}).Collect(t.Context()))
		wantObjects(t, f, "without the old epoch", 2) // one layer, and the config that both images have
		wantSound(t, f)
	})
}

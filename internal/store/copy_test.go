package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestCopiesSurvive copies images from a cached repository into a hosted one the way the API does, by links and manifests, while the
// cache is filled, purged, evicted and collected in any order. What a copy's tag names must always be there whole, and in the end
// nothing else.
func TestCopiesSurvive(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		const images, steps = 5, 120
		ctx, random := t.Context(), rand.New(rand.NewPCG(7, 7)) //nolint:gosec // the same choices each time
		tags := map[string]image{}                              // of the copies
		for step := range steps {
			n := random.IntN(images)
			img := newImage(fmt.Sprint("image ", n))
			switch random.IntN(7) {
			case 0, 1:
				mustPush(t, s, cached, img, fmt.Sprint(n))
			case 2, 3:
				if copyImage(t, s, img, fmt.Sprint(n)) {
					tags[fmt.Sprint(n)] = img
				}
			case 4:
				id, err := s.RepositoryID(ctx, cached)
				if err == nil && random.IntN(2) == 0 {
					_, _, err = s.PurgeRepository(ctx, id, 100)
				} else if err == nil {
					_, err = s.PurgeTag(ctx, id, fmt.Sprint(n), "", false)
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
			case 5:
				if id, err := s.RepositoryID(ctx, acme); err == nil {
					if err := s.DeleteManifest(ctx, id, img.digest); err != nil && !errors.Is(err, ErrNotFound) {
						t.Fatal(err)
					}
					delete(tags, fmt.Sprint(n))
				}
			case 6:
				now = now.Add(time.Duration(random.IntN(30)) * time.Hour)
				ok(t, collect(ctx, s, now))
			}
			for tag, img := range tags {
				mustHold(t, s, step, tag, img)
			}
		}
		for range 3 {
			now = now.Add(48 * time.Hour)
			if id, err := s.RepositoryID(ctx, cached); err == nil {
				_, _, err = s.PurgeRepository(ctx, id, 100)
				ok(t, err)
			}
			ok(t, collect(ctx, s, now))
		}
		sound(t, s, false)
		if n := objects(t, s); n != 2*len(tags) {
			t.Errorf("%d objects are left of %d copies", n, len(tags))
		}
	})
}

// copyImage copies an image whose source holds it whole.
func copyImage(t *testing.T, s *Store, img image, tag string) bool {
	t.Helper()
	id, err := s.RepositoryID(t.Context(), cached)
	if err == nil {
		_, err = s.Manifest(t.Context(), id, img.digest)
	}
	if errors.Is(err, ErrNotFound) {
		return false
	}
	ok(t, err)
	for _, d := range img.manifest.Blobs() {
		_, err := s.Blob(t.Context(), id, d.Digest)
		ok(t, err)
		_, err = s.LinkBlob(t.Context(), acme, d.Digest)
		ok(t, err)
	}
	_, err = s.PutManifest(t.Context(), img.put(acme, tag))
	ok(t, err)
	return true
}

func mustHold(t *testing.T, s *Store, step int, tag string, img image) {
	t.Helper()
	id, err := s.RepositoryID(t.Context(), acme)
	ok(t, err)
	at, err := s.Tag(t.Context(), id, tag)
	if err != nil || at.Digest != img.digest {
		t.Fatalf("after step %d the copy %s is %s, %v", step, tag, at.Digest, err)
	}
	for _, d := range img.manifest.Blobs() {
		content, err := s.Config(t.Context(), id, d.Digest)
		if err != nil || digestOf(content) != d.Digest {
			t.Fatalf("after step %d blob %s of copy %s: %d other bytes, %v", step, d.Digest, tag, len(content), err)
		}
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// TestEverythingAtOnce pushes, fills, mounts, deletes and collects the same few digests in parallel, with no grace period, and
// checks what is left. A push that a delete or the collector got in the way of may be refused, but never half done.
func TestEverythingAtOnce(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		images := []image{newImage("a"), newImage("b"), newImage("c")}
		images[1].layer = images[0].layer // b shares a's layer
		images[1] = images[1].seal(map[string]any{
			"config": descriptor(oci.MediaTypeImageConfig, images[1].config), "layers": images[0].manifest.Layers,
		}, images[0].manifest.MediaType)
		keys := []RepositoryKey{acme, other, cached}
		for _, key := range keys {
			mustPush(t, s, key, images[0], "1")
		}
		const rounds = 25
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(worker))) //nolint:gosec // a test
				for range rounds {
					if err := disturb(ctx, s, random, keys[random.IntN(len(keys))], images); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Go(func() {
			for range rounds {
				if _, err := sweep(ctx, s, time.Now().Add(time.Hour)); err != nil {
					t.Errorf("sweep: %v", err)
					return
				}
			}
		})
		wg.Wait()
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		sound(t, s, false)
	})
}

// disturb does one random thing and returns errors that must not happen.
func disturb(ctx context.Context, s *Store, random *rand.Rand, key RepositoryKey, images []image) error {
	img := images[random.IntN(len(images))]
	id, err := s.RepositoryID(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) { // collected while it was empty: a push makes a new one
		return err
	}
	var what string
	switch n := random.IntN(11); {
	case n < 5:
		what = "push"
		_, err = push(ctx, s, key, img, fmt.Sprint(random.IntN(3)))
	case n < 7:
		what = "delete"
		err = s.DeleteManifest(ctx, id, img.digest)
	case n < 8:
		what = "delete a tag"
		err = s.DeleteTag(ctx, id, fmt.Sprint(random.IntN(3)))
	case n < 9:
		what = "mount"
		_, err = s.LinkBlob(ctx, key, digestOf(img.layer))
	case n < 10:
		what = "delete the repository"
		_, _, err = s.DeleteRepository(ctx, id, 100)
	default:
		what = "unlink"
		err = s.UnlinkBlob(ctx, id, digestOf(img.config))
	}
	var missing *MissingError
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInUse) || errors.As(err, &missing) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// TestManyWritersOfOneDigest has many transfers of the same content end at the same time.
func TestManyWritersOfOneDigest(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		var wg sync.WaitGroup
		for n := range 12 {
			wg.Go(func() {
				key := RepositoryKey{GroupID: 1, Name: fmt.Sprintf("app/n%d", n%3)}
				if _, err := commit(t.Context(), s, key, []byte("the same content")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := objects(t, s); n != 1 {
			t.Errorf("%d objects, want 1", n)
		}
		sound(t, s, false)
	})
}

func TestAdmissions(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, a, b := t.Context(), newImage("a"), newImage("b")
		index := newIndex(a)
		put := func(img image, via Via, tags ...string) int64 {
			p := img.put(cached, tags...)
			p.Via = via
			id, err := s.PutManifest(ctx, p)
			ok(t, err)
			return id
		}
		check := func(what string, id int64, img image, content []byte, want ...string) {
			t.Helper()
			got := map[string]int{}
			for tag, err := range s.Admissions(ctx, id, digestOf(content)) {
				ok(t, err)
				got[tag]++
			}
			for _, tag := range want {
				if got[tag] != 1 {
					t.Errorf("%s: admitted %d times by %q", what, got[tag], tag)
				}
				delete(got, tag)
			}
			if len(got) > 0 {
				t.Errorf("%s: also admitted by %v", what, got)
			}
		}
		id := put(index, "", "1", "2")
		put(a, "")
		check("child", id, a, a.payload, "1", "2")
		check("layer of a child", id, a, a.layer, "1", "2")
		check("stranger", id, b, b.payload)
		put(a, "", "direct")
		put(b, ViaDigest)
		check("both ways", id, a, a.layer, "1", "2", "direct")
		check("by digest", id, b, b.layer, "")
		head := newImage("head")
		ok(t, s.Admit(ctx, cached, head.digest, ViaTag, "3"))
		ok(t, s.Admit(ctx, cached, head.digest, ViaTag, "3"))
		check("resolved by HEAD", id, head, head.payload, "3")
		hosted := mustPush(t, s, acme, a)
		check("elsewhere", hosted, a, a.layer, "")
		for tag := range s.Admissions(ctx, id, digestOf(a.layer)) { // the caller may stop
			_ = tag
			break
		}
	})
}

// TestAdmissionsOfReferrers: a referrer is admitted through its subject for as long as it is here or listed.
func TestAdmissionsOfReferrers(t *testing.T) {
	run(t, Options{Grace: time.Hour}, func(t *testing.T, s *Store) {
		ctx, subject := t.Context(), newImage("subject")
		signature, sbom := newReferrer(subject.digest, "a/signature"), newReferrer(subject.digest, "a/sbom")
		speaks := strings.Replace(string(subject.digest), ":", "-", 1)
		id := mustPush(t, s, cached, subject, "1.0")
		check := func(what string, id int64, d oci.Digest, want ...string) {
			t.Helper()
			var got []string
			for tag, err := range s.Admissions(ctx, id, d) {
				ok(t, err)
				got = append(got, tag)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s: admitted by %q, want %q", what, got, want)
			}
		}
		list := func(payload string, referrers ...oci.Digest) {
			t.Helper()
			ok(t, s.PutList(ctx, List{
				Repository: cached, Kind: "referrers", Subject: subject.digest, Payload: []byte(payload), CheckedAt: s.now(), Referrers: referrers,
			}))
		}
		check("unheard of", id, signature.digest)
		list("1", signature.digest, sbom.digest)
		list("1", signature.digest, sbom.digest) // confirmed
		check("listed", id, signature.digest, speaks)
		mustPush(t, s, cached, signature)
		check("listed and here", id, signature.digest, "", speaks)
		list("2", signature.digest)
		check("listed no more", id, sbom.digest)
		ok(t, s.DeleteManifest(ctx, id, signature.digest))
		check("gone but listed", id, signature.digest, speaks)
		ok(t, s.DeleteManifest(ctx, id, subject.digest))
		check("gone with its subject", id, signature.digest)
		_, err := s.Tag(ctx, id, speaks)
		want(t, err, ErrNotFound) // no tag comes of it

		hosted := mustPush(t, s, acme, signature)
		check("pushed", hosted, signature.digest, "", speaks)
		check("elsewhere", id, signature.digest)
	})
}

// TestAdmissionsOfManyTags asks about a layer that many images share.
func TestAdmissionsOfManyTags(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, shared := t.Context(), newImage("shared")
		const images = 600
		var id int64
		for n := range images {
			img := image{}.seal(map[string]any{
				"layers": shared.manifest.Layers, "annotations": map[string]string{"n": fmt.Sprint(n)},
			}, shared.manifest.MediaType)
			var err error
			id, err = s.PutManifest(ctx, img.put(cached, fmt.Sprintf("v%d", n)))
			ok(t, err)
		}
		seen := map[string]bool{}
		start := time.Now()
		for tag, err := range s.Admissions(ctx, id, digestOf(shared.layer)) {
			ok(t, err)
			if seen[tag] {
				t.Fatalf("%q came twice", tag)
			}
			seen[tag] = true
		}
		if len(seen) != images {
			t.Errorf("%d tags, want %d", len(seen), images)
		}
		if d := time.Since(start); d > 5*time.Second { // tens of milliseconds; a wrong plan of the query takes minutes
			t.Errorf("%v for %d tags", d, images)
		}
	})
}

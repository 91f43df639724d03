package store

import (
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

const never = -1 // Options.Grace: nothing waits

func TestDeletedContentIsCollected(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, s *Store) {
		ctx, kept, gone := t.Context(), newImage("kept"), newImage("gone")
		id := mustPush(t, s, acme, kept, "1")
		mustPush(t, s, acme, gone, "2")
		signature := newReferrer(gone.digest, "a/signature")
		mustPush(t, s, acme, signature)
		mustPush(t, s, acme, newReferrer(signature.digest, "a/countersignature"))
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		if n := objects(t, s); n != 4 {
			t.Fatalf("%d objects before the delete, want 4", n)
		}
		ok(t, s.DeleteManifest(ctx, id, gone.digest))
		want(t, s.DeleteManifest(ctx, id, gone.digest), ErrNotFound)
		_, err := s.Tag(ctx, id, "2")
		want(t, err, ErrNotFound)
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		if n := objects(t, s); n != 2 {
			t.Errorf("%d objects, want 2", n)
		}
		for _, content := range [][]byte{gone.layer, gone.config} {
			_, err := s.Blob(ctx, id, digestOf(content))
			want(t, err, ErrNotFound)
		}
		_, err = s.Manifest(ctx, id, signature.digest)
		want(t, err, ErrNotFound)
		list, err := s.Referrers(ctx, id, signature.digest, "", 10)
		if len(list) != 0 || err != nil {
			t.Errorf("referrers of the signature: %v, %v", list, err)
		}
		for range s.Admissions(ctx, id, gone.digest) {
			t.Error("an admission outlives its manifest")
		}
		sound(t, s, false)
		mustPush(t, s, acme, gone, "2") // a new generation
		sound(t, s, false)
	})
}

func TestUntaggedHostedManifestsStay(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		id := mustPush(t, s, acme, img, "1")
		mustPush(t, s, acme, newReferrer(digestOf([]byte("nothing")), "a/b")) // its subject was never here
		ok(t, s.DeleteTag(ctx, id, "1"))
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		_, err := s.Manifest(ctx, id, img.digest)
		ok(t, err)
		list, err := s.Referrers(ctx, id, digestOf([]byte("nothing")), "", 10)
		if len(list) != 1 || err != nil {
			t.Errorf("referrers %v, %v", list, err)
		}
		sound(t, s, false)
	})
}

func TestIndexKeepsItsChildren(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, s *Store) {
		ctx, a, b := t.Context(), newImage("a"), newImage("b")
		index := newIndex(a, b)
		for _, child := range []image{a, b} { // as a cache stores them: the index first
			_, err := s.PutManifest(ctx, index.put(cached, "1"))
			ok(t, err)
			p := child.put(cached)
			p.Via = ""
			_, err = s.PutManifest(ctx, p)
			ok(t, err)
			_, err = push(ctx, s, cached, child)
			ok(t, err)
		}
		id, err := s.RepositoryID(ctx, cached)
		ok(t, err)
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		_, err = s.Manifest(ctx, id, a.digest)
		ok(t, err)
		mustPush(t, s, cached, newImage("c"), "1") // the tag leaves the index
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		for _, gone := range []oci.Digest{index.digest, a.digest, b.digest} {
			_, err = s.Manifest(ctx, id, gone)
			want(t, err, ErrNotFound)
		}
		if n := objects(t, s); n != 2 {
			t.Errorf("%d objects, want 2", n)
		}
		sound(t, s, false)
	})
}

func TestUnusedUploadsAreCollectedAfterTheGracePeriod(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		b, err := commit(ctx, s, acme, []byte("unused"))
		ok(t, err)
		id, err := s.RepositoryID(ctx, acme)
		ok(t, err)
		collected, err := s.Review(ctx, []Candidate{{Kind: CandidateLink, Repository: id, Digest: b.Digest}}) // too early, whoever asks
		if collected.N > 0 || err != nil {
			t.Fatalf("collected %v, %v", collected, err)
		}
		ok(t, collect(ctx, s, now.Add(23*time.Hour)))
		_, err = s.Blob(ctx, id, b.Digest)
		ok(t, err)
		now = now.Add(25 * time.Hour)
		ok(t, collect(ctx, s, now))
		_, err = s.Blob(ctx, id, b.Digest)
		want(t, err, ErrNotFound)
		if n := objects(t, s); n != 0 {
			t.Errorf("%d objects", n)
		}
		now = time.Now()
		sound(t, s, false)
	})
}

func TestCachedManifests(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		byDigest, old, pulled := newImage("by digest"), newImage("old"), newImage("pulled")
		p := byDigest.put(cached)
		p.Via = ViaDigest
		_, err := s.PutManifest(ctx, p)
		ok(t, err)
		id := mustPush(t, s, cached, old, "1")
		mustPush(t, s, cached, pulled, "1")
		mustPush(t, s, cached, newImage("new"), "1")
		now = now.Add(48 * time.Hour)
		s.Pulled(id, pulled.digest)
		ok(t, collect(ctx, s, now))
		for _, kept := range []image{byDigest, pulled} {
			_, err = s.Manifest(ctx, id, kept.digest)
			ok(t, err)
		}
		_, err = s.Manifest(ctx, id, old.digest)
		want(t, err, ErrNotFound)
		s.deferred.flush(ctx)
		now = now.Add(48 * time.Hour)
		ok(t, collect(ctx, s, now))
		_, err = s.Manifest(ctx, id, pulled.digest)
		want(t, err, ErrNotFound)
		now = time.Now()
	})
}

func TestEviction(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx, cold, warm := t.Context(), newImage("cold"), newImage("warm")
		hosted := mustPush(t, s, acme, newImage("hosted"), "1")
		id := mustPush(t, s, cached, warm, "warm")
		mustPush(t, s, cached, cold, "cold")
		now = now.Add(time.Minute)
		s.Pulled(id, warm.digest)
		s.deferred.flush(ctx)
		bytes, err := s.CachedBytes(ctx)
		ok(t, err)
		if want := int64(len(cold.config) + len(cold.layer) + len(warm.config) + len(warm.layer)); bytes != want {
			t.Errorf("%d cached bytes, want %d", bytes, want)
		}
		list, err := s.EvictionCandidates(ctx, 10)
		ok(t, err)
		if len(list) != 2 || list[0].Digest != cold.digest || list[1].Digest != warm.digest || list[1].LastPulled.Before(list[0].LastPulled) {
			t.Fatalf("candidates %+v", list)
		}
		want(t, s.EvictManifest(ctx, hosted, newImage("hosted").digest), ErrNotFound)
		ok(t, s.EvictManifest(ctx, id, cold.digest))
		ok(t, collect(ctx, s, now)) // at once, whatever the grace period
		if n := objects(t, s); n != 4 {
			t.Errorf("%d objects, want 4", n)
		}
		_, err = s.Tag(ctx, id, "cold")
		want(t, err, ErrNotFound)
		admitted := 0
		for _, err := range s.Admissions(ctx, id, cold.digest) {
			ok(t, err)
			admitted++
		}
		if admitted != 1 {
			t.Error("the admission went with the manifest")
		}
		list, err = s.EvictionCandidates(ctx, 10)
		ok(t, err)
		if len(list) != 1 || list[0].Digest != warm.digest {
			t.Errorf("candidates %+v", list)
		}
		now = time.Now()
		sound(t, s, false)
	})
}

// TestEvictionKeepsWhatAnIndexInUseRefersTo: a node that has its image asks for the index alone, to see whether it is current.
func TestEvictionKeepsWhatAnIndexInUseRefersTo(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx, used, unused := t.Context(), newIndex(newImage("a")), newImage("unused")
		id := mustPush(t, s, cached, newImage("a"))
		mustPush(t, s, cached, used, "used")
		now = now.Add(time.Hour)
		mustPush(t, s, cached, unused, "unused")
		now = now.Add(time.Hour)
		s.Wanted(id, used.digest)
		s.deferred.flush(ctx)
		list, err := s.EvictionCandidates(ctx, 10)
		ok(t, err)
		if len(list) != 3 || list[0].Digest != unused.digest {
			t.Errorf("candidates %+v, want %s first", list, unused.digest)
		}
	})
}

// TestEvictionSeesThePullsOfThisMoment: they are written with a delay, and their layers are being pulled meanwhile.
func TestEvictionSeesThePullsOfThisMoment(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		id := mustPush(t, s, cached, newImage("a"), "a")
		mustPush(t, s, cached, newImage("b"), "b")
		before, err := s.EvictionCandidates(t.Context(), 10)
		ok(t, err)
		now = now.Add(time.Minute)
		s.Pulled(id, before[0].Digest)
		after, err := s.EvictionCandidates(t.Context(), 10)
		ok(t, err)
		if len(after) != 2 || after[0].Digest != before[1].Digest || after[1].Digest != before[0].Digest {
			t.Errorf("candidates %+v after %+v", after, before)
		}
	})
}

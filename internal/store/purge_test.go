package store

import (
	"testing"
	"time"
)

// TestPurgeOfWhatIsInUse: a purge leaves a pull under way its content, says so, and nobody keeps it by going on to pull it.
func TestPurgeOfWhatIsInUse(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a, b, c := newImage("a"), newImage("b"), newImage("c")
		index := newIndex(a, b)
		mustPush(t, s, cached, a)
		mustPush(t, s, cached, b)
		id := mustPush(t, s, cached, index, "1")
		mustPush(t, s, cached, c, "c")
		pull := func() {
			for _, img := range []image{a, c} {
				s.Pulled(id, img.digest)
			}
			s.Pulled(id, index.digest)
			s.deferred.flush(ctx)
			s.Pulled(id, index.digest) // which is in memory alone
		}
		pull()
		for _, dry := range []bool{true, true, false, false} {
			p, err := s.PurgeManifest(ctx, id, index.digest, dry)
			ok(t, err)
			if p.Manifests != 0 || p.InUse != 1 || p.Bytes != 0 {
				t.Errorf("dry run %t: %+v", dry, p)
			}
		}
		want(t, errorOf(s.Tag(ctx, id, "1")), ErrNotFound)
		p, err := s.PurgeTag(ctx, id, "c", "", false)
		ok(t, err)
		if p != (Purged{Tags: 1, InUse: 1}) {
			t.Errorf("the tag: %+v", p)
		}
		pull()
		now = now.Add(inUse - time.Second)
		ok(t, collect(ctx, s, now))
		for _, img := range []image{index, a, b, c} {
			ok(t, errorOf(s.Manifest(ctx, id, img.digest)))
		}
		_, err = s.PutManifest(ctx, c.put(cached, "c")) // the upstream still has it
		ok(t, err)
		pull()
		now = now.Add(time.Second)
		ok(t, collect(ctx, s, now))
		for _, img := range []image{index, a, b} {
			want(t, errorOf(s.Manifest(ctx, id, img.digest)), ErrNotFound)
		}
		for _, img := range []image{a, b} {
			want(t, errorOf(s.Blob(ctx, id, img.manifest.Config.Digest)), ErrNotFound)
		}
		ok(t, errorOf(s.Tag(ctx, id, "c")))
		ok(t, errorOf(s.Blob(ctx, id, c.manifest.Config.Digest)))
		sound(t, s, false)
	})
}

// TestEstimateOfAnUpstream: what another repository of the upstream keeps for now is not counted.
func TestEstimateOfAnUpstream(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		img, other := newImage("a"), newImage("b")
		second := cached
		second.Name = "library/other"
		one := mustPush(t, s, cached, img, "1")
		two := mustPush(t, s, second, img, "1")
		mustPush(t, s, second, other, "2")
		s.Pulled(one, img.digest)
		size := int64(len(other.config) + len(other.layer))
		e := s.Estimate(1, true)
		var would, took Purged
		for id, name := range map[int64]string{one: cached.Name, two: second.Name} {
			p, err := e.Repository(ctx, FoundIn{id, name, cached.UpstreamID, cached.Epoch})
			ok(t, err)
			would.add(p)
		}
		for _, id := range []int64{two, one} {
			p, _, err := s.PurgeRepository(ctx, id, 100)
			ok(t, err)
			took.add(p)
		}
		if wanted := (Purged{Tags: 3, Manifests: 2, Bytes: size, InUse: 1}); would != wanted || took != wanted {
			t.Errorf("would take %+v, took %+v, want %+v", would, took, wanted)
		}
	})
}

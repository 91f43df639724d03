package store

import (
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// TestHeadByTagThenGetByDigest is how docker and containerd pull: the tag's content is never asked for by tag, and still the tag
// must be servable afterwards.
func TestHeadByTagThenGetByDigest(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		one, two := newImage("one"), newImage("two")
		put := func(img image) int64 {
			t.Helper()
			p := img.put(cached)
			p.Via = ViaDigest
			id, err := s.PutManifest(ctx, p)
			ok(t, err)
			return id
		}
		points := func(id int64, tag string, to oci.Digest) {
			t.Helper()
			got, err := s.Tag(ctx, id, tag)
			if err != nil || got.Digest != to || got.CheckedAt.IsZero() {
				t.Errorf("%s is %+v, %v; want %s", tag, got, err, to)
			}
		}
		ok(t, s.Admit(ctx, cached, one.digest, ViaTag, "1"))
		id := put(one)
		points(id, "1", one.digest)

		// A second tag of what is here already, then a tag that moves on, and back.
		ok(t, s.Admit(ctx, cached, one.digest, ViaTag, "latest"))
		points(id, "latest", one.digest)
		ok(t, s.Admit(ctx, cached, two.digest, ViaTag, "latest"))
		points(id, "latest", one.digest) // until its bytes are here
		put(two)
		points(id, "latest", two.digest)
		points(id, "1", one.digest)
		ok(t, s.Admit(ctx, cached, one.digest, ViaTag, "latest"))
		points(id, "latest", one.digest)

		// Bytes that arrive after the tag was heard to name something else do not take it.
		three, four := newImage("three"), newImage("four")
		ok(t, s.Admit(ctx, cached, three.digest, ViaTag, "edge"))
		ok(t, s.Admit(ctx, cached, four.digest, ViaTag, "edge"))
		put(three)
		_, err := s.Tag(ctx, id, "edge")
		want(t, err, ErrNotFound)
		put(four)
		points(id, "edge", four.digest)
	})
}

// TestLateWord: two replicas ask about a tag while it moves, and the one that asked first is the last to write.
func TestLateWord(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		one, two := newImage("one"), newImage("two")
		put := func(img image, asked time.Time) int64 {
			t.Helper()
			p := img.put(cached, "latest")
			p.CheckedAt = asked
			id, err := s.PutManifest(t.Context(), p)
			ok(t, err)
			return id
		}
		points := func(id int64, to oci.Digest) {
			t.Helper()
			if got, err := s.Tag(t.Context(), id, "latest"); err != nil || got.Digest != to {
				t.Errorf("latest is %+v, %v; want %s", got, err, to)
			}
		}
		now := s.now()
		put(two, now.Add(-time.Second))
		id := put(one, now.Add(-2*time.Second))
		points(id, two.digest)
		put(two, now.Add(-2*time.Second))
		for tag, err := range s.Admissions(t.Context(), id, one.digest) { // whoever has got the older answer goes on with it
			if err != nil || tag != "latest" {
				t.Errorf("admitted %q, %v", tag, err)
			}
		}
		put(one, now)
		points(id, one.digest)
		put(one, now.Add(time.Hour)) // by a clock that was wrong
		put(two, now.Add(time.Second))
		points(id, two.digest)
	})
}

package store

import (
	"slices"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
)

func TestBlobPage(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		var want []string
		for _, content := range []string{"a", "b", "c", "d", "e"} {
			b, err := commit(t.Context(), s, acme, []byte(content))
			ok(t, err)
			want = append(want, b.Key)
		}
		slices.Sort(want) // a page comes in the order of keys
		var got []string
		var after oci.Digest
		for {
			page, err := s.BlobPage(t.Context(), after, 2)
			ok(t, err)
			if len(page) == 0 {
				break
			}
			for _, b := range page {
				got = append(got, b.Key)
			}
			after = page[len(page)-1].Digest
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages hold %v, want %v", got, want)
		}
	})
}

func TestDropLostLeavesReplacedBytes(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		lost, err := commit(t.Context(), s, acme, []byte("content"))
		ok(t, err)
		ok(t, s.blobs.Delete(t.Context(), lost.Key))
		found, err := commit(t.Context(), s, cached, []byte("content")) // finds that the bytes are lost, and replaces them
		ok(t, err)
		if found.Key == lost.Key {
			t.Fatal("the lost bytes were taken for there")
		}
		for b, current := range map[Blob]bool{lost: false, found: true} {
			if got, err := s.IsCurrent(t.Context(), b); err != nil || got != current {
				t.Errorf("IsCurrent(%s) = %v, %v", b.Key, got, err)
			}
		}
		ok(t, s.DropLost(t.Context(), lost))
		for _, key := range []RepositoryKey{acme, cached} {
			id, err := s.RepositoryID(t.Context(), key)
			ok(t, err)
			b, err := s.Blob(t.Context(), id, lost.Digest)
			ok(t, err)
			if b.Key != found.Key {
				t.Errorf("%s has the key %s, want %s", key.Name, b.Key, found.Key)
			}
		}
		ok(t, s.DropLost(t.Context(), found))
		id, err := s.RepositoryID(t.Context(), acme)
		ok(t, err)
		_, err = s.Blob(t.Context(), id, lost.Digest)
		want(t, err, ErrNotFound)
	})
}

package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// count is how many rows of a table there are.
func count(t *testing.T, s *Store, table string) (n int) {
	t.Helper()
	db, isDB := s.db.(*meta.DB)
	if !isDB {
		t.Fatalf("the store stands on a %T", s.db)
	}
	ok(t, db.ReadConn().QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func TestEmptyRepositoriesGo(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		hosted := mustPush(t, s, acme, newImage("hosted"), "1")
		ok(t, s.DeleteManifest(ctx, hosted, newImage("hosted").digest))
		_, err := commit(ctx, s, other, []byte("a push that ended before its manifest"))
		ok(t, err)
		id := mustPush(t, s, cached, newImage("cached"), "1")
		ok(t, s.EvictManifest(ctx, id, newImage("cached").digest))
		heard := RepositoryKey{GroupID: 1, UpstreamID: 7, Epoch: 1, Name: "heard/of"}
		ok(t, s.Admit(ctx, heard, newImage("heard").digest, ViaTag, "1"))
		listed := RepositoryKey{GroupID: 1, UpstreamID: 7, Epoch: 1, Name: "listed"}
		ok(t, s.PutList(ctx, List{
			Repository: listed, Kind: "referrers", Subject: newImage("subject").digest, Payload: []byte("{}"), CheckedAt: now,
			Referrers: []oci.Digest{newImage("referrer").digest},
		}))
		ok(t, collect(ctx, s, now))
		if n := count(t, s, "repositories"); n != 5 {
			t.Fatalf("%d repositories within the grace period, want all 5", n)
		}
		for range 2 { // the second makes what the first has found empty go
			now = now.Add(25 * time.Hour)
			ok(t, collect(ctx, s, now))
		}
		want(t, errorOf(s.RepositoryID(ctx, acme)), nil) // its name stays claimed
		for _, key := range []RepositoryKey{other, cached, heard, listed} {
			want(t, errorOf(s.RepositoryID(ctx, key)), ErrNotFound)
		}
		for table, left := range map[string]int{"repositories": 1, "admissions": 0, "cached_lists": 0, "gc_candidates": 0, "blobs": 0, "cached_manifests": 0} {
			if n := count(t, s, table); n != left {
				t.Errorf("%d rows of %s are left, want %d", n, table, left)
			}
		}
		mustPush(t, s, cached, newImage("cached"), "1") // a new one by the old name
		now = time.Now()
		sound(t, s, false)
	})
}

func errorOf[T any](_ T, err error) error { return err }

func TestOutdatedRepositoriesGo(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		for range outdatedBatch + 5 {
			mustPush(t, s, cached, newImage(time.Now().String()), time.Now().Format("t150405.000000"))
		}
		id := mustPush(t, s, cached, img, "1")
		mustPush(t, s, other, img, "1")
		ok(t, s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			return tx.SaveUpstream(ctx, 1, &meta.Upstream{ID: 7, Name: "hub", URL: "https://elsewhere.test", OnUnknown: "continue", OnUpstreamDelete: "serve"})
		}))
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		want(t, errorOf(s.RepositoryID(ctx, cached)), ErrNotFound)
		want(t, errorOf(s.Manifest(ctx, id, img.digest)), ErrNotFound)
		if bytes, err := s.CachedBytes(ctx); bytes != 0 || err != nil {
			t.Errorf("%d cached bytes, %v", bytes, err)
		}
		if n := objects(t, s); n != 2 {
			t.Errorf("%d objects, want the hosted ones", n)
		}
		want(t, s.DeleteTag(ctx, id, "1"), ErrNotFound)
		sound(t, s, false)
	})
}

func TestRepositoriesOfADeletedGroupGo(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		id := mustPush(t, s, other, img, "1")
		remove := func() error {
			return s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return tx.DeleteGroup(ctx, 2) })
		}
		want(t, remove(), meta.ErrInUse)
		ok(t, s.DeleteManifest(ctx, id, img.digest))
		want(t, remove(), meta.ErrInUse) // its blobs are still linked
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		ok(t, remove())
		if n := count(t, s, "repositories"); n != 0 {
			t.Errorf("%d repositories are left", n)
		}
		if n := count(t, s, "tag_history"); n != 0 {
			t.Errorf("%d moves of tags are left", n)
		}
		sound(t, s, false)
	})
}

// TestEvictionFollowsPulls moves the order about with pulls that only the statistics know of.
func TestEvictionFollowsPulls(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		const n = 12
		images := make([]image, n)
		var id int64
		for i := range images {
			images[i] = newImage(string(rune('a' + i)))
			id = mustPush(t, s, cached, images[i], images[i].digest.Encoded()[:12])
			now = now.Add(time.Minute)
		}
		for _, i := range []int{0, 3, 1} { // 2 is the oldest now, then 4
			if i == 3 {
				s.Wanted(id, images[i].digest)
			} else {
				s.Pulled(id, images[i].digest)
			}
			now = now.Add(time.Minute)
		}
		s.deferred.flush(t.Context())
		var order []oci.Digest
		for _, i := range []int{2, 4, 5, 6, 7, 8, 9, 10, 11, 0, 3, 1} {
			order = append(order, images[i].digest)
		}
		for len(order) > 0 {
			list, err := s.EvictionCandidates(t.Context(), 3)
			ok(t, err)
			if len(list) == 0 {
				t.Fatalf("%d are missing", len(order))
			}
			for _, m := range list {
				if m.Digest != order[0] {
					t.Fatalf("%s is next, want %s with %d to come", m.Digest, order[0], len(order))
				}
				order = order[1:]
				ok(t, s.EvictManifest(t.Context(), id, m.Digest))
			}
		}
	})
}

func TestHistoryIsTrimmed(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		id := mustPush(t, s, acme, img, "1", "2")
		ok(t, s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			return errors.Join(
				tx.InsertAccount(ctx, query.InsertAccountParams{Kind: "user", ID: 1, Name: "ann"}),
				tx.InsertToken(ctx, query.InsertTokenParams{ID: 1, AccountID: 1, Name: "over", Hash: []byte("1"), ExpiresAt: micros(time.Now())}),
				tx.InsertToken(ctx, query.InsertTokenParams{ID: 2, AccountID: 1, Name: "for ever", Hash: []byte("2")}))
		}))
		if n, err := s.TrimHistory(ctx, time.Now().Add(-time.Hour)); n != 0 || err != nil {
			t.Fatalf("forgot %d that happened just now, %v", n, err)
		}
		for total := int64(0); ; {
			n, err := s.TrimHistory(ctx, time.Now().Add(time.Hour))
			ok(t, err)
			if total += n; n == 0 {
				if total < 3 {
					t.Errorf("forgot %d", total)
				}
				break
			}
		}
		for table, left := range map[string]int{"tag_history": 0, "tokens": 1, "tags": 2} {
			if n := count(t, s, table); n != left {
				t.Errorf("%d rows of %s are left, want %d", n, table, left)
			}
		}
		s.Pulled(id, img.digest)
		s.Pulled(id, newImage("gone").digest)
		s.deferred.flush(ctx)
		n, err := s.TrimPulls(ctx)
		if left := count(t, s, "pulls"); n != 1 || left != 1 || err != nil {
			t.Errorf("forgot %d pulls, %d are left, %v", n, left, err)
		}
	})
}

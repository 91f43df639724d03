package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// TestDeleteRepository deletes more than a transaction takes, with an upload that nobody has finished. The group can go afterwards,
// without the collector.
func TestDeleteRepository(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		var id int64
		for n := range purgeBatch + 2 {
			id = mustPush(t, s, other, newImage(fmt.Sprint(n)), fmt.Sprint("t", n), fmt.Sprint("also", n))
		}
		mustPush(t, s, acme, newImage("0"), "1") // in another group
		u, err := s.StartUpload(ctx, other)
		ok(t, err)
		ok(t, u.Append(ctx, 0, bytes.NewReader([]byte("unfinished"))))
		ok(t, u.Close())
		removeGroup := func() error {
			return s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return tx.DeleteGroup(ctx, 2) })
		}
		if e, is := errors.AsType[*meta.ContentError](removeGroup()); !is || len(e.Hosted) != 1 || e.Hosted[0] != other.Name || e.Cached {
			t.Errorf("what is in the way: %+v", e)
		}
		estimate, err := s.Estimate(2, false).Repository(ctx, FoundIn{Repository: id})
		ok(t, err)
		p, gone, err := s.DeleteRepository(ctx, id, 1)
		ok(t, err)
		if gone || p.Manifests != purgeBatch {
			t.Errorf("the first part: %+v, gone %t", p, gone)
		}
		rest, gone, err := s.DeleteRepository(ctx, id, 1000)
		ok(t, err)
		if p.add(rest); !gone || p != estimate || p.Tags != 2*(purgeBatch+2) || p.Bytes == 0 {
			t.Errorf("took %+v, estimated %+v, gone %t", p, estimate, gone)
		}
		want(t, errorOf(s.RepositoryID(ctx, other)), ErrNotFound)
		want(t, errorOf(s.ResumeUpload(ctx, other, u.ID())), ErrNotFound)
		_, _, err = s.DeleteRepository(ctx, id, 1)
		want(t, err, ErrNotFound)
		events, err := s.db.Read().ListEvents(ctx, query.ListEventsParams{GroupID: 2, ID: meta.FirstID(time.Now().Add(time.Hour)), Limit: 1000})
		ok(t, err)
		kinds := map[string]int{}
		for _, e := range events {
			kinds[e.Kind]++
		}
		if kinds[event.ManifestDeleted] != purgeBatch+2 || kinds[event.TagDeleted] != 2*(purgeBatch+2) || kinds[event.RepositoryDeleted] != 1 || events[0].Kind != event.RepositoryDeleted {
			t.Errorf("events %v, the last %s", kinds, events[0].Kind)
		}
		ok(t, removeGroup())
		ok(t, collect(ctx, s, time.Now().Add(48*time.Hour)))
		if n := objects(t, s); n != 2 {
			t.Errorf("%d objects, want those of the other group", n)
		}
		sound(t, s, false)
		want(t, errorOf2(s.DeleteRepository(ctx, mustPush(t, s, cached, newImage("cached"), "1"), 1)), ErrNotFound)
	})
}

func errorOf2[A, B any](_ A, _ B, err error) error { return err }

// TestDeleteRepositoryAndPush pushes while the repository is deleted again and again: a push is refused for what is missing, or it is
// there as a whole.
func TestDeleteRepositoryAndPush(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for worker := range 3 {
			wg.Go(func() {
				img := newImage(fmt.Sprint(worker))
				for range 20 {
					_, err := push(ctx, s, acme, img, fmt.Sprint(worker))
					var missing *MissingError
					if err != nil && !errors.As(err, &missing) {
						t.Errorf("push: %v", err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 40 {
				id, err := s.RepositoryID(ctx, acme)
				if err == nil {
					_, _, err = s.DeleteRepository(ctx, id, 1000)
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Errorf("delete: %v", err)
				}
			}
		})
		wg.Wait()
		if id, err := s.RepositoryID(ctx, acme); err == nil {
			_, gone, err := s.DeleteRepository(ctx, id, 1000)
			if ok(t, err); !gone {
				t.Error("it is not gone")
			}
		}
		ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
		if n := objects(t, s); n != 0 {
			t.Errorf("%d objects are left", n)
		}
		sound(t, s, false)
	})
}

package store

import (
	"context"
	"errors"
	"testing"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// A note goes with the first change that is done: not with one that is undone, and not twice.
func TestWithNote(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		noted := func() int {
			rows, err := s.db.Read().ListEvents(t.Context(), query.ListEventsParams{GroupID: 1, ID: 1 << 62, Limit: 10})
			ok(t, err)
			return len(rows)
		}
		ctx := WithNote(event.WithActor(t.Context(), event.Actor{ID: 5}), 1, event.CachePurged, "upstream hub", nil)
		key := RepositoryKey{GroupID: 1, UpstreamID: 2, Name: "app"}
		undone := errors.New("undone")
		want(t, s.changeNamed(ctx, key, func(context.Context, *change) error { return undone }), undone)
		if n := noted(); n != 0 {
			t.Errorf("%d events of a change that was undone", n)
		}
		for range 2 {
			ok(t, s.changeNamed(ctx, key, func(context.Context, *change) error { return nil }))
			if n := noted(); n != 1 {
				t.Errorf("%d events", n)
			}
		}
		id, err := s.RepositoryID(t.Context(), key)
		ok(t, err)
		ok(t, s.change(ctx, id, func(context.Context, *change) error { return nil }))
		ok(t, s.change(t.Context(), id, func(context.Context, *change) error { return nil }))
		if n := noted(); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// all reads every page of a query.
func (a *archive) all(q Query) (out []Entry) {
	a.t.Helper()
	for range 1000 {
		p, err := a.Read(a.t.Context(), q)
		if err != nil {
			a.t.Fatalf("%+v: %v", q, err)
		}
		if len(p.Entries) > q.Limit {
			a.t.Fatalf("%d entries on a page of %d", len(p.Entries), q.Limit)
		}
		out = append(out, p.Entries...)
		if !p.More {
			return out
		}
		q.Before = p.Next
	}
	a.t.Fatal("the pages do not end")
	return nil
}

// Pages of any size have the same entries, newest first, each once, in both streams.
func TestPages(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		trail := New(Options{DB: a.db, Group: groups})
		for i := range 10 {
			r := pull(fmt.Sprint("acme/hub/", i), 8)
			r.At += int64(i)
			trail.Record(t.Context(), r)
		}
		trail.flush(t.Context())
		for stream, n := range map[string]int{Changes: 6, Pulls: 13} {
			for _, limit := range []int{1, 3, 100} {
				got := a.all(Query{Stream: stream, Limit: limit})
				if len(got) != n {
					t.Errorf("%s by %d: %d entries, want %d", stream, limit, len(got), n)
				}
				seen := map[string]bool{}
				for i, e := range got {
					if seen[e.ID] || i > 0 && e.At.After(got[i-1].At) {
						t.Errorf("%s by %d: %s is there twice or out of order", stream, limit, e.ID)
					}
					seen[e.ID] = true
				}
			}
		}
	})
}

// A batch that cannot be read is a gap, and hides no other.
func TestUnreadable(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		bad := query.InsertPullBatchParams{ID: a.db.ID(), FirstAt: a.now.UnixMicro(), LastAt: a.now.UnixMicro() + 1, Events: 9, Payload: []byte("?"), Class: Pulls}
		err := a.db.WriteTelemetry(t.Context(), func(ctx context.Context, q *query.Queries) error {
			_, err := q.InsertPullBatch(ctx, bad)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		got := a.all(Query{Stream: Pulls, Limit: 2})
		if len(got) != 4 || got[0].Kind != event.Gap {
			t.Errorf("%+v", got)
		}
	})
}

func TestFilters(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		err := a.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return tx.PutActor(ctx, query.PutActorParams{ID: 8, Kind: "user", Name: "ann", RemovedAt: 1})
		})
		if err != nil {
			t.Fatal(err)
		}
		trail := New(Options{DB: a.db, Group: groups})
		denied := pull("other/app", 9)
		denied.Kind, denied.Actor.RequestID = event.PullDenied, "r2"
		trail.Record(t.Context(), denied)
		trail.flush(t.Context())
		hour := time.Now().Add(time.Hour)
		for what, c := range map[string]struct {
			q Query
			n int
		}{
			"kind":          {Query{Stream: Changes, Kind: "tag.moved"}, 5},
			"kinds":         {Query{Stream: Changes, Kind: "audit.*"}, 1},
			"name":          {Query{Stream: Changes, Actor: "ann"}, 5},
			"id":            {Query{Stream: Pulls, Actor: "9"}, 1},
			"group":         {Query{Stream: Changes, GroupID: 7}, 5},
			"other group":   {Query{Stream: Changes, GroupID: 6}, 0},
			"group's pulls": {Query{Stream: Pulls, GroupID: 7}, 3},
			"nobody's":      {Query{Stream: Pulls, GroupID: 6}, 0},
			"denied":        {Query{Stream: Pulls, Outcome: Denied}, 1},
			"subject":       {Query{Stream: Pulls, Subject: "acme/*"}, 3},
			"request":       {Query{Stream: Pulls, RequestID: "r2"}, 1},
			"later":         {Query{Stream: Changes, From: hour}, 0},
			"earlier":       {Query{Stream: Pulls, To: time.Now().Add(-time.Hour)}, 0},
			"between":       {Query{Stream: Pulls, From: time.Now().Add(-time.Hour), To: hour}, 4},
		} {
			c.q.Limit = 2
			if got := a.all(c.q); len(got) != c.n {
				t.Errorf("%s: %d entries, want %d: %+v", what, len(got), c.n, got)
			}
		}
		e := a.all(Query{Stream: Changes, Kind: "tag.moved", Limit: 1})[0]
		if e.Actor.Name != "ann" || e.Address != "192.0.2.1" || e.Actor.Kind != "user" || e.RequestID != "r1" || e.Outcome != OK {
			t.Errorf("%+v", e)
		}
		if _, err := a.Read(t.Context(), Query{Stream: Changes, Actor: "bob", Limit: 1}); !errors.Is(err, meta.ErrNotFound) {
			t.Error("an unknown actor:", err)
		}
	})
}

package audit

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// archive is a database with a trail.
type archive struct {
	*Keeper
	t      *testing.T
	now    time.Time
	handOn bool
}

// onEach runs a test on both engines, with some changes and pulls that are sealed.
func onEach(t *testing.T, fn func(t *testing.T, a *archive)) {
	t.Helper()
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			db := metatest.Open(t, engine)
			keyset, err := seal.Generate()
			if err != nil {
				t.Fatal(err)
			}
			sealer, err := seal.New(keyset)
			if err != nil {
				t.Fatal(err)
			}
			a := &archive{t: t, now: time.Now()}
			a.Keeper = NewKeeper(db, KeeperOptions{Sealer: sealer, KeepChanges: time.Hour, KeepPulls: time.Hour, KeepAccess: 3 * time.Hour, Now: func() time.Time { return a.now }})
			a.changes(3)
			a.pulls(2)
			a.sealAll()
			a.changes(2)
			a.pulls(1)
			a.sealAll()
			fn(t, a)
		})
	}
}

func (a *archive) changes(n int) {
	a.t.Helper()
	ctx := event.WithActor(a.t.Context(), event.Actor{ID: 8, Kind: "user", Address: "192.0.2.1", RequestID: "r1"})
	for i := range n {
		err := a.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			return tx.Event(ctx, meta.Event{GroupID: 7, Kind: "tag.moved", Subject: fmt.Sprint("app:", i)})
		})
		if err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a *archive) pulls(n int) {
	a.t.Helper()
	trail := New(Options{DB: a.db, Group: groups, HandOn: a.handOn})
	for range n {
		trail.Record(a.t.Context(), pull("acme/hub/app", 8))
		trail.flush(a.t.Context())
	}
}

func (a *archive) sealAll() {
	a.t.Helper()
	if err := a.seal(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// verify returns what was found and the first problem.
func (a *archive) verify() (Verified, Finding) {
	a.t.Helper()
	var first Finding
	v, err := a.Verify(a.t.Context(), func(f Finding) {
		if f.Problem != "" && first.Problem == "" {
			first = f
		}
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return v, first
}

func (a *archive) events() []query.Event {
	a.t.Helper()
	rows, err := a.db.Read().ListAllEvents(a.t.Context(), query.ListAllEventsParams{ID: 1 << 62, Limit: 100})
	if err != nil {
		a.t.Fatal(err)
	}
	return rows
}

func (a *archive) tamper(statement string, args ...any) {
	a.t.Helper()
	err := a.db.Write(a.t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.Conn().ExecContext(ctx, statement, args...)
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

func TestSealed(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		v, problem := a.verify()
		// The first change is the one of the key itself: it commits while the first range is being closed.
		if problem.Problem != "" || v.Events != 6+3 || v.Seals != 4 || len(v.Keys) != 1 || len(v.Heads) != 2 {
			t.Errorf("%+v, %+v", v, problem)
		}
	})
}

// Whoever can write to the database cannot change the trail unseen.
func TestTampering(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		victim := a.events()[4]
		detail := victim.Detail
		for _, c := range []struct{ what, do, undo, want string }{
			{"changed", "UPDATE events SET detail = '{}x' WHERE id = $1", "UPDATE events SET detail = '" + detail + "' WHERE id = $1", "a row was changed"},
			{"actor", "UPDATE events SET actor_id = 9 WHERE id = $1", "UPDATE events SET actor_id = 8 WHERE id = $1", "a row was changed"},
			{"unsealed", "UPDATE events SET seal_id = 0 WHERE id = $1", fmt.Sprintf("UPDATE events SET seal_id = %d WHERE id = $1", victim.SealID), "a row is missing"},
			{"moved", "UPDATE seals SET day = '2001-01-01' WHERE id = (SELECT seal_id FROM events WHERE id = $1)", "UPDATE seals SET day = '" +
				time.UnixMicro(victim.At).UTC().Format(time.DateOnly) + "' WHERE id = (SELECT seal_id FROM events WHERE id = $1)", "the seal was changed"},
		} {
			a.tamper(c.do, victim.ID)
			_, problem := a.verify()
			if problem.Problem != c.want || c.want[0] == 'a' && problem.Row != fmt.Sprint(victim.ID) {
				t.Errorf("%s: found %+v", c.what, problem)
			}
			a.tamper(c.undo, victim.ID)
			if _, problem := a.verify(); problem.Problem != "" {
				t.Fatalf("%s: not undone: %+v", c.what, problem)
			}
		}
		a.tamper("DELETE FROM seals WHERE number = 1")
		if _, problem := a.verify(); problem.Problem != "the seals 1 to 1 are missing" {
			t.Errorf("found %+v", problem)
		}
	})
}

// A row that commits late, with an id before others that are sealed, is sealed too.
func TestLateCommit(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		id := a.db.ID() // made now, committed after those that follow
		a.changes(2)
		a.sealAll()
		before, _ := a.verify()
		err := a.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return tx.InsertEvent(ctx, query.InsertEventParams{ID: id, Kind: "tag.moved", Detail: "{}", At: time.Now().UnixMicro()})
		})
		if err != nil {
			t.Fatal(err)
		}
		a.sealAll()
		after, problem := a.verify()
		if problem.Problem != "" || after.Events != before.Events+1 {
			t.Errorf("before %+v, after %+v, %+v", before, after, problem)
		}
	})
}

// What is old goes by whole ranges, and the chain can still be verified; nothing goes that is not sealed.
func TestDropped(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		denied := pull("acme/hub/app", 9)
		denied.Kind = event.PullDenied
		trail := New(Options{DB: a.db, Group: groups})
		trail.Record(t.Context(), denied)
		trail.flush(t.Context())
		a.sealAll()
		a.changes(1)
		a.pulls(1)
		a.now = a.now.Add(2 * time.Hour)
		if err := a.drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		v, problem := a.verify()
		if problem.Problem != "" || v.Dropped != 9 || v.Events != 1 {
			t.Errorf("%+v, %+v", v, problem)
		}
		kinds := map[string]int{}
		for _, e := range a.events() {
			kinds[e.Kind]++
		}
		if kinds["tag.moved"] != 1 || kinds["audit.dropped"] != 4 {
			t.Errorf("left are %v", kinds)
		}
		if got := stored(t, a.db); len(got) != 2 || got[0].Kind != event.PullDenied {
			t.Errorf("left are the pulls %+v", got) // a refusal, which is kept longer, and what is not sealed
		}
		if rows, err := a.db.Read().ListGroupPullBatches(t.Context(), query.ListGroupPullBatchesParams{GroupID: 7, BatchID: 1 << 62, Limit: 9}); err != nil || len(rows) != 2 {
			t.Error(len(rows), err)
		}
		later := a.now.Add(2 * time.Hour)
		a.now = time.Now()
		a.sealAll()
		if v, problem := a.verify(); problem.Problem != "" || v.Events != 7 {
			t.Errorf("%+v, %+v", v, problem)
		}
		a.now = later
		if err := a.drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v, problem := a.verify(); problem.Problem != "" || len(stored(t, a.db)) != 0 {
			t.Errorf("%+v, %+v", v, problem)
		}
	})
}

// Names and addresses are no part of what is sealed.
func TestErasedTrailVerifies(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		err := a.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			if err := tx.EraseAddresses(ctx, 8); err != nil {
				return err
			}
			return Forget(ctx, tx, 8)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.forget(t.Context(), []byte(`{"account": 8}`)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.db.Read().GetPullAddress(t.Context(), stored(t, a.db)[0].address); err == nil {
			t.Error("the address is still there")
		}
		if v, problem := a.verify(); problem.Problem != "" || v.Events != 9 {
			t.Errorf("%+v, %+v", v, problem)
		}
	})
}

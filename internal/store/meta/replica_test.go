package meta_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

func TestReplicaNumbers(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			o := metatest.Options(t, engine)
			a, b := metatest.Reopen(t, o), metatest.Reopen(t, o)
			if a.Replica() == b.Replica() {
				t.Fatalf("both are %d", a.Replica())
			}
			c, err := meta.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			number, last := c.Replica(), c.ID()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			d := metatest.Reopen(t, o)
			if d.Replica() != number {
				t.Errorf("the released number %d is not used again: %d", number, d.Replica())
			}
			if id := d.ID(); id <= last {
				t.Errorf("id %d after %d", id, last)
			}
		})
	}
}

// A replica whose number another one took must refuse to write: its ids are no longer its own.
func TestReplicaLost(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		if err := db.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			_, err := tx.Conn().ExecContext(ctx, "UPDATE replicas SET id = 'another' WHERE number = $1", db.Replica())
			return err
		})
		if err := db.Beat(t.Context()); !errors.Is(err, meta.ErrReplicaLost) {
			t.Errorf("beat: %v", err)
		}
		err := db.Write(t.Context(), func(context.Context, *meta.Tx) error { return nil })
		if !errors.Is(err, meta.ErrReplicaLost) || !errors.Is(db.Err(), meta.ErrReplicaLost) {
			t.Errorf("write: %v; state: %v", err, db.Err())
		}
	})
}

func TestIDs(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	const makers, each = 8, 5000
	made := make([][]int64, makers)
	var wait sync.WaitGroup
	for m := range makers {
		wait.Go(func() {
			for range each {
				made[m] = append(made[m], db.ID())
			}
		})
	}
	wait.Wait()
	all := slices.Concat(made...)
	for m := range made {
		if !slices.IsSorted(made[m]) {
			t.Error("ids are not in the order of time")
		}
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != makers*each || all[0] <= 0 {
		t.Errorf("%d different ids of %d, the lowest %d", n, makers*each, all[0])
	}
}

package meta_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// follower collects the keys of the changes it is told of.
type follower struct {
	mu   sync.Mutex
	keys map[string]int
}

func follow(t *testing.T, db *meta.DB) *follower {
	f := &follower{keys: map[string]int{}}
	db.Follow(t.Context(), func(c meta.Change) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.keys[c.Key]++
	})
	return f
}

func (f *follower) times(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys[key]
}

func change(ctx context.Context, tx *meta.Tx, key string) error {
	return tx.Change(ctx, 0, "test", key)
}

func TestFeed(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			o := metatest.Options(t, engine)
			a, b := metatest.Reopen(t, o), metatest.Reopen(t, o)
			own, other := follow(t, a), follow(t, b)
			write(t, a, func(ctx context.Context, tx *meta.Tx) error { return change(ctx, tx, "k") })
			if own.times("k") != 1 {
				t.Error("the writer's own follower was not told before Write returned")
			}
			_ = a.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
				if err := change(ctx, tx, "undone"); err != nil {
					t.Error(err)
				}
				return errRefused
			})
			for _, db := range []*meta.DB{a, b} {
				if err := db.Poll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if other.times("k") != 1 {
				t.Errorf("the other replica was told %d times", other.times("k"))
			}
			if own.times("undone")+other.times("undone") != 0 {
				t.Error("a change that was undone was told")
			}
		})
	}
}

// A transaction that took its number early and commits late must not be missed.
func TestFeedLateCommit(t *testing.T) {
	o := metatest.Options(t, meta.PostgreSQL)
	a, b := metatest.Reopen(t, o), metatest.Reopen(t, o)
	other := follow(t, b)
	late, err := a.ReadConn().(*sql.DB).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Rollback() // no-op after Commit
	if _, err := late.Exec("INSERT INTO changes (group_id, kind, key, at) VALUES (0, 'test', 'late', 0)"); err != nil {
		t.Fatal(err)
	}
	write(t, a, func(ctx context.Context, tx *meta.Tx) error { return change(ctx, tx, "early") })
	if err := b.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.Behind() <= 0 {
		t.Error("a change that must wait does not show in Behind")
	}
	if err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := b.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if other.times("early") != 1 || other.times("late") != 1 {
		t.Errorf("early told %d times, late %d times", other.times("early"), other.times("late"))
	}
}

func TestFeedTrim(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			if err := change(ctx, tx, "new"); err != nil {
				return err
			}
			_, err := tx.Conn().ExecContext(ctx, "INSERT INTO changes (group_id, kind, key, at) VALUES (0, 'test', 'old', 1)")
			return err
		})
		if err := db.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		var keys string
		if err := db.ReadConn().QueryRowContext(t.Context(), "SELECT min(key) FROM changes").Scan(&keys); err != nil || keys != "new" {
			t.Error(keys, err)
		}
	})
}

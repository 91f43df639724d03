package meta_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

var errRefused = errors.New("refused")

func TestWriteUndoesFailures(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return errors.Join(tx.SetSetting(ctx, "error", "1"), errRefused)
		})
		if !errors.Is(err, errRefused) {
			t.Errorf("got %v", err)
		}
		func() {
			defer func() {
				if recover() != "boom" {
					t.Error("the panic did not reach the caller")
				}
			}()
			_ = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
				if err := tx.SetSetting(ctx, "panic", "1"); err != nil {
					t.Error(err)
				}
				panic("boom")
			})
		}()
		set(t, db, "after", "1")
		wantSetting(t, db, "error", "")
		wantSetting(t, db, "panic", "")
		wantSetting(t, db, "after", "1")
	})
}

func TestWriteNested(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		write(t, db, func(ctx context.Context, _ *meta.Tx) error {
			if err := db.Write(ctx, func(context.Context, *meta.Tx) error { return nil }); !errors.Is(err, meta.ErrNested) {
				t.Errorf("got %v", err)
			}
			if n := db.Writing(); n != 1 {
				t.Errorf("%d writes under way", n)
			}
			return nil
		})
		if n := db.Writing(); n != 0 {
			t.Errorf("%d writes under way at the end", n)
		}
	})
}

func TestWriteCancelled(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return tx.SetSetting(ctx, "x", "1") })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		wantSetting(t, db, "x", "")
	})
}

// Every acknowledged write is there, and no other, however many share a transaction and however many of them fail.
func TestWriteConcurrently(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		const writers, each = 16, 12
		var wait sync.WaitGroup
		for w := range writers {
			wait.Go(func() {
				for i := range each {
					fail := (w+i)%3 == 0
					err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
						if err := tx.SetSetting(ctx, fmt.Sprint(w, ".", i), "1"); err != nil || !fail {
							return err
						}
						return errRefused
					})
					if fail != errors.Is(err, errRefused) || !fail && err != nil {
						t.Errorf("write %d.%d: %v", w, i, err)
					}
				}
			})
		}
		wait.Wait()
		for w := range writers {
			for i := range each {
				want := "1"
				if (w+i)%3 == 0 {
					want = ""
				}
				wantSetting(t, db, fmt.Sprint(w, ".", i), want)
			}
		}
	})
}

// Writers that queue share a transaction: one that breaks it must not fail the others.
func TestWriteBrokenTransaction(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	var runs atomic.Int32
	var wait sync.WaitGroup
	first := make(chan struct{})
	queued := make(chan struct{})
	wait.Go(func() {
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			if runs.Add(1) == 1 {
				close(first)
				<-queued
			}
			return tx.SetSetting(ctx, "innocent", "1")
		})
	})
	<-first
	wait.Go(func() {
		close(queued)
		err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return errors.Join(tx.SetSetting(ctx, "guilty", "1"), tx.Break(ctx), errRefused)
		})
		if !errors.Is(err, errRefused) {
			t.Errorf("got %v", err)
		}
	})
	wait.Wait()
	wantSetting(t, db, "innocent", "1")
	wantSetting(t, db, "guilty", "")
	set(t, db, "after", "1")
	wantSetting(t, db, "after", "1")
}

// A writer that does not notice that its transaction is gone must not be told that it was committed.
func TestWriteUnnoticedLoss(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return errors.Join(tx.SetSetting(ctx, "lost", "1"), tx.Break(ctx))
	})
	if err == nil {
		t.Error("a write that was undone is acknowledged")
	}
	wantSetting(t, db, "lost", "")
	set(t, db, "after", "1")
	wantSetting(t, db, "after", "1")
}

// The first writer of a transaction has no savepoint: when it fails, those that queue behind it begin anew.
func TestWriteFirstFails(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	var wait sync.WaitGroup
	queued := make(chan struct{})
	err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		wait.Go(func() {
			close(queued)
			set(t, db, "second", "1")
		})
		<-queued
		for db.Writing() < 2 {
			runtime.Gosched()
		}
		return errors.Join(tx.SetSetting(ctx, "first", "1"), errRefused)
	})
	if !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	wait.Wait()
	wantSetting(t, db, "first", "")
	wantSetting(t, db, "second", "1")
}

// A statement interrupted through a context that a function took from outside breaks the transaction of all.
func TestWriteWithForeignContext(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Write(t.Context(), func(_ context.Context, tx *meta.Tx) error {
		cancel()
		return tx.SetSetting(ctx, "x", "1")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	set(t, db, "x", "2")
	wantSetting(t, db, "x", "2")
}

func TestReadersCannotWrite(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	if err := db.Read().PutSetting(t.Context(), query.PutSettingParams{Name: "x", Value: "1"}); err == nil {
		t.Error("a reader wrote")
	}
}

func TestSnapshot(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		set(t, db, "x", "1")
		err := db.Snapshot(t.Context(), func(q *query.Queries) error {
			if _, err := q.GetSetting(t.Context(), "x"); err != nil {
				return err
			}
			set(t, db, "x", "2")
			got, err := q.GetSetting(t.Context(), "x")
			if got != "1" {
				t.Errorf("the snapshot moved: %q", got)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		wantSetting(t, db, "x", "2")
	})
}

// The telemetry tables can be joined with the others by any connection, and survive a restart.
func TestTelemetry(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		err := db.WriteTelemetry(t.Context(), func(ctx context.Context, q *query.Queries) error {
			return q.AddPulls(ctx, query.AddPullsParams{RepositoryID: 1, Digest: []byte{1}, LastPulledAt: 5, PullCount: 2})
		})
		if err != nil {
			t.Fatal(err)
		}
		const join = "SELECT pull_count FROM pulls LEFT JOIN repositories ON id = repository_id WHERE repository_id = $1"
		var n int64
		if err := db.ReadConn().QueryRowContext(t.Context(), join, 1).Scan(&n); err != nil || n != 2 {
			t.Error(n, err)
		}
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			return tx.Conn().QueryRowContext(ctx, join, 1).Scan(&n)
		})
	})
}

func TestLock(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			if _, err := tx.LockBlob(ctx, []byte{1}); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("blob: %v", err)
			}
			if _, err := tx.LockRepository(ctx, 1); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("repository: %v", err)
			}
			return nil
		})
	})
}

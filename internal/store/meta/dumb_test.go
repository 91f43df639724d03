package meta

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// dumbEngine is a database of which nothing can be read but the change feed, and that not always.
type dumbEngine struct {
	engine

	err  error
	hang atomic.Bool // nothing comes, until the caller gives up
	dead atomic.Bool // err comes at once
}

func (e *dumbEngine) newCursor(context.Context) (int64, error) { return 0, nil }

func (e *dumbEngine) changesAfter(ctx context.Context, cursor int64) ([]Change, int64, time.Time, error) {
	now := time.Now()
	switch {
	case e.hang.Load():
		<-ctx.Done()
		return nil, 0, now, errors.Join(ctx.Err(), errSilent)
	case e.dead.Load():
		return nil, 0, now, e.err
	}
	return nil, cursor, now, nil
}

// TestMemoryAnswersForHalfAMinute: while the database is silent, dead or frozen, memory is good for 30 seconds and not a moment
// longer. While it answers but the feed does not come, it is good for five.
func TestMemoryAnswersForHalfAMinute(t *testing.T) {
	for name, c := range map[string]struct {
		hang bool
		err  error
		good time.Duration
	}{
		"dead":   {false, driver.ErrBadConn, maxDumb},
		"frozen": {true, nil, maxDumb},
		"late":   {false, context.Canceled, maxBehind},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				e, db := &dumbEngine{err: c.err}, &DB{}
				if err := db.feed.start(ctx, e); err != nil {
					t.Fatal(err)
				}
				db.wait.Go(func() { db.feed.keep(ctx, e, slog.New(slog.DiscardHandler)) })
				defer db.wait.Wait()
				defer stop()
				time.Sleep(10 * pollEvery)
				synctest.Wait()
				began := time.Now()
				e.hang.Store(c.hang)
				e.dead.Store(!c.hang)
				for range 400 {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					silent := time.Since(began)
					if want := silent <= c.good; db.Current() != want && (silent-c.good).Abs() > time.Second {
						t.Fatalf("after %v of silence: current is %v, want %v", silent, db.Current(), want)
					}
				}
				e.hang.Store(false)
				e.dead.Store(false)
				time.Sleep(pollWait + pollEvery)
				synctest.Wait()
				if !db.Current() {
					t.Error("the database answers again, and memory does not")
				}
			})
		})
	}
}

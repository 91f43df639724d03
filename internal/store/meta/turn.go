package meta

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// turn is SQLite's one writing connection. Writers take turns on it, and those that queue while another commits share the
// next transaction: each but the first runs in a savepoint of its own, so that its failure undoes nothing else, and the last of the
// queue commits for all. One fsync thus acknowledges many writes. Every writer runs its function on its own goroutine.
type turn struct {
	db *sql.DB // one connection

	waiting atomic.Int32 // writers that will take the turn after the present one

	mu      sync.Mutex // the turn
	conn    *sql.Conn
	kept    *statements    // of conn
	queries *query.Queries // on kept
	open    *shared        // the transaction that runs, or nil
	lost    bool           // SQLite has undone it
	refused error          // why the last one could not begin: another process holds the file's lock …
	since   time.Time      // … and when that was known
}

// shared is one transaction of several writers.
type shared struct {
	done  chan struct{} // closed when the transaction has ended
	size  int           // writers whose savepoint is released into it
	turns int
	err   error // set before done is closed
}

const (
	maxShared     = 128 // turns per transaction: bounds how long the first of them waits for its commit
	sharedRetries = 4
)

// errBroken tells the writers of a shared transaction that SQLite undid all of it because of one of them (disk full, an
// interrupted statement). They try again.
var errBroken = errors.New("the shared transaction was undone")

func (t *turn) write(ctx context.Context, fn func(context.Context, *query.Queries, query.DBTX) error) error {
	for attempt := 1; ; attempt++ {
		s, err := t.join(ctx, fn)
		if err != nil {
			return err
		}
		<-s.done
		if !errors.Is(s.err, errBroken) || attempt == sharedRetries {
			return s.err
		}
	}
}

// join runs fn in the transaction of the day, which is not committed yet when join returns it.
func (t *turn) join(ctx context.Context, fn func(context.Context, *query.Queries, query.DBTX) error) (_ *shared, err error) {
	arrived := time.Now()
	t.waiting.Add(1)
	t.mu.Lock() // not given up when ctx ends: whoever is last in the queue must commit
	t.waiting.Add(-1)
	defer t.pass()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := t.begin(arrived); err != nil {
		return nil, err
	}
	kept := false
	defer func() {
		if !kept { // also when fn panics
			t.undo()
		}
	}()
	// An interrupted statement would undo the transaction of all, so fn's context never ends.
	if err := fn(context.WithoutCancel(ctx), t.queries, turnConn{t.conn, t.kept}); err != nil {
		return nil, err
	}
	if err := t.end(); err != nil {
		return nil, err
	}
	kept = true
	t.open.size++
	return t.open, nil
}

// begin opens a transaction if none runs, or else a savepoint in it. The first writer needs none: there is nothing yet that its failure
// could undo, and of a savepoint SQLite copies each page before it is changed.
func (t *turn) begin(arrived time.Time) error {
	if err := t.connect(); err != nil {
		return err
	}
	if t.open == nil {
		if err := t.beginShared(arrived); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
	}
	t.open.turns++
	if t.first() {
		return nil
	}
	if err := t.exec("SAVEPOINT one"); err != nil {
		t.breakUp()
		return fmt.Errorf("savepoint: %w", err)
	}
	return nil
}

// first reports whether the present writer has begun the transaction.
func (t *turn) first() bool { return t.open.turns == 1 }

// end ends the savepoint of a writer that has done what it wanted.
func (t *turn) end() error {
	switch {
	case t.lost: // and the next statement would be a transaction of its own
		return errBroken
	case t.first():
		return nil
	}
	return t.exec("RELEASE one")
}

// beginShared waits for the file's lock, should another process have it. When that takes too long, all who waited meanwhile are
// refused together: one after another, each with a wait of its own, the last of them would hear of it after minutes. Whoever comes
// later, while that process still has the lock, waits for a moment only: a cold pull is many writes, which come one after another.
func (t *turn) beginShared(arrived time.Time) error {
	locked := t.refused != nil
	if locked && arrived.Before(t.since) {
		return t.refused
	}
	t.refused = t.exec("BEGIN IMMEDIATE")
	if still := t.refused != nil; still != locked {
		patience := "PRAGMA " + sqliteBusy
		if still {
			patience = "PRAGMA " + sqliteStillBusy
		}
		if err := t.exec(patience); err != nil {
			t.disconnect()
			return errors.Join(t.refused, err)
		}
	}
	if t.refused != nil {
		t.since = time.Now()
		return t.refused
	}
	t.open, t.lost = &shared{done: make(chan struct{})}, false
	return nil
}

// undo takes back what the present writer did.
func (t *turn) undo() {
	if t.first() {
		if t.lost || t.exec("ROLLBACK") != nil {
			t.breakUp()
			return
		}
		close(t.open.done) // nobody waits for it
		t.open = nil
		return
	}
	if t.exec("ROLLBACK TO one") != nil || t.exec("RELEASE one") != nil {
		t.breakUp()
	}
}

// pass ends the turn: the next writer goes on with the transaction, or it is committed here.
func (t *turn) pass() {
	defer t.mu.Unlock()
	s := t.open
	if s == nil || t.waiting.Load() > 0 && s.turns < maxShared {
		return
	}
	statement := "COMMIT"
	if s.size == 0 {
		statement = "ROLLBACK"
	}
	if err := t.exec(statement); err != nil {
		s.err = fmt.Errorf("commit: %w", err)
		t.disconnect()
	}
	t.open = nil
	close(s.done)
}

// breakUp ends a transaction that SQLite has undone, or that cannot go on.
func (t *turn) breakUp() {
	t.open.err = errBroken
	close(t.open.done)
	t.open = nil
	t.disconnect()
}

func (t *turn) connect() error {
	if t.conn != nil {
		return nil
	}
	c, err := t.db.Conn(context.Background())
	if err != nil {
		return err
	}
	t.conn, t.kept = c, newStatements(c)
	t.queries = query.New(t.kept)
	return t.hook(func() { t.lost = true })
}

// hook has SQLite tell when it undoes a transaction, whoever wanted that; nil ends it.
func (t *turn) hook(undone sqlite.RollbackHookFn) error {
	return t.conn.Raw(func(conn any) error {
		h, ok := conn.(sqlite.HookRegisterer)
		if !ok {
			return errors.New("the driver has no hooks")
		}
		h.RegisterRollbackHook(undone)
		return nil
	})
}

// disconnect drops the connection, and with it whatever state its transaction is in.
func (t *turn) disconnect() {
	if t.conn == nil {
		return
	}
	_ = t.hook(nil)
	_ = t.exec("ROLLBACK") // fails when nothing is open
	_ = t.kept.close()
	_ = t.conn.Raw(func(any) error { return driver.ErrBadConn }) // ErrBadConn: the pool must not reuse it
	_ = t.conn.Close()
	t.conn, t.kept, t.queries = nil, nil, nil
}

func (t *turn) exec(statement string) error {
	_, err := t.kept.ExecContext(context.Background(), statement)
	return err
}

// turnConn is the connection for statements that are not generated. Those that return one row are the locks, which many turns take and
// whose texts never vary: they are kept.
type turnConn struct {
	*sql.Conn

	kept *statements
}

// QueryRowContext implements query.DBTX.
func (c turnConn) QueryRowContext(ctx context.Context, statement string, args ...any) *sql.Row {
	return c.kept.QueryRowContext(ctx, statement, args...)
}

// close gives the connection back.
func (t *turn) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return nil
	}
	_, err := t.conn.ExecContext(context.Background(), "PRAGMA main.optimize")
	err = errors.Join(err, t.hook(nil), t.kept.close(), t.conn.Close())
	t.conn, t.kept, t.queries = nil, nil, nil
	return err
}

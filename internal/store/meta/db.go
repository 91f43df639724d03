// Package meta is the database of Weir: definitions, content rows, jobs, replicas, the change feed and events, on SQLite or
// PostgreSQL. Package store is its main caller; work, access, serve/api and assemble read their own tables through it.
//
// One text of SQL serves both engines (queries/shared, generated into package query); the few operations that differ are
// methods of the unexported engine. Promises: what a Write acknowledged is durable; a Write is one transaction; a reader that
// follows the change feed sees its own process's commits before Write returns and those of other replicas within a
// second or two. All methods are safe for concurrent use.
package meta

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Engines.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// Sentinels.
var (
	ErrNotFound    = errors.New("not found")
	ErrInUse       = errors.New("still in use")
	ErrReplicaLost = errors.New("this replica's number was taken by another one: restart the server")
	ErrNested      = errors.New("a write inside a write")
)

// Options say where the database is.
type Options struct {
	Engine   string // SQLite (default) or PostgreSQL
	Path     string // SQLite: the file; telemetry.db is put beside it
	DSN      string // PostgreSQL: a URL or key=value list. A transaction-pooling proxy in between is fine
	MaxConns int    // PostgreSQL: connections at most, default 20; SQLite: readers at most, default 4
	Version  string // of the program, noted with the replica

	// HandOn says that somebody takes events to another system: they are stored as unsent.
	HandOn bool

	// Silence is for how long a PostgreSQL server may say nothing before it counts as gone; default 10 s.
	Silence time.Duration

	Log *slog.Logger

	// Observe is told of each transaction (write, snapshot or telemetry) with its wait; nil for none. It must not block.
	Observe func(operation string, took time.Duration)
}

// DB is an open database. Open makes one; Close it.
type DB struct {
	engine  engine
	log     *slog.Logger
	ids     *idSource
	replica replica
	feed    feed
	observe func(operation string, took time.Duration)
	writing atomic.Int64
	unsent  int64 // of new events: 1 when they are handed on

	stop context.CancelFunc
	wait sync.WaitGroup
}

// engine is what differs between SQLite and PostgreSQL.
type engine interface {
	name() string
	read() *query.Queries
	readConn() query.DBTX

	// snapshot runs fn on one consistent, read-only view.
	snapshot(ctx context.Context, fn func(q *query.Queries) error) error

	// write runs fn in one transaction, durable when write returns nil. fn may run more than once.
	write(ctx context.Context, fn func(ctx context.Context, q *query.Queries, conn query.DBTX) error) error

	// writeTelemetry is write for the telemetry tables; it may lose its last transactions in a power cut.
	writeTelemetry(ctx context.Context, fn func(ctx context.Context, q *query.Queries) error) error

	// now is the time of the clock that all replicas share.
	now(ctx context.Context) (time.Time, error)

	// newCursor is the end of the change feed; changesAfter reads on from a cursor and tells since when, at most, further
	// changes may exist unread.
	newCursor(ctx context.Context) (int64, error)
	changesAfter(ctx context.Context, cursor int64) (changes []Change, next int64, current time.Time, err error)

	// forUpdate is appended to a SELECT that must lock what it returns.
	forUpdate() string

	close() error
}

// Open opens the database, creating it if need be, brings its schema up to date and claims a replica number.
func Open(ctx context.Context, o Options) (*DB, error) {
	log := cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	var e engine
	var err error
	switch cmp.Or(o.Engine, SQLite) {
	case SQLite:
		e, err = openSQLite(ctx, o, log)
	case PostgreSQL:
		e, err = openPostgres(ctx, o, log)
	default:
		return nil, fmt.Errorf("database engine %q: want %q or %q", o.Engine, SQLite, PostgreSQL)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s database: %w", cmp.Or(o.Engine, SQLite), err)
	}
	db := &DB{engine: e, log: log, observe: o.Observe}
	if o.HandOn {
		db.unsent = 1
	}
	if db.observe == nil {
		db.observe = func(string, time.Duration) {}
	}
	if err := db.start(ctx, o.Version); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return db, nil
}

func (db *DB) start(ctx context.Context, version string) error {
	floor, err := db.replica.claim(ctx, db.engine, version)
	if err != nil {
		return fmt.Errorf("claim a replica number: %w", err)
	}
	db.ids = newIDSource(db.replica.number, floor)
	db.replica.ids = db.ids
	if err := db.feed.start(ctx, db.engine); err != nil {
		return fmt.Errorf("start the change feed: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	db.stop = stop
	db.wait.Go(func() { db.replica.keep(background, db.engine, db.log) })
	db.wait.Go(func() { db.feed.keep(background, db.engine, db.log) })
	return nil
}

// Close ends the background work, gives the replica number back and closes the connections. No other call may be running.
func (db *DB) Close() error {
	db.stop()
	db.wait.Wait()
	return errors.Join(db.replica.release(db.engine), db.engine.close())
}

// Engine is SQLite or PostgreSQL.
func (db *DB) Engine() string { return db.engine.name() }

// Read returns the queries on the pool of readers. Each call of a query may see a newer state than the one before.
func (db *DB) Read() *query.Queries { return db.engine.read() }

// ReadConn is the pool of readers itself, for the few statements that cannot be generated. It cannot write.
func (db *DB) ReadConn() query.DBTX { return db.engine.readConn() }

// Snapshot runs fn on one consistent state of the database. fn must not write.
func (db *DB) Snapshot(ctx context.Context, fn func(q *query.Queries) error) error {
	defer db.observed("snapshot", time.Now())
	return db.engine.snapshot(ctx, fn)
}

// ID makes an id: time-ordered, positive and never made before by any replica of this database. An id counts only once a
// Write has stored it.
func (db *DB) ID() int64 { return db.ids.next() }

// Replica is this process's number, 0…1023.
func (db *DB) Replica() int { return db.replica.number }

// Err tells whether the database can be written: ErrReplicaLost once another replica holds this one's number.
func (db *DB) Err() error {
	if db.replica.lost.Load() {
		return ErrReplicaLost
	}
	return nil
}

// Ping asks the database for a sign of life.
func (db *DB) Ping(ctx context.Context) error {
	_, err := db.engine.now(ctx)
	return err
}

// Write runs fn in one transaction, durable when Write returns nil, and then tells local followers of its changes. The
// transaction is undone when fn returns an error or panics. fn may run more than once and so must have no effect but on
// tx and variables it sets anew each time. On SQLite writers take turns: fn must not wait for anything slow. ErrNested,
// ErrReplicaLost.
func (db *DB) Write(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	if ctx.Value(writingKey{}) != nil {
		return ErrNested
	}
	defer db.observed("write", time.Now())
	db.writing.Add(1)
	defer db.writing.Add(-1)
	if err := db.replica.check(ctx, db.engine); err != nil {
		return err
	}
	var changes []Change
	err := db.engine.write(context.WithValue(ctx, writingKey{}, true), func(ctx context.Context, q *query.Queries, conn query.DBTX) error {
		tx := &Tx{Queries: q, db: db, conn: conn}
		err := fn(ctx, tx)
		changes = tx.changes
		return err
	})
	if err != nil {
		return err
	}
	db.feed.deliverOwn(changes)
	return nil
}

// Writing is how many Writes run or wait for their turn.
func (db *DB) Writing() int64 { return db.writing.Load() }

type writingKey struct{}

func (db *DB) observed(operation string, began time.Time) { db.observe(operation, time.Since(began)) }

// WriteTelemetry runs fn in one transaction on the telemetry tables (pulls), apart from all others: it never holds up a
// Write, and a power cut may undo the last of them.
func (db *DB) WriteTelemetry(ctx context.Context, fn func(ctx context.Context, q *query.Queries) error) error {
	defer db.observed("telemetry", time.Now())
	return db.engine.writeTelemetry(ctx, fn)
}

// noRows turns the driver's word for an absent row into this package's.
func noRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

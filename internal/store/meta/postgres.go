package meta

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// postgresEngine is one pool of connections without session state: no named prepared statements, no session locks, no
// LISTEN. So it works behind a proxy that gives each transaction another connection.
type postgresEngine struct {
	db      *sql.DB
	queries *query.Queries
	silence *silence
}

const (
	postgresConns  = 20
	writeAttempts  = 10
	retryBase      = 5 * time.Millisecond
	serialization  = "40001" // serialization_failure
	deadlock       = "40P01" // deadlock_detected
	uniquePostgres = "23505" // unique_violation
)

func openPostgres(ctx context.Context, o Options, log *slog.Logger) (*postgresEngine, error) {
	config, err := pgx.ParseConfig(o.DSN)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	// The description of a statement is kept, the statement itself is not: each use is one unnamed parse, bind and execute.
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "weir"
	}
	quiet := &silence{after: cmp.Or(o.Silence, maxSilence), epoch: time.Now()}
	config.DialFunc = quiet.dial(config.DialFunc)
	conns := cmp.Or(o.MaxConns, postgresConns)
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour)
	if err := migrateUp(ctx, db, PostgreSQL, log); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	quiet.armed.Store(true)
	return &postgresEngine{db: db, queries: query.New(db), silence: quiet}, nil
}

func (e *postgresEngine) name() string { return PostgreSQL }

func (e *postgresEngine) read() *query.Queries { return e.queries }

func (e *postgresEngine) readConn() query.DBTX { return e.db }

func (e *postgresEngine) forUpdate() string { return " FOR UPDATE" }

func (e *postgresEngine) snapshot(ctx context.Context, fn func(q *query.Queries) error) error {
	return inTx(ctx, e.db, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, func(_ context.Context, tx *sql.Tx) error {
		return fn(query.New(tx))
	})
}

// write retries what PostgreSQL refused for the sake of other transactions. An error of COMMIT itself, such as a lost
// connection, leaves open whether the transaction took place, and is returned.
func (e *postgresEngine) write(ctx context.Context, fn func(context.Context, *query.Queries, query.DBTX) error) error {
	for attempt := 1; ; attempt++ {
		err := inTx(ctx, e.db, &sql.TxOptions{Isolation: sql.LevelReadCommitted}, func(ctx context.Context, tx *sql.Tx) error {
			return fn(ctx, query.New(tx), tx)
		})
		if attempt == writeAttempts || !retryable(err) {
			return err
		}
		pause := time.NewTimer(time.Duration(attempt)*retryBase + rand.N(retryBase))
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

func retryable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == serialization || e.Code == deadlock)
}

func (e *postgresEngine) writeTelemetry(ctx context.Context, fn func(context.Context, *query.Queries) error) error {
	return e.write(ctx, func(ctx context.Context, q *query.Queries, conn query.DBTX) error {
		if _, err := conn.ExecContext(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		return fn(ctx, q)
	})
}

// now is the server's clock: those of the replicas may differ.
func (e *postgresEngine) now(ctx context.Context) (time.Time, error) {
	var at int64
	err := e.db.QueryRowContext(ctx, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").Scan(&at)
	return time.UnixMicro(at), err
}

// The cursor of the feed is a transaction id: everything below it has been read. The numbers of seq are given out before
// commit, so that a lower one may become visible after a higher one; but no transaction below the snapshot's xmin is still open.
const xmin = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

func (e *postgresEngine) newCursor(ctx context.Context) (cursor int64, err error) {
	err = e.db.QueryRowContext(ctx, xmin).Scan(&cursor)
	return cursor, err
}

func (e *postgresEngine) changesAfter(ctx context.Context, cursor int64) (changes []Change, next int64, current time.Time, err error) {
	changes, next, current, err = e.readChanges(ctx, cursor)
	if err != nil && ctx.Err() != nil && e.silence.lasts(pollWait) {
		err = errors.Join(err, errSilent) // not that all connections are busy
	}
	return changes, next, current, err
}

func (e *postgresEngine) readChanges(ctx context.Context, cursor int64) (changes []Change, next int64, current time.Time, err error) {
	current = time.Now()
	if next, err = e.newCursor(ctx); err != nil {
		return nil, 0, time.Time{}, err
	}
	rows, err := e.db.QueryContext(ctx, `SELECT seq, group_id, kind, key FROM changes
		WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8 ORDER BY seq`, fmt.Sprint(cursor), fmt.Sprint(next))
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	if changes, err = scanChanges(rows); err != nil {
		return nil, 0, time.Time{}, err
	}
	// A long transaction holds xmin back: what others have committed since is visible but must wait.
	var unread sql.NullInt64
	err = e.db.QueryRowContext(ctx, "SELECT min(at) FROM changes WHERE xid >= $1::text::xid8", fmt.Sprint(next)).Scan(&unread)
	if unread.Valid && unread.Int64 < micros(current) {
		current = time.UnixMicro(unread.Int64)
	}
	return changes, next, current, err
}

func (e *postgresEngine) close() error { return e.db.Close() }

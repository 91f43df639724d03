package meta

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// sqliteEngine is two files: the database, whose acknowledged writes survive a power cut (synchronous=FULL), and the
// telemetry, whose last transactions may not (NORMAL). Each has one connection that writes; all others only read. Every
// connection sees the tables of both, so that queries may join them.
type sqliteEngine struct {
	readers *sql.DB
	kept    *statements    // of readers
	queries *query.Queries // on kept

	writer    *turn
	telemetry *sql.DB // one connection
}

const (
	telemetryFile   = "telemetry.db"
	sqliteReaders   = 4
	sqliteBusy      = "busy_timeout(10000)"
	sqliteStillBusy = "busy_timeout(250)" // when that was in vain a moment ago

	// Pages that a connection keeps, in KiB. What is read often is in the store's memory, and all else in the kernel's, from where a
	// page costs microseconds; the writer's are those that a shared transaction changes. The allocator gives a page of 4 KiB and its
	// header 8, so this is half of what it takes.
	sqliteWriterCache = "cache_size(-2048)"
	sqliteReaderCache = "cache_size(-512)"
	sqliteOtherCache  = "PRAGMA other.cache_size = -128"

	// A checkpoint for every 32 MiB of journal instead of every 4: the pages of indexes by digest are written many times in
	// between, and a checkpoint writes each of them once, while a writer waits.
	sqliteCheckpoint = "wal_autocheckpoint(8192)"

	// Each turn is a savepoint, of which SQLite keeps the pages as they were: in memory, or else every page is written twice.
	sqliteTemporary = "temp_store(MEMORY)"
)

func openSQLite(ctx context.Context, o Options, log *slog.Logger) (_ *sqliteEngine, err error) {
	if o.Path == "" {
		return nil, errors.New("no path given")
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, err
	}
	telemetry := filepath.Join(filepath.Dir(path), telemetryFile)
	for _, file := range []string{path, telemetry} {
		if err := createPrivate(file); err != nil {
			return nil, err
		}
	}
	e := &sqliteEngine{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	e.telemetry = openSQLiteFile(telemetry, path, 1, "synchronous(NORMAL)", sqliteReaderCache)
	if err := migrateUp(ctx, e.telemetry, telemetryMigrations, log); err != nil {
		return nil, fmt.Errorf("%s: %w", telemetryFile, err)
	}
	writer := openSQLiteFile(path, telemetry, 1, "synchronous(FULL)", "foreign_keys(1)", "journal_size_limit(67108864)",
		sqliteWriterCache, sqliteCheckpoint, sqliteTemporary)
	e.writer = &turn{db: writer}
	if err := migrateUp(ctx, writer, SQLite, log); err != nil {
		return nil, err
	}
	e.readers = openSQLiteFile(path, telemetry, cmp.Or(o.MaxConns, sqliteReaders), "query_only(1)", sqliteReaderCache)
	e.kept = newStatements(e.readers)
	e.queries = query.New(e.kept)
	return e, nil
}

// createPrivate makes a file that only its owner may read; SQLite gives the files beside it the same mode.
func createPrivate(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// openSQLiteFile makes a pool of connections to main that also see other, read-only.
func openSQLiteFile(main, other string, conns int, pragmas ...string) *sql.DB {
	values := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{sqliteBusy, "journal_mode(WAL)"}, pragmas...)}
	c := &sqliteConnector{
		dsn:    "file:" + uriPath(main) + "?" + values.Encode(),
		attach: "ATTACH DATABASE '" + strings.ReplaceAll("file:"+uriPath(other)+"?mode=ro", "'", "''") + "' AS other",
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

func uriPath(file string) string { return (&url.URL{Path: filepath.ToSlash(file)}).EscapedPath() }

type sqliteConnector struct {
	driver sqlite.Driver
	dsn    string
	attach string
}

// Driver implements driver.Connector.
func (c *sqliteConnector) Driver() driver.Driver { return &c.driver }

// Connect implements driver.Connector.
func (c *sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	x, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(errors.New("the driver cannot execute"), conn.Close())
	}
	if _, err := x.ExecContext(ctx, c.attach, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("attach: %w", err), conn.Close())
	}
	if _, err := x.ExecContext(ctx, sqliteOtherCache, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", sqliteOtherCache, err), conn.Close())
	}
	return conn, nil
}

func (e *sqliteEngine) name() string { return SQLite }

func (e *sqliteEngine) read() *query.Queries { return e.queries }

func (e *sqliteEngine) readConn() query.DBTX { return e.readers }

func (e *sqliteEngine) forUpdate() string { return "" }

func (e *sqliteEngine) snapshot(ctx context.Context, fn func(q *query.Queries) error) error {
	tx, err := e.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return fn(query.New(tx))
}

func (e *sqliteEngine) write(ctx context.Context, fn func(context.Context, *query.Queries, query.DBTX) error) error {
	return e.writer.write(ctx, fn)
}

func (e *sqliteEngine) writeTelemetry(ctx context.Context, fn func(context.Context, *query.Queries) error) error {
	return inTx(ctx, e.telemetry, nil, func(ctx context.Context, tx *sql.Tx) error { return fn(ctx, query.New(tx)) })
}

// now is this machine's clock: a SQLite file has no replicas elsewhere.
func (e *sqliteEngine) now(ctx context.Context) (time.Time, error) {
	return time.Now(), e.readers.PingContext(ctx)
}

func (e *sqliteEngine) newCursor(ctx context.Context) (cursor int64, err error) {
	err = e.readers.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM changes").Scan(&cursor)
	return cursor, err
}

// changesAfter reads by seq: one writer at a time commits in the order of seq.
func (e *sqliteEngine) changesAfter(ctx context.Context, cursor int64) (changes []Change, next int64, current time.Time, err error) {
	current, next = time.Now(), cursor
	rows, err := e.readers.QueryContext(ctx, "SELECT seq, group_id, kind, key FROM changes WHERE seq > $1 ORDER BY seq", cursor)
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	changes, err = scanChanges(rows)
	if n := len(changes); n > 0 {
		next = changes[n-1].Seq
	}
	return changes, next, current, err
}

func (e *sqliteEngine) close() error {
	var errs []error
	if e.kept != nil {
		errs = append(errs, e.kept.close())
	}
	if e.readers != nil {
		errs = append(errs, e.readers.Close())
	}
	if e.writer != nil {
		errs = append(errs, e.writer.close(), checkpoint(e.writer.db), e.writer.db.Close())
	}
	if e.telemetry != nil {
		errs = append(errs, checkpoint(e.telemetry), e.telemetry.Close())
	}
	return errors.Join(errs...)
}

// checkpoint brings a file up to date with its log, so that the next start has nothing to recover. SQLite does it by itself only
// when the last connection closes, and here that one may be able to read alone.
func checkpoint(db *sql.DB) error {
	_, err := db.ExecContext(context.Background(), "PRAGMA main.wal_checkpoint(TRUNCATE)")
	return err
}

// scanChanges reads and closes rows of (seq, group_id, kind, key).
func scanChanges(rows *sql.Rows) (changes []Change, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c Change
		if err := rows.Scan(&c.Seq, &c.GroupID, &c.Kind, &c.Key); err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, rows.Err()
}

// inTx runs fn in a transaction, undone when fn fails or panics.
func inTx(ctx context.Context, db *sql.DB, o *sql.TxOptions, fn func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer tx.Rollback() // no-op after Commit; otherwise the first error matters
	if err := fn(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

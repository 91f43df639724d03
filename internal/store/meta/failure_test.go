package meta

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

func TestFailure(t *testing.T) {
	_, refused := pgx.Connect(t.Context(), "postgres://127.0.0.1:1/weir")
	for name, c := range map[string]struct{ err, want error }{
		"nothing":           {nil, nil},
		"not found":         {ErrNotFound, nil},
		"caller left":       {context.Canceled, nil},
		"refused":           {fmt.Errorf("read: %w", refused), ErrUnavailable},
		"reset":             {&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, ErrUnavailable},
		"cut":               {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), ErrUnavailable},
		"bad connection":    {driver.ErrBadConn, ErrUnavailable},
		"shutdown":          {&pgconn.PgError{Code: "57P01"}, ErrUnavailable},
		"too many clients":  {&pgconn.PgError{Code: "53300"}, ErrUnavailable},
		"disk full":         {&pgconn.PgError{Code: "53100"}, ErrFull},
		"unique violation":  {&pgconn.PgError{Code: uniquePostgres}, nil},
		"statement timeout": {&pgconn.PgError{Code: "57014"}, nil},
	} {
		if got := Failure(c.err); got != c.want { //nolint:errorlint // exactly the sentinel
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestFullSQLite makes the file reach its greatest size. Reads go on, and so do writes once there is room.
func TestFullSQLite(t *testing.T) {
	db, err := Open(t.Context(), Options{Path: t.TempDir() + "/weir.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	limit := func(pages int) error {
		return db.Write(t.Context(), func(ctx context.Context, tx *Tx) error {
			_, err := tx.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
			return err
		})
	}
	fill := func() error {
		return db.Write(t.Context(), func(ctx context.Context, tx *Tx) error {
			_, err := tx.conn.ExecContext(ctx, "CREATE TABLE large (x)")
			if err == nil {
				_, err = tx.conn.ExecContext(ctx, "INSERT INTO large VALUES (zeroblob(1000000))")
			}
			return err
		})
	}
	if err := limit(1); err != nil {
		t.Fatal(err)
	}
	if err := fill(); !errors.Is(Failure(err), ErrFull) {
		t.Errorf("a full database: %v", err)
	}
	if err := db.Snapshot(t.Context(), func(*query.Queries) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := errors.Join(limit(100_000), fill()); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

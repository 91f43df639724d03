package meta

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrUnavailable is what Failure returns for a database that does not answer, ErrFull for one without room for another row.
var (
	ErrUnavailable = errors.New("the database does not answer")
	ErrFull        = errors.New("the database has no space left")
)

// Failure tells what an error of a query or transaction says of the database as a whole: ErrFull, ErrUnavailable, or nil when
// it is about what was asked, or about the caller's context.
func Failure(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteFailure(e)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return postgresFailure(e.Code)
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[*net.OpError](err)
	broken := errors.Is(err, io.ErrUnexpectedEOF) // what the driver says of a connection that ended within an answer
	if connecting || network || broken || errors.Is(err, driver.ErrBadConn) || errors.Is(err, errBroken) || pgconn.SafeToRetry(err) {
		return ErrUnavailable
	}
	return nil
}

// sqliteFailure looks at the primary code, the low byte.
func sqliteFailure(e *sqlite.Error) error {
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return ErrFull
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return ErrUnavailable
	}
	return nil
}

// postgresFailure knows the classes of SQLSTATE: 08 connection, 53 resources (53100 is a full disk), 57P shutdown and start,
// 58 system, and 25006, a server that only reads, such as the replica that a failover has left behind.
func postgresFailure(code string) error {
	switch {
	case code == "53100":
		return ErrFull
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "58"), code == "25006":
		return ErrUnavailable
	}
	return nil
}

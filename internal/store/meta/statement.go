package meta

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// statements prepares each statement at its first use and keeps it: SQLite would spend more on a text than on what it says, and of
// some three hundred that could be run most never are. It is for texts that do not vary.
type statements struct {
	on query.DBTX // a pool, or one connection of it

	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

func newStatements(on query.DBTX) *statements {
	return &statements{on: on, prepared: make(map[string]*sql.Stmt)}
}

func (s *statements) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt, ok := s.prepared[text]
	s.mu.RUnlock()
	if ok {
		return stmt, nil
	}
	stmt, err := s.on.PrepareContext(ctx, text) // without the lock: it may wait for a connection
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.prepared[text]; ok { // another goroutine's
		return first, stmt.Close() //nolint:sqlclosecheck // at once
	}
	s.prepared[text] = stmt
	return stmt, nil
}

// close ends the statements, which must not be in use.
func (s *statements) close() error {
	var errs []error
	for _, stmt := range s.prepared {
		errs = append(errs, stmt.Close())
	}
	clear(s.prepared)
	return errors.Join(errs...)
}

// PrepareContext implements query.DBTX. Whoever asks for a statement closes it, so it is not one of those kept.
func (s *statements) PrepareContext(ctx context.Context, text string) (*sql.Stmt, error) {
	return s.on.PrepareContext(ctx, text)
}

// ExecContext implements query.DBTX.
func (s *statements) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	stmt, err := s.prepare(ctx, text) //nolint:sqlclosecheck // kept
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

// QueryContext implements query.DBTX.
func (s *statements) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepare(ctx, text) //nolint:sqlclosecheck // kept
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// QueryRowContext implements query.DBTX.
func (s *statements) QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row {
	stmt, err := s.prepare(ctx, text) //nolint:sqlclosecheck // kept
	if err != nil {
		return s.on.QueryRowContext(ctx, text, args...) // which tells the error
	}
	return stmt.QueryRowContext(ctx, args...)
}

// Package metatest opens databases of both engines for tests. Tests of every package that keeps rows call it.
package metatest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
)

// Run runs a subtest for each engine on a database of its own, which is closed afterwards.
func Run(t *testing.T, fn func(t *testing.T, db *meta.DB)) {
	t.Helper()
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) { fn(t, Open(t, engine)) })
	}
}

// Open opens a new, empty database, closed when the test ends. A test for PostgreSQL is skipped where it is not installed,
// and fails there when CI=true.
func Open(t testing.TB, engine string) *meta.DB {
	t.Helper()
	return Reopen(t, Options(t, engine))
}

// Options names a new, empty database, for tests that open it several times.
func Options(t testing.TB, engine string) meta.Options {
	t.Helper()
	if engine == meta.PostgreSQL {
		return meta.Options{Engine: engine, DSN: newPostgres(t), MaxConns: 8}
	}
	return meta.Options{Engine: engine, Path: newSQLite(t)}
}

// migrated holds the files of an empty SQLite database with the current schema: copying them is much faster than
// migrating for each test.
var migrated = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "weir-sqlite-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	db, err := meta.Open(context.Background(), meta.Options{Path: filepath.Join(dir, "weir.db")})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range []string{"weir.db", "telemetry.db"} {
		if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
})

func newSQLite(t testing.TB) string {
	t.Helper()
	files, err := migrated()
	if err != nil {
		t.Fatalf("make a SQLite database: %v", err)
	}
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "weir.db")
}

// Reopen opens the database that Options named; it is closed when the test ends.
func Reopen(t testing.TB, o meta.Options) *meta.DB {
	t.Helper()
	db, err := meta.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}

package meta_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// What users, tokens and grants were before they became those of accounts is still theirs, under the same ids.
func TestUsersBecomeAccounts(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			o := metatest.Options(t, engine)
			if engine == meta.SQLite {
				o.Path = filepath.Join(t.TempDir(), "old.db")
			}
			before(t, o)
			q := metatest.Reopen(t, o).Read()
			accounts, err := q.AccessAccounts(t.Context())
			if err != nil || len(accounts) != 2 || accounts[0].ID != 11 || accounts[0].Name != "ann" || accounts[0].Kind != "user" ||
				accounts[0].PasswordHash != "h" || accounts[0].GroupID != 0 || !accounts[1].Disabled {
				t.Errorf("%+v, %v", accounts, err)
			}
			tok, err := q.TokenByHash(t.Context(), []byte("x"))
			if err != nil || tok.ID != 21 || tok.AccountID != 11 || tok.Name != "ci" || tok.Scope != "s" || tok.ExpiresAt != 5 {
				t.Errorf("%+v, %v", tok, err)
			}
			grants, err := q.AccessGrants(t.Context())
			if err != nil || len(grants) != 1 || grants[0].AccountID != 11 || grants[0].Path != "team" || grants[0].Role != "owner" || grants[0].Origin != "" {
				t.Errorf("%+v, %v", grants, err)
			}
		})
	}
}

// before makes a database of the schema before accounts, with two users.
func before(t *testing.T, o meta.Options) {
	t.Helper()
	driver, source, dialect, folder := "sqlite", o.Path, goose.DialectSQLite3, "migrations/sqlite"
	if o.Engine == meta.PostgreSQL {
		driver, source, dialect, folder = "pgx", o.DSN, goose.DialectPostgres, "migrations/postgres"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if o.Engine == meta.PostgreSQL { // it comes with the present schema
		if _, err := db.ExecContext(t.Context(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public"); err != nil {
			t.Fatal(err)
		}
	}
	p, err := goose.NewProvider(dialect, db, os.DirFS(folder), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"INSERT INTO users VALUES (11, 'ann', 'h', false, 1, 2), (12, 'bob', '', true, 3, 4)",
		"INSERT INTO tokens (id, user_id, name, hash, scope, created_at, expires_at, last_used_at, revoked_at) VALUES (21, 11, 'ci', CAST('x' AS " + blob(o.Engine) + "), 's', 1, 5, 0, 0)",
		"INSERT INTO grants (id, user_id, group_id, path, role) VALUES (31, 11, 7, 'team', 'owner')",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func blob(engine string) string {
	if engine == meta.PostgreSQL {
		return "BYTEA"
	}
	return "BLOB"
}

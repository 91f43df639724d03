package meta_test

import (
	"bytes"
	"cmp"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// renamed and dropped say what has become of columns since a schema was released; whatever is not said here must still be there, with
// what was in it.
var (
	renamed = map[string]string{"users": "accounts", "tokens.user_id": "tokens.account_id", "grants.user_id": "grants.account_id"}
	dropped = map[string]bool{"events.send_after": true, "pull_batches.send_after": true}
)

// ofServers are tables that are about running servers, not about data: a server that starts writes in them.
var ofServers = map[string]bool{"replicas": true}

// A server brings a database of any earlier schema up to its own, and every row of every table is still there.
func TestUpgrade(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		last := len(migrationFiles(t, engine))
		for version := 1; version < last; version++ {
			t.Run(engine+"/from "+strconv.Itoa(version), func(t *testing.T) {
				t.Parallel()
				o := metatest.Options(t, engine)
				if engine == meta.SQLite {
					o.Path = filepath.Join(t.TempDir(), "old.db")
				}
				old := openOld(t, o, version)
				before := old.fill(t)
				db := metatest.Reopen(t, o)
				old.compare(t, before)
				derived(t, old, version)
				readable(t, db)
			})
		}
	}
}

// readable reads by the program what was written as rows.
func readable(t *testing.T, db *meta.DB) {
	t.Helper()
	g, err := db.Group(t.Context(), "name-1")
	if err != nil || g.ID != 1 || !g.Enabled || len(g.Upstreams) != 1 || len(g.Registries) != 1 || len(g.Registries[0].Members) != 1 ||
		len(g.Credentials) != 1 || g.Credentials[0].Hosts[0] != "h1.test" || len(g.HostBindings) != 1 || len(g.HostedPrefixes) != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	accounts, err := db.Read().AccessAccounts(t.Context())
	if err != nil || len(accounts) != rowsOfEach || accounts[0].Name != "name-1" || accounts[1].Disabled {
		t.Errorf("%+v, %v", accounts, err)
	}
	tok, err := db.Read().TokenByHash(t.Context(), digestOf(2))
	if err != nil || tok.AccountID != 2 || tok.Name != "name-2" {
		t.Errorf("%+v, %v", tok, err)
	}
	grants, err := db.Read().AccessGrants(t.Context())
	if err != nil || len(grants) != rowsOfEach || grants[0].AccountID != 1 || grants[0].Role != "owner" {
		t.Errorf("%+v, %v", grants, err)
	}
}

// derived checks what migrations fill in from what was there.
func derived(t *testing.T, old *oldDatabase, version int) {
	t.Helper()
	for _, c := range []struct {
		in                 []int // schemas that did not have it, but what it is made of
		table, query, want string
	}{
		{[]int{1}, "blob_links", "SELECT cached_in FROM blob_links ORDER BY repository_id", "1 0"},
		{[]int{1}, "cached_bytes", "SELECT SUM(bytes) FROM cached_bytes", "1"},
		{[]int{1}, "cached_manifests", "SELECT used_at FROM cached_manifests", "1"},
		{[]int{1}, "repositories", "SELECT first_manifest_at FROM repositories ORDER BY id", "1 2"},
		{[]int{1}, "gc_candidates", "SELECT repository_id FROM gc_candidates WHERE kind = 'repository' ORDER BY repository_id", "1 2"},
		{[]int{1, 2}, "accounts", "SELECT DISTINCT kind FROM accounts", "user"},
		{[]int{1, 2, 3}, "repository_pulls", "SELECT pull_count FROM repository_pulls ORDER BY repository_id", "1 2"},
		{[]int{5, 6, 7}, "seals", "SELECT DISTINCT class FROM seals", "changes"},
		{[]int{5, 6, 7}, "pull_batches", "SELECT DISTINCT class FROM pull_batches", "pulls"},
	} {
		if !slices.Contains(c.in, version) {
			continue
		}
		var got []string
		for _, row := range read(t, old.having(t, c.table), c.query) {
			got = append(got, row...)
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
}

// oldDatabase is a database of an earlier schema: one for PostgreSQL, for SQLite the file and that of telemetry.
type oldDatabase struct {
	engine string
	parts  []*sql.DB
}

func migrationFiles(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob("migrations/" + folder + "/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

// openOld makes a database of an earlier schema.
func openOld(t *testing.T, o meta.Options, version int) *oldDatabase {
	t.Helper()
	old := &oldDatabase{engine: o.Engine}
	if o.Engine == meta.PostgreSQL {
		db := old.open(t, "pgx", o.DSN)
		if _, err := db.ExecContext(t.Context(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public"); err != nil { // it comes with the present one
			t.Fatal(err)
		}
		migrateTo(t, db, goose.DialectPostgres, "postgres", int64(version))
		return old
	}
	migrateTo(t, old.open(t, "sqlite", "file:"+o.Path+"?_pragma=foreign_keys(1)&_pragma=synchronous(0)"), goose.DialectSQLite3, "sqlite", int64(version))
	reached := map[string]bool{} // what the two files get together has one name
	for _, f := range migrationFiles(t, "sqlite")[:version] {
		reached[migrationName(f)] = true
	}
	both := slices.DeleteFunc(migrationFiles(t, "telemetry"), func(f string) bool { return !reached[migrationName(f)] })
	other := old.open(t, "sqlite", "file:"+filepath.Join(filepath.Dir(o.Path), "telemetry.db")+"?_pragma=synchronous(0)")
	migrateTo(t, other, goose.DialectSQLite3, "telemetry", int64(len(both)), goose.WithTableName("telemetry_version"))
	return old
}

func migrationName(file string) string {
	_, name, _ := strings.Cut(filepath.Base(file), "_")
	return name
}

func (o *oldDatabase) open(t *testing.T, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	o.parts = append(o.parts, db)
	return db
}

func migrateTo(t *testing.T, db *sql.DB, dialect goose.Dialect, folder string, version int64, options ...goose.ProviderOption) {
	t.Helper()
	p, err := goose.NewProvider(dialect, db, os.DirFS("migrations/"+folder), append(options, goose.WithDisableGlobalRegistry(true))...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

type column struct{ name, kind string }

// tables lists the tables of a part with their columns, but for those that the database fills in itself.
func (o *oldDatabase) tables(t *testing.T, db *sql.DB) map[string][]column {
	t.Helper()
	query := `SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY m.name, c.cid`
	if o.engine == meta.PostgreSQL {
		query = `SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
			WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`
	}
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string][]column{}
	for rows.Next() {
		var table string
		var c column
		if err := rows.Scan(&table, &c.name, &c.kind); err != nil {
			t.Fatal(err)
		}
		inside := strings.HasPrefix(table, "goose_") || strings.HasPrefix(table, "sqlite_") || table == "telemetry_version"
		if given := table == "changes" && (c.name == "seq" || c.name == "xid"); !inside && !given && !ofServers[table] {
			out[table] = append(out[table], c)
		}
	}
	if err := rows.Err(); err != nil || len(out) == 0 {
		t.Fatal(len(out), err)
	}
	return out
}

const rowsOfEach = 2

// content is what is in a table.
type content struct {
	columns []string
	rows    [][]string
}

// fill writes rows into every table that has none, and returns all that is there then.
func (o *oldDatabase) fill(t *testing.T) map[string]content {
	t.Helper()
	all := map[string]content{}
	for _, db := range o.parts {
		tables := o.tables(t, db)
		pending := slices.Sorted(maps.Keys(tables))
		for len(pending) > 0 { // in whatever order references allow
			var refused error
			rest := slices.DeleteFunc(slices.Clone(pending), func(table string) bool {
				err := o.fillTable(t, db, table, tables[table])
				if err != nil {
					refused = err
				}
				return err == nil
			})
			if len(rest) == len(pending) {
				t.Fatalf("rows for %v: %v", rest, refused)
			}
			pending = rest
		}
		for table, columns := range tables {
			c := content{columns: names(columns)}
			c.rows = read(t, db, "SELECT "+strings.Join(c.columns, ", ")+" FROM "+table)
			if all[table] = c; len(c.rows) == 0 {
				t.Errorf("no rows in %s", table)
			}
		}
	}
	return all
}

func names(columns []column) (out []string) {
	for _, c := range columns {
		out = append(out, c.name)
	}
	return out
}

func (o *oldDatabase) fillTable(t *testing.T, db *sql.DB, table string, columns []column) error {
	t.Helper()
	var count int
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&count); err != nil || count > 0 {
		return err
	}
	for n := 1; n <= rowsOfEach; n++ {
		var marks []string
		var values []any
		for i, c := range columns {
			marks = append(marks, "$"+strconv.Itoa(i+1))
			values = append(values, valueOf(t, table, c, n))
		}
		insert := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(names(columns), ", "), strings.Join(marks, ", "))
		if _, err := db.ExecContext(t.Context(), insert, values...); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	return nil
}

// texts are values of columns that are more than any text; # is the number of the row.
var texts = map[string]string{
	"hosts": `["h#.test"]`, "claims": `["c#/*"]`, "networks": `["10.0.0.#/32"]`, "freshness": `{"default":"#h"}`, "upstreams.settings": `{}`,
	"labels": `{"l":"#"}`, "annotations": `{"a":"#"}`, "detail": `{"d":#}`, "actions": `["pull"]`, "conditions": `[]`, "jobs.payload": `{"p":#}`,
	"url": "https://u#.test", "local": "", "action": "deny", "anonymous_pull": "no", "digest_first": "deny", "format": "container",
	"on_unknown": "continue", "on_upstream_delete": "serve", "scope": "", "role": "owner", "accounts.kind": "user", "host_bindings.prefix": "name-#/name-#",
	"repositories.name": "team/name-#",
}

// valueOf makes the value of a column in row n: whatever refers to something refers to the row of the same number.
func valueOf(t *testing.T, table string, c column, n int) any {
	t.Helper()
	switch kind := strings.ToUpper(c.kind); kind {
	case "BOOLEAN":
		return n == 1
	case "INTEGER", "BIGINT":
		if table == "repositories" && (c.name == "upstream_id" || c.name == "epoch") && n == 2 { // hosted
			return 0
		}
		if table == "accounts" && c.name == "group_id" {
			return 0
		}
		return n
	case "BLOB", "BYTEA":
		return digestOf(n)
	case "TEXT":
		text, ok := texts[table+"."+c.name]
		if !ok {
			text, ok = texts[c.name]
		}
		if !ok {
			text = c.name + "-#"
		}
		return strings.ReplaceAll(text, "#", strconv.Itoa(n))
	default:
		t.Fatalf("%s.%s: what is a value of type %s?", table, c.name, kind)
		return nil
	}
}

func digestOf(n int) []byte { return append([]byte{1}, bytes.Repeat([]byte{byte(n)}, 32)...) }

func read(t *testing.T, db *sql.DB, query string) (out [][]string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = fmt.Sprint(v)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// having is the part that has a table.
func (o *oldDatabase) having(t *testing.T, table string) *sql.DB {
	t.Helper()
	for _, db := range o.parts {
		if _, here := o.tables(t, db)[table]; here {
			return db
		}
	}
	t.Fatalf("there is no table %s any more: say what has become of it", table)
	return nil
}

// compare looks for every row of before, in the columns that it had.
func (o *oldDatabase) compare(t *testing.T, before map[string]content) {
	t.Helper()
	for table, was := range before {
		now := cmp.Or(renamed[table], table)
		var columns []string
		var kept []int
		for i, name := range was.columns {
			if dropped[table+"."+name] {
				continue
			}
			if other := renamed[table+"."+name]; other != "" {
				_, name, _ = strings.Cut(other, ".")
			}
			columns, kept = append(columns, name), append(kept, i)
		}
		is := map[string]bool{}
		for _, row := range read(t, o.having(t, now), "SELECT "+strings.Join(columns, ", ")+" FROM "+now) {
			is[strings.Join(row, "|")] = true
		}
		for _, row := range was.rows {
			var want []string
			for _, i := range kept {
				want = append(want, row[i])
			}
			if text := strings.Join(want, "|"); !is[text] {
				t.Errorf("%s (%s) has lost %s; it has %v", table, strings.Join(columns, ", "), text, slices.Sorted(maps.Keys(is)))
			}
		}
	}
}

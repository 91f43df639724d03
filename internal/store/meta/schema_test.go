package meta_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// onlyPostgres is what the change feed needs there and nowhere else.
const onlyPostgres = "changes.xid"

// Both engines must have the same tables and columns: one text of SQL runs on both.
func TestSchemasAgree(t *testing.T) {
	sqlite := columns(t, metatest.Open(t, meta.SQLite), `
		SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'
		UNION ALL
		SELECT m.name, c.name FROM other.sqlite_master m JOIN pragma_table_info(m.name, 'other') c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`)
	postgres := columns(t, metatest.Open(t, meta.PostgreSQL),
		"SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'")
	if !postgres[onlyPostgres] {
		t.Errorf("%s is gone: the feed would lose late commits", onlyPostgres)
	}
	delete(postgres, onlyPostgres)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(sqlite)), slices.Sorted(maps.Keys(postgres))); diff != "" {
		t.Errorf("SQLite (-) and PostgreSQL (+) differ:\n%s", diff)
	}
}

func columns(t *testing.T, db *meta.DB, statement string) map[string]bool {
	t.Helper()
	rows, err := db.ReadConn().QueryContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(table, "goose_") && table != "telemetry_version" {
			found[table+"."+column] = true
		}
	}
	if err := rows.Err(); err != nil || len(found) == 0 {
		t.Fatal(len(found), err)
	}
	return found
}

// A bare parameter after LIMIT makes SQLite plan the statement anew at each use. Pages of events and the trimming of old rows can
// bear that; nothing that a pull or a push waits for can.
func TestLimitsArePlannedOnce(t *testing.T) {
	bare := regexp.MustCompile(`(?i)LIMIT\s+[@$:?]`)
	for _, name := range []string{"access", "content", "definition", "gc", "job", "upload"} {
		text, err := os.ReadFile("queries/shared/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if bare.MatchString(line) {
				t.Errorf("%s.sql:%d: write LIMIT CAST(@n AS INTEGER): %s", name, n+1, line)
			}
		}
	}
}

package metatest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
)

// Statement is one query of the generated package.
type Statement struct {
	Name string
	SQL  string
	Args int // how many it takes
}

var (
	generated = regexp.MustCompile("const \\w+ = `-- name: (\\w+) :\\w+\n([^`]*)`")
	parameter = regexp.MustCompile(`\$(\d+)`)
)

// Statements reads every generated query from its source.
func Statements(t testing.TB) []Statement {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(here), "../query/*.sql.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the generated queries: %v, %v", files, err)
	}
	var list []Statement
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range generated.FindAllStringSubmatch(string(source), -1) {
			s := Statement{Name: found[1], SQL: found[2]}
			for _, p := range parameter.FindAllStringSubmatch(s.SQL, -1) {
				n, _ := strconv.Atoi(p[1])
				s.Args = max(s.Args, n)
			}
			list = append(list, s)
		}
	}
	return list
}

// Plan returns how the engine would run a statement, one step a line. Scans are those steps that read a table, or an index of
// it, from one end to the other, and on SQLite also those that read what it holds of one repository; whether they stop early
// the plan does not say.
func Plan(ctx context.Context, conn *sql.Conn, engine string, s Statement) (plan, scans []string, err error) {
	if engine == meta.PostgreSQL {
		return planPostgres(ctx, conn, s)
	}
	return planSQLite(ctx, conn, s)
}

var sqliteScan = regexp.MustCompile(`^SCAN (\w+)`)

func planSQLite(ctx context.Context, conn *sql.Conn, s Statement) (plan, scans []string, err error) {
	rows, err := conn.QueryContext(ctx, "EXPLAIN QUERY PLAN "+s.SQL, make([]any, s.Args)...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return nil, nil, err
		}
		plan = append(plan, detail)
		// Results of other parts of the statement are read from end to end, and named in it by "WITH name" or by an alias after ")".
		if m := sqliteScan.FindStringSubmatch(detail); m != nil && m[1] != "CONSTANT" && !isDerived(s.SQL, m[1]) {
			scans = append(scans, detail)
		}
		if strings.HasSuffix(detail, "(repository_id=?)") { // all that a repository has of something
			scans = append(scans, detail)
		}
		if strings.HasPrefix(detail, "USE TEMP B-TREE FOR ORDER BY") && strings.Contains(s.SQL, "LIMIT") {
			scans = append(scans, detail)
		}
	}
	return plan, scans, rows.Err()
}

func isDerived(text, name string) bool {
	return regexp.MustCompile(`\) ` + name + `\b|RECURSIVE ` + name + `\b`).MatchString(text)
}

// planPostgres asks for the plan that serves any arguments, as if reading whole tables were forbidden: the planner then does so
// only where there is no other way. It needs neither rows nor statistics for that.
func planPostgres(ctx context.Context, conn *sql.Conn, s Statement) (plan, scans []string, err error) {
	null := strings.TrimSuffix(strings.Repeat("NULL,", s.Args), ",")
	if s.Args > 0 {
		null = "(" + null + ")"
	}
	for _, statement := range []string{"SET enable_seqscan = off", "SET plan_cache_mode = force_generic_plan", "PREPARE planned AS " + s.SQL} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	var text string
	err = conn.QueryRowContext(ctx, "EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE planned"+null).Scan(&text)
	if _, dropErr := conn.ExecContext(ctx, "DEALLOCATE planned"); err != nil || dropErr != nil {
		return nil, nil, errors.Join(err, dropErr)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		return nil, nil, err
	}
	for _, p := range plans {
		p.Plan.walk(func(n node) {
			line := strings.TrimSpace(n.Type + " " + n.Relation + " " + n.Index + " " + n.Cond)
			plan = append(plan, line)
			full := n.Type == "Seq Scan" || strings.HasPrefix(n.Type, "Index") && n.Cond == ""
			if full || strings.Contains(n.Type, "Sort") && strings.Contains(s.SQL, "LIMIT") {
				scans = append(scans, line)
			}
		})
	}
	return plan, scans, nil
}

// node is a step of PostgreSQL's plan.
type node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Plans    []node `json:"Plans"`
}

func (n node) walk(fn func(node)) {
	fn(n)
	for _, child := range n.Plans {
		child.walk(fn)
	}
}

// Conn opens a connection of its own to the database that o names, for questions that the queries of package meta do not ask.
func Conn(t testing.TB, o meta.Options) *sql.Conn {
	t.Helper()
	driver, address := "sqlite", "file:"+o.Path+"?mode=ro"
	if o.Engine == meta.PostgreSQL {
		driver, address = "pgx", o.DSN
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	t.Cleanup(func() { _, _ = conn.Close(), db.Close() })
	if o.Engine != meta.PostgreSQL {
		attach := "ATTACH DATABASE 'file:" + filepath.Join(filepath.Dir(o.Path), "telemetry.db") + "?mode=ro' AS other"
		if _, err := conn.ExecContext(t.Context(), attach); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

//go:build clients

package clients

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// This file keeps docs/clients.md, the table of what was done with which client, true to the tests.
//
// A test calls record once it has done what the row says; the row counts when the test passes. A full run fails when the page has
// a row that no test covers any more, or lacks one that a test covers. What a machine cannot run is skipped by name (need, skip)
// and its rows stay as they are. Versions are those of the machine that wrote the page and are not compared.
//
//	go test -tags clients ./test/clients -update             writes the page
//	go test -tags clients ./test/clients -run Helm -update   writes the rows of the tests that -run selects

const page = "../../docs/clients.md"

var update = flag.Bool("update", false, "write docs/clients.md")

// versions says how each client tells its version: a program and its arguments. A client of the table must be listed here; the
// table keeps this order.
var versions = []struct {
	client  string
	command []string
}{
	{"docker", []string{"dockerd", "--version"}},
	{"containerd 1", []string{"containerd", "--version"}},
	{"containerd 2", []string{"containerd2/containerd", "--version"}},
	{"podman", []string{"podman", "--version"}},
	{"buildah", []string{"buildah", "--version"}},
	{"skopeo", []string{"skopeo", "--version"}},
	{"crane", []string{"crane", "version"}},
	{"regctl", []string{"regctl", "version", "--format", "{{.VCSTag}}"}},
	{"helm", []string{"helm", "version", "--template", "{{.Version}}"}},
	{"cosign", []string{"cosign", "version"}},
	{"nginx", []string{"nginx", "-v"}},
}

type row struct{ client, version, door, what, test, result string }

// key is what makes two rows the same.
func (r row) key() string { return strings.Join([]string{r.client, r.door, r.what, r.test}, " | ") }

// table is what this run has seen. A row's test is the top-level one.
var table = struct {
	sync.Mutex
	rows    map[string]row    // by key
	skipped map[string]string // reason, by test
}{rows: map[string]row{}, skipped: map[string]string{}}

// record adds a row: client (one of versions), the door or feature it used, and what was done, as a plain sentence without ports,
// paths or anything else of this machine.
func record(t *testing.T, client, door, what string) {
	t.Helper()
	r := row{client: client, door: door, what: what, test: topLevel(t), result: "passed"}
	if strings.Contains(r.key(), "\n") || strings.Count(r.key(), "|") != 3 {
		t.Fatalf("a row has no line breaks and no bars: %q", r.key())
	}
	r.version = version(t, client)
	table.Lock()
	defer table.Unlock()
	table.rows[r.key()] = r
}

// skip skips the test loudly and keeps its rows in the page.
func skip(t *testing.T, reason string) {
	t.Helper()
	table.Lock()
	table.skipped[topLevel(t)] = reason
	table.Unlock()
	t.Skip("SKIPPED: " + reason)
}

func topLevel(t *testing.T) string { name, _, _ := strings.Cut(t.Name(), "/"); return name }

var number = regexp.MustCompile(`\d+\.\d+(\.\d+)*`)

func version(t *testing.T, client string) string {
	t.Helper()
	for _, v := range versions {
		if v.client == client {
			out, err := exec.CommandContext(t.Context(), tool(v.command[0]), v.command[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", strings.Join(v.command, " "), err, out)
			}
			return number.FindString(string(out))
		}
	}
	t.Fatalf("client %q is not in versions", client)
	return ""
}

func TestMain(m *testing.M) {
	// Programs built by test/tools.sh come before those of the system. Programs in folders below it are asked for with tool.
	if dir, err := filepath.Abs(toolDir); err == nil {
		os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	code := m.Run()
	if code == 0 {
		if err := keepPage(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// keepPage compares the page with what ran, or writes it.
func keepPage() error {
	old, err := readPage()
	if err != nil {
		return err
	}
	whole := true
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		whole = whole && flag.Lookup(name).Value.String() == ""
	}
	rows, missing, extra := compare(old, table.rows, table.skipped, whole)
	for _, r := range rows {
		if reason, ok := table.skipped[r.test]; ok {
			fmt.Printf("SKIPPED: %s: %s: %s (%s)\n", r.client, r.door, r.what, reason)
		}
	}
	if *update {
		return os.WriteFile(page, []byte(format(rows)), 0o644)
	}
	var problems []error
	for _, key := range extra {
		problems = append(problems, fmt.Errorf("docs/clients.md has a row that no test covers: %s", key))
	}
	for _, key := range missing {
		problems = append(problems, fmt.Errorf("docs/clients.md lacks a row (make clients-table): %s", key))
	}
	return errors.Join(problems...)
}

// compare says what the page must hold after a run, which rows it lacks, and which it has without cause. A row stays without being
// seen when its test was skipped by name, or, unless the whole suite ran, when its test was not among those that ran.
func compare(old []row, seen map[string]row, skipped map[string]string, whole bool) (rows []row, missing, extra []string) {
	ran := map[string]bool{}
	lacks := maps.Clone(seen)
	for _, r := range seen {
		rows = append(rows, r)
		ran[r.test] = true
	}
	for _, r := range old {
		reason, skip := skipped[r.test]
		switch {
		case seen[r.key()] != row{}:
			delete(lacks, r.key())
		case skip:
			r.result = "skipped: " + reason
			rows = append(rows, r)
		case !whole && !ran[r.test]:
			rows = append(rows, r)
		default:
			extra = append(extra, r.key())
		}
	}
	return rows, slices.Sorted(maps.Keys(lacks)), extra
}

func TestCompare(t *testing.T) {
	a, b, c := row{client: "docker", what: "a", test: "TestA"}, row{client: "docker", what: "b", test: "TestA"}, row{client: "helm", what: "c", test: "TestC"}
	seen := func(rows ...row) map[string]row {
		m := map[string]row{}
		for _, r := range rows {
			m[r.key()] = r
		}
		return m
	}
	for name, x := range map[string]struct {
		old                  []row
		seen                 map[string]row
		skipped              map[string]string
		whole                bool
		rows, missing, extra int
	}{
		"all are seen":                      {[]row{a, b, c}, seen(a, b, c), nil, true, 3, 0, 0},
		"one is new":                        {[]row{a, c}, seen(a, b, c), nil, true, 3, 1, 0},
		"a test lost a row":                 {[]row{a, b, c}, seen(a, c), nil, true, 2, 0, 1},
		"a test is gone":                    {[]row{a, b, c}, seen(a, b), nil, true, 2, 0, 1},
		"a test is skipped":                 {[]row{a, b, c}, seen(a, b), map[string]string{"TestC": "no helm"}, true, 3, 0, 0},
		"a test was not asked for":          {[]row{a, b, c}, seen(c), nil, false, 3, 0, 0},
		"a test that was asked lost a row":  {[]row{a, b, c}, seen(b), nil, false, 2, 0, 1},
		"no page yet":                       {nil, seen(a, b), nil, true, 2, 2, 0},
		"nothing ran and nothing was asked": {[]row{a, b, c}, nil, nil, false, 3, 0, 0},
	} {
		rows, missing, extra := compare(x.old, x.seen, x.skipped, x.whole)
		if len(rows) != x.rows || len(missing) != x.missing || len(extra) != x.extra {
			t.Errorf("%s: %d rows, missing %q, without cause %q", name, len(rows), missing, extra)
		}
	}
}

// readPage returns the rows of the page; there are none before the page is first written.
func readPage() ([]row, error) {
	b, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var rows []row
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 6 || strings.HasPrefix(line, "| client |") || strings.HasPrefix(line, "|---") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3], strings.Trim(cells[4], "`"), cells[5]})
	}
	return rows, nil
}

func format(rows []row) string {
	place := func(client string) int {
		for i, v := range versions {
			if v.client == client {
				return i
			}
		}
		return len(versions)
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(place(a.client), place(b.client)), strings.Compare(a.door, b.door), strings.Compare(a.what, b.what), strings.Compare(a.test, b.test))
	})
	var b strings.Builder
	b.WriteString(`# Clients that were tried

<!-- Written by go test -tags clients ./test/clients -update; edit the tests instead. -->

Each row is something a real client did with the real server, in front of a real upstream registry, and a test that does it again:
` + "`make clients`" + ` runs all of them, ` + "`go test -tags clients ./test/clients -run TestName`" + ` the one a row names. A run fails when this page says
more than the tests do. How to set each client up: [how-to/clients.md](how-to/clients.md).

| client | version | door or feature | what was done | test | result |
|---|---|---|---|---|---|
`)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | `%s` | %s |\n", r.client, r.version, r.door, r.what, r.test, r.result)
	}
	return b.String()
}

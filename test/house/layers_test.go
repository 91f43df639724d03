// Package house keeps the tree true to docs/architecture.md: who may import whom, that every package says what it is, and a
// printed report of the longest files and functions.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weir-registry/weir/"

// rule says what the packages at or below Path may import from internal/. "." stands for Path itself and everything
// below; a name stands for that package alone, "name/..." for it and everything below.
type rule struct {
	path   string
	may    []string
	reason string
}

// rules are read top down; the first whose path covers a package decides. Tests may import anything.
var rules = []rule{
	{"oci", nil, "the words: pure, imports nothing of ours"},
	{"event/audit", []string{"oci", "event", "seal", "store/meta", "store/meta/query", "work"}, "the trail: rows in, sealed, read and handed on; knows no HTTP"},
	{"event", nil, "what happened: words only, so that every writer can use them"},
	{"telemetry", nil, "constructed once and handed to constructors; knows nobody"},
	{"config", nil, "one documented struct; only app and cmd read it"},
	{"seal", nil, "cryptography over bytes; knows no rows"},
	{"store/blob", []string{"oci", "store/blob"}, "bytes know no rows, no registry and no HTTP"},
	{"store/meta", []string{".", "event"}, "rows know no bytes, no registry and no HTTP"},
	{"store", []string{"oci", "event", "store/blob", "store/meta", "store/meta/query"}, "the door: contracts, not drivers"},
	{"registry/namespace", []string{"oci", "registry"}, "routing is pure"},
	{"registry/virtual", []string{"oci", "registry"}, "resolution is pure: no I/O, no clock, no SQL"},
	{"registry/guard", []string{"oci", "registry", "registry/virtual"}, "a check around a registry"},
	{"registry/hosted", []string{"oci", "registry", "registry/virtual", "store", "store/blob"}, "the store as a registry"},
	{"registry/cache", []string{"oci", "registry", "registry/virtual", "store", "store/blob", "store/meta"}, "gets its remote as a Registry, never an HTTP client"},
	{"registry/upstream", []string{"oci", "registry", "credential"}, "HTTP out; knows no store and no cloud SDK"},
	{"registry/assemble", []string{"oci", "registry/...", "credential/...", "store", "store/meta", "seal", "plan"}, "the only package that imports all kinds; opens secrets where plan has sealed them"},
	{"registry/registrytest", []string{"oci", "registry", "lab"}, "a test double, the suite, and the lab's upstream for tests"},
	{"registry", []string{"oci"}, "the seam"},
	{"lab", []string{"oci", "registry"}, "an upstream that misbehaves: of the seam it needs what a manifest is; knows nothing of the server"},
	{"credential", []string{"credential"}, "how we go out; knows nobody who comes in"},
	{"access/oidc", []string{"access"}, "one way to prove who somebody is; knows no rows and none of our HTTP"},
	{"access", []string{"oci", "event", "seal", "store/meta", "store/meta/query"}, "who may; does not know what they ask for"},
	{"serve/distribution", []string{"oci", "registry", "serve"}, "the protocol; does not know which kind it talks to"},
	{"serve/token", []string{"oci", "event", "registry", "access", "serve"}, "the token endpoint; of the seam it needs the caller"},
	{"serve/signin", []string{"oci", "event", "access", "access/oidc", "seal", "serve", "serve/session"}, "people who prove elsewhere who they are; leaves them with a session"},
	{"serve/session", []string{"oci", "access", "serve", "store/meta", "store/meta/query"}, "browsers that stay logged in; their rows are its own"},
	{"serve/api", []string{"oci", "event", "event/audit", "registry/virtual", "access", "serve", "serve/session", "store/meta", "plan", "plan/desired", "work"}, "REST for people and tools; explains with virtual's decisions"},
	{"serve/ops", nil, "health, metrics, profiles"},
	{"serve", []string{"oci", "event", "registry"}, "HTTP in: no kinds, no drivers"},
	{"plan/desired", nil, "a form that files, the API and the planner share: pure"},
	{"plan", []string{"oci", "plan/desired", "seal", "access", "store/meta", "store/meta/query"}, "desired state against rows; seals secrets, and tells access of grants it writes"},
	{"client/setup", []string{"oci"}, "pulls as docker does: knows digests, nothing of the server"},
	{"client", []string{"plan/desired", "registry/virtual"}, "the API's client: the forms it sends and gets, nothing of the server behind"},
	{"work", []string{"oci", "event", "store", "store/blob", "store/meta", "store/meta/query", "work"}, "later work reads rows; nobody calls it"},
	{"content", []string{"oci", "event", "access", "registry/...", "serve/api", "store", "store/meta"}, "content over the API: a question goes the way of a pull, and knows no HTTP"},
	{"app", []string{"..."}, "wiring: the only place that knows every part"},
}

type pkg struct {
	ImportPath string
	Name       string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,GoFiles,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return pkgs
		case err != nil:
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func covers(pattern, path, self string) bool {
	if pattern == "." {
		pattern = self + "/..."
	}
	base, tree := strings.CutSuffix(pattern, "...")
	if tree {
		base = strings.TrimSuffix(base, "/")
		return base == "" || path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

// testOnly reports whether a package exists for tests alone.
func testOnly(path string) bool { return strings.HasSuffix(path, "test") }

func TestLayers(t *testing.T) {
	for _, p := range list(t) {
		path, internal := strings.CutPrefix(p.ImportPath, module+"internal/")
		if !internal || testOnly(path) {
			continue
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return covers(r.path+"/...", path, "") })
		if i < 0 {
			t.Errorf("internal/%s has no rule: add one with its reason", path)
			continue
		}
		for _, imp := range p.Imports {
			imp, ok := strings.CutPrefix(imp, module+"internal/")
			if ok && !slices.ContainsFunc(rules[i].may, func(m string) bool { return covers(m, imp, rules[i].path) }) {
				t.Errorf("internal/%s imports internal/%s, but: %s", path, imp, rules[i].reason)
			}
		}
	}
}

// TestHTTPStaysOutside holds the rule that no net/http type appears below serve except where HTTP goes out.
func TestHTTPStaysOutside(t *testing.T) {
	allowed := []string{"serve/...", "registry/upstream", "registry/registrytest", "lab", "access", "access/oidc", "client/...", "app", "telemetry"}
	for _, p := range list(t) {
		path, internal := strings.CutPrefix(p.ImportPath, module+"internal/")
		if !internal || testOnly(path) || !slices.Contains(p.Imports, "net/http") {
			continue
		}
		// oci takes the status constants alone.
		if path != "oci" && !slices.ContainsFunc(allowed, func(a string) bool { return covers(a, path, "") }) {
			t.Errorf("internal/%s imports net/http", path)
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range list(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" || strings.HasSuffix(p.ImportPath, "/query") || len(p.GoFiles) == 0 {
			continue // query is generated; go list reads no comments in test files
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment must start with %q", p.ImportPath, want)
		}
	}
}

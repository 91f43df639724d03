package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/plan/desired"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// etagIn is the ETag that get prints.
func etagIn(t *testing.T, text string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^# etag: (.*)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no ETag in\n%s", text)
	}
	return m[1]
}

// TestDefinitions takes every kind of definition through its verbs.
func TestDefinitions(t *testing.T) {
	w := newWorld(t)
	shows(t, w.run("group", "create", "acme"), "group acme is created")
	t.Setenv("HUB", "s3cret-1")
	for _, args := range [][]string{
		{"credential", "create", "hub", "--username", "ci", "--password-env", "HUB", "--hosts", "docker.test"},
		{"upstream", "create", "docker", "--url", "https://docker.test", "--credential", "hub", "--freshness-default", "12h", "--hosts", "docker.io,index.docker.io"},
		{"upstream", "create", "own", "--local", "acme/own"},
		{"registry", "create", "all", "--anonymous-pull"},
		{"registry", "attach", "all", "docker"},
		{"registry", "attach", "all", "own", "--position", "1", "--claims", "acme/*"},
		{"binding", "create", "all.acme.test", "--registry", "all", "--networks", "10.0.0.0/8"},
		{"hosted", "create", "team/app", "--anonymous-pull"},
		{"hosted", "create", "-", "--allow-sparse-index"},
		{"rule", "create", "--registry", "all", "--deny", "*:*-rc", "--for-member", "docker"},
		{"rule", "create", "--upstream", "docker", "--allow", "library/*"},
		{"grant", "set", "ann", "-", "--role", "developer"},
		{"grant", "set", "bob", "team/app", "--role", "owner"},
		{"grant", "set", "bob", "team/app", "--role", "reader"},
		{"role", "create", "publisher", "--actions", "pull,push"},
		{"robot", "create", "ci", "--grants", "publisher:team,reader"},
		{"trust-rule", "create", "gitlab", "--issuer", "https://gitlab.test", "--audience", "weir", "--conditions", "project_path=acme/*,ref=main", "--grants", "reader"},
	} {
		w.run(args...)
	}
	for _, c := range []struct {
		args string
		want []string
	}{
		{"group list", []string{"GROUP", "acme   true"}},
		{"credential list", []string{"hub         static  ci        docker.test"}},
		{"upstream list", []string{"docker    https://docker.test", "12h", "own", "acme/own"}},
		{"upstream list --name own -o name", []string{"own\n"}},
		{"upstream get docker", []string{"# etag: ", "url: https://docker.test", "default: 12h", "- index.docker.io"}},
		{"registry list", []string{"all       own,docker  1      true"}},
		{"registry get all -o json", []string{`"upstream": "own"`, `"deny": "*:*-rc"`}},
		{"member list all", []string{"own", "acme/*"}},
		{"member get all own", []string{"position: 1"}},
		{"binding list", []string{"all.acme.test  all", "10.0.0.0/8"}},
		{"hosted list", []string{"team/app"}},
		{"hosted get team/app -o table", []string{"team/app  true"}},
		{"rule list --registry all", []string{"*:*-rc  docker"}},
		{"rule list --upstream docker", []string{"library/*"}},
		{"grant list", []string{"ann          user", "developer", "team/app  reader"}},
		{"grant get bob team/app", []string{"role: reader"}},
		{"role list", []string{"publisher", "pull,push", "owner"}},
		{"role list --instance", []string{"maintainer"}},
		{"robot list", []string{"reader,publisher", ",team"}},
		{"trust-rule get gitlab", []string{"claim: project_path", "matches: acme/*", "equals: main"}},
		{"user list", []string{"ann", "bob", "admin"}},
		{"permissions acme/team --as ann", []string{"push", "true"}},
		{"credential usage hub", []string{"may be sent to docker.test", "docker    https://docker.test  all"}},
	} {
		shows(t, w.run(strings.Fields(c.args)...), c.want...)
	}
	if out := w.run("export"); strings.Contains(out, "s3cret") {
		t.Errorf("a secret is shown:\n%s", out)
	}
}

// TestChanges changes and removes what there is, and tries what must be refused.
func TestChanges(t *testing.T) {
	w := newWorld(t)
	w.run("group", "create", "acme")
	for _, name := range []string{"one", "two", "three"} {
		w.run("upstream", "create", name, "--url", "https://"+name+".test")
	}
	w.run("registry", "create", "all")
	for _, name := range []string{"one", "two", "three"} {
		w.run("registry", "attach", "all", name)
	}
	order := func() string { return strings.Join(strings.Fields(w.run("member", "list", "all", "-o", "name")), " ") }

	w.run("registry", "move", "all", "three", "1")
	if got := order(); got != "three one two" {
		t.Errorf("moved: %s", got)
	}
	w.run("member", "update", "all", "one", "--claims", "team/*", "--enabled=false")
	w.run("registry", "reorder", "all", "two", "one", "three")
	if got := order(); got != "two one three" {
		t.Errorf("reordered: %s", got)
	}
	shows(t, w.run("member", "get", "all", "one"), "team/*", "enabled: false")
	w.refused(exitUsage, "missing: three", "registry", "reorder", "all", "two", "one")
	w.refused(exitNotFound, "no member four", "registry", "reorder", "all", "two", "one", "three", "four")
	shows(t, w.run("registry", "detach", "all", "two", "--dry-run"), "nothing was changed")
	w.run("registry", "detach", "all", "two")
	if got := order(); got != "one three" {
		t.Errorf("detached: %s", got)
	}

	w.run("upstream", "update", "one", "--timeout", "5s")
	before := w.run("upstream", "get", "one")
	shows(t, before, "timeout: 5s", "url: https://one.test")
	file := writeFile(t, strings.Replace(before, "timeout: 5s", "timeout: 7s", 1))
	shows(t, w.run("upstream", "update", "one", "-f", file, "--dry-run"), "5s → 7s", "nothing was changed")
	w.run("upstream", "update", "one", "-f", file, "--if-match", etagIn(t, before))
	w.refused(exitConflict, "changed meanwhile", "upstream", "update", "one", "-f", file, "--if-match", etagIn(t, before))
	w.refused(exitConflict, "changed meanwhile", "upstream", "delete", "one", "--if-match", etagIn(t, before))

	w.run("rule", "create", "--registry", "all", "--deny", "x")
	w.refused(exitConflict, "this rule already", "rule", "create", "--registry", "all", "--deny", "x")
	w.run("rule", "delete", "--registry", "all", "--deny", "x")
	w.refused(exitNotFound, "no such rule", "rule", "delete", "--registry", "all", "--deny", "x")

	shows(t, w.run("group", "get", "acme"), "enabled: true")
	w.run("group", "update", "acme", "-f", writeFile(t, strings.Replace(w.run("group", "get", "acme"), "enabled: true", "enabled: false", 1)))
	w.refused(exitConflict, "turned off", "upstream", "list")
	w.run("group", "update", "acme", "--enabled")

	w.run("registry", "delete", "all", "--with-exclusive-upstreams")
	if got := w.run("upstream", "list", "-o", "name"); got != "two\n" {
		t.Errorf("upstreams left: %q", got)
	}
}

// TestRefusals are mistakes that people make: each is answered with its own exit code, and what to do.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.refused(exitFailed, "weir group create", "upstream", "list")
	w.run("group", "create", "acme")
	w.run("upstream", "create", "docker", "--url", "https://docker.test")
	for _, c := range []struct {
		code int
		want string
		args string
	}{
		{exitUsage, `there is no command "weir upstraem"; did you mean upstream?`, "upstraem list"},
		{exitUsage, `"weir upstream lisst"; did you mean list?`, "upstream lisst"},
		{exitUsage, "unknown flag: --urls", "upstream create x --urls y"},
		{exitUsage, "weir upstream create UPSTREAM", "upstream create"},
		{exitUsage, "nothing to change", "upstream update docker"},
		{exitUsage, `want table, json, yaml or name`, "upstream list -o xml"},
		{exitUsage, "--registry or --upstream", "rule list"},
		{exitNotFound, "did you mean docker?", "upstream get dokcer"},
		{exitNotFound, "did you mean docker?", "upstream delete dock"},
		{exitNotFound, "did you mean docker?", "upstream update doker --url https://x.test"},
		{exitNotFound, "no such group", "upstream list --group nowhere"},
		{exitConflict, "upstream docker exists already", "upstream create docker --url https://other.test"},
		{exitFailed, "--url: want an absolute URL", "upstream create x --url x"},
		{exitFailed, "--freshness-default: ", "upstream create x --url https://x.test --freshness-default soon"},
		{exitFailed, "--hosts: ", "upstream update docker --hosts a.test,b/c"},
		{exitUsage, `"ref": want CLAIM=VALUE`, "trust-rule create x --conditions ref"},
		{exitFailed, "NOT_SET is not set", "credential create x --username u --password-env NOT_SET"},
	} {
		w.refused(c.code, c.want, strings.Fields(c.args)...)
	}
	w.refused(exitFailed, `[2:1] unknown field "urls"`, "upstream", "create", "x", "-f", writeFile(t, "name: x\nurls: y\n"))
	w.run("group", "create", "other")
	w.refused(exitUsage, "name one with --group or WEIR_GROUP: acme, other", "upstream", "list")
	t.Setenv("WEIR_GROUP", "acme")
	w.run("upstream", "list")
	w.refused(exitUnreachable, "no server answers", "upstream", "list", "--server", "http://127.0.0.1:1")
}

// TestCompletion offers names as the server has them, and nothing at all when it cannot be asked.
func TestCompletion(t *testing.T) {
	w := newWorld(t)
	w.run("group", "create", "acme")
	for _, name := range []string{"docker", "ghcr"} {
		w.run("upstream", "create", name, "--url", "https://"+name+".test")
	}
	w.run("registry", "create", "hub")
	w.run("registry", "attach", "hub", "ghcr")
	w.run("robot", "create", "ci")
	t.Setenv("SECRET", "s3cret")
	w.run("credential", "create", "robots", "--username", "ci", "--password-env", "SECRET")
	offers := func(args ...string) string {
		var out bytes.Buffer
		run("weir", append([]string{"__complete", "--data", w.data}, args...), strings.NewReader(""), &out, io.Discard)
		names, _, _ := strings.Cut(out.String(), ":4")
		return strings.Join(strings.Fields(names), " ")
	}
	for _, c := range []struct{ args, want string }{
		{"upstream get |", "docker ghcr"},
		{"upstream create x --credential |", "robots"},
		{"token list --robot |", "ci"},
		{"token list --user a|", "admin ann"},
		{"permissions acme --as |", "admin ann bob acme/ci"},
		{"explain x --as acme/|", "acme/ci"},
		{"audit list --actor b|", "bob"},
		{"grant set ann --role d|", "developer"},
		{"grant set |", "admin ann bob"},
		{"binding create h.test --registry |", "hub"},
		{"login x --user a|", ""},
		{"upstream update d|", "docker"},
		{"upstream create |", ""},
		{"registry attach |", "hub"},
		{"registry attach hub |", "docker ghcr"},
		{"registry detach hub |", "ghcr"},
		{"member get hub |", "ghcr"},
		{"rule list --upstream g|", "ghcr"},
		{"upstream list --group |", "acme"},
		{"upstream list -o |", "table json yaml name"},
	} {
		args := strings.Fields(strings.TrimSuffix(c.args, "|"))
		if strings.HasSuffix(c.args, " |") {
			args = append(args, "")
		} else {
			args[len(args)-1] = strings.TrimSuffix(args[len(args)-1], "|")
		}
		if got := offers(args...); got != c.want {
			t.Errorf("%s offers %q, want %q", c.args, got, c.want)
		}
	}
	w.data = t.TempDir()
	if got := offers("upstream", "get", ""); got != "" {
		t.Errorf("without a server: %q", got)
	}
}

// TestFlagsOfFields fails when a field of a definition can be set by no flag, unless it is known to be given in files alone.
func TestFlagsOfFields(t *testing.T) {
	inFiles := []string{"freshness.classes", "rules", "members"}
	for _, v := range []any{desired.Upstream{}, desired.Registry{}, desired.Credential{}, desired.HostBinding{}, desired.Hosted{}, desired.Member{}} {
		typ := reflect.TypeOf(v)
		flags := map[string]bool{}
		for _, f := range fieldsOf(typ, nil) {
			flags[f.path[0]] = true
			if f.doc == "" && !slices.Contains([]string{"name", "username", "registry", "anonymous_pull", "upstream"}, f.path[0]) {
				t.Errorf("%s.%v has no documentation", typ.Name(), f.path)
			}
		}
		for _, f := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !flags[name] && !slices.Contains(inFiles, name) {
				t.Errorf("%s.%s has no flag", typ.Name(), name)
			}
		}
	}
}

func TestColumns(t *testing.T) {
	c := columns{"name=thing", "size:bytes", "at:time=when", "members.upstream", "rules:count", "gone", "labels", "digest:digest"}
	item := `{"name": "x", "size": 2048, "members": [{"upstream": "a"}, {"upstream": "b"}], "rules": [1, 2], "labels": {"k": "v"},
		"at": "2026-01-02T03:04:05Z", "digest": "sha256:0123456789abcdef"}`
	want := [][]string{
		{"THING", "SIZE", "WHEN", "UPSTREAM", "RULES", "GONE", "LABELS", "DIGEST"},
		{"x", "2.0 KiB", "2026-01-02 03:04", "a,b", "2", "", `{"k":"v"}`, "sha256:0123456789ab"},
	}
	if got := c.rows([]json.RawMessage{json.RawMessage(item)}); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestNear(t *testing.T) {
	for _, c := range []struct {
		name, wanted string
		near         bool
	}{{"dockerhub", "dockrhub", true}, {"dockerhub", "docker", true}, {"ghcr", "gchr", true}, {"quay", "ghcr", false}, {"a", "", false}} {
		if near(c.name, c.wanted) != c.near {
			t.Errorf("%s for %s: %v", c.name, c.wanted, !c.near)
		}
	}
}

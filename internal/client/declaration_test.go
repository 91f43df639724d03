package client_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// files writes files, by name, into a new folder, and returns their paths in the given order.
func files(t *testing.T, pairs ...string) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func lookup(name string) (string, bool) {
	values := map[string]string{"TOKEN": "s3cret", "EMPTY": ""}
	v, ok := values[name]
	return v, ok
}

func TestReadSecrets(t *testing.T) {
	f := files(t, "a.yaml", `
groups:
  - name: a
    credentials:
      - {name: plain, password: "s3cret"}
      - {name: number, password: 12345}
      - {name: env, password: {env: TOKEN}}
      - {name: file, password: {file: secret.txt}}
      - {name: unchanged}
    upstreams: [{name: u, ca: {file: secret.txt}}]
`, "secret.txt", "from file\n")
	d, err := client.Reader{LookupEnv: lookup}.Read(f[:1])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range d.Groups[0].Credentials {
		if c.Password == nil {
			got = append(got, "nil")
			continue
		}
		got = append(got, string(*c.Password))
	}
	if diff := cmp.Diff([]string{"s3cret", "12345", "s3cret", "from file", "nil"}, got); diff != "" {
		t.Error(diff)
	}
	if ca := d.Groups[0].Upstreams[0].CA; ca != "from file\n" {
		t.Errorf("ca %q", ca)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown field":  {"groups:\n  - name: a\n    upstream: []\n", `[3:5] unknown field "upstream"`},
		"repeated field": {"groups:\n  - name: a\n    name: b\n", "[3:5]"},
		"empty":          {"", "there is nothing in it"},
		"no group":       {"{}\n---\ngroups: []\n", "there is nothing in it"},
		"bad type":       {"groups: 7\n", "[1:9]"},
		"bad yaml":       {"groups: [\n", "[1:9]"},
		"env not set":    {"groups: [{name: a, credentials: [{name: c, password: {env: NOPE}}]}]", "NOPE is not set"},
		"env empty":      {"groups: [{name: a, credentials: [{name: c, password: {env: EMPTY}}]}]", "EMPTY is not set"},
		"no file":        {"groups: [{name: a, credentials: [{name: c, password: {file: nope}}]}]", "no such file"},
		"two references": {"groups: [{name: a, credentials: [{name: c, password: {file: x, env: TOKEN}}]}]", "want a text"},
		"odd reference":  {"groups: [{name: a, credentials: [{name: c, password: {vault: s3cret}}]}]", "want a text"},
		"near a secret":  {"groups:\n  - name: a\n    credentials:\n      - name: c\n        password: s3cret\n        user: x\n", "[6:9]"},
		"twice enabled":  {"groups: [{name: a, enabled: true}]\n---\ngroups: [{name: a, enabled: false}]\n", "both enabled and disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Reader{LookupEnv: lookup}.Read(files(t, "a.yaml", c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestReadSeveral(t *testing.T) {
	f := files(t, "a.yaml", "groups: [{name: a, upstreams: [{name: u}]}]\n---\ngroups: [{name: b}]\n",
		"b.yaml", "groups: [{name: a, enabled: false, upstreams: [{name: v}], registries: [{name: r}]}]")
	d, err := client.Reader{Stdin: strings.NewReader("groups: [{name: c}]")}.Read(append(f, "-"))
	if err != nil {
		t.Fatal(err)
	}
	off := false
	want := desired.Document{Groups: []desired.Group{
		{Name: "a", Enabled: &off, Upstreams: []desired.Upstream{{Name: "u"}, {Name: "v"}}, Registries: []desired.Registry{{Name: "r"}}},
		{Name: "b"}, {Name: "c"},
	}}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	both := files(t, "x.yaml", "nope: 1\n", "y.yaml", "nope: 1\n")
	if _, err := (client.Reader{}).Read(both); err == nil || strings.Count(err.Error(), "unknown field") != 2 {
		t.Errorf("want the errors of both files: %v", err)
	}
}

// An empty list and a field that is false say something; what is left out does not. The server must hear the difference.
func TestReadPresence(t *testing.T) {
	d, err := client.Reader{}.Read(files(t, "a.yaml", "groups: [{name: a, registries: [{name: r, rules: [], strict_precedence: false}]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(d)
	if want := `{"groups":[{"name":"a","registries":[{"name":"r","strict_precedence":false,"rules":[]}]}]}`; err != nil || string(text) != want {
		t.Errorf("%s %v, want %s", text, err, want)
	}
}

// A wrong type is named in the words of the file.
func TestReadWrongType(t *testing.T) {
	for text, want := range map[string]string{
		"groups:\n- name: a\n  registries:\n  - {name: r, anonymous_pull: \"true\"}\n": "[4:31] groups[0].registries[0].anonymous_pull: want true or false, without quotes",
		"groups:\n- name: a\n  enabled: maybe\n":                                       "[3:12] groups[0].enabled: want true or false, without quotes",
		"groups: [{name: a, upstreams: [{name: u, concurrency: many}]}]\n":             "groups[0].upstreams[0].concurrency: want a number",
	} {
		_, err := client.Reader{}.Read(files(t, "a.yaml", text))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// What `weir export` prints, `weir apply` reads.
func TestWrite(t *testing.T) {
	off := false
	d := desired.Document{Groups: []desired.Group{{
		Name: "a", Enabled: &off,
		Credentials:  []desired.Credential{{Name: "c", Kind: "static", Username: "u", Hosts: []string{"h.test:443"}}},
		Upstreams:    []desired.Upstream{{Name: "u", URL: "https://h.test", Enabled: &off, CA: "-----BEGIN\nx\n", Freshness: desired.Freshness{Default: "24h", Classes: []desired.FreshnessClass{{Pattern: "*:latest", For: "10m"}}}}},
		Registries:   []desired.Registry{{Name: "r", AnonymousPull: new(true), Members: []desired.Member{{Upstream: "u", Enabled: &off, Claims: []string{"*"}}}, Rules: []desired.Rule{{Deny: "*:*-alpha*"}}}},
		Hosted:       []desired.Hosted{{AllowSparseIndex: new(true)}},
		HostBindings: []desired.HostBinding{{Host: "h", Registry: "r", Networks: []string{"10.0.0.0/8"}}},
	}}}
	text, err := client.Write(d)
	if err != nil {
		t.Fatal(err)
	}
	read, err := client.Reader{}.Read(files(t, "a.yaml", string(text)))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(d, read); diff != "" {
		t.Errorf("written (-) and read (+) differ:\n%s\n%s", diff, text)
	}
	for _, empty := range []string{"grants", "realm_hosts", "timeout", "mirror"} {
		if strings.Contains(string(text), empty) {
			t.Errorf("%s is written although it says nothing:\n%s", empty, text)
		}
	}
}

package stack_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestContentRoles asks for every operation that needs the whole server as everybody: nobody is not logged in, stranger has no grant, path has one on
// "team" alone, the others have theirs on the group.
func TestContentRoles(t *testing.T) {
	roles := []string{"", "stranger", "path", "reader", "developer", "maintainer", "owner", "admin"}
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{Users: roles[1:7]})
	s.Apply(t, fmt.Sprintf(`groups:
- name: a
  grants: [{user: path, path: team, role: maintainer}, {user: reader, role: reader}, {user: developer, role: developer}, {user: maintainer, role: maintainer}, {user: owner, role: owner}]
  upstreams: [{name: far, url: %q}]
  registries: [{name: hub, members: [{upstream: far}]}]`, u.URL()))
	image := registrytest.RandomImage(1, 1, 100)
	digest := string(image.Manifest.Digest)
	u.Put("library/app", []string{"1"}, image)
	admin := s.As(t, "admin")
	for _, repository := range []string{"a/team/app", "a/app"} {
		admin.Push(t, repository, []string{"1"}, image)
	}
	admin.Pull(t, "a/hub/library/app", "1", image)
	remotes := make([]stack.Remote, len(roles))
	for i, role := range roles {
		remotes[i] = s.As(t, role)
	}
	const group = "/groups/a"
	const mine, app, far = group + "/repositories/team%2Fapp", group + "/repositories/app", group + "/repositories/library%2Fapp"
	rows := []struct{ operation, method, path, body, want string }{
		{"get-group", "GET", group, "", "401 404 200 200 200 200 200 200"},
		{"list-upstreams", "GET", group + "/upstreams", "", "401 404 403 200 200 200 200 200"},
		{"list-repositories", "GET", group + "/repositories", "", "401 404 200 200 200 200 200 200"},
		{"list-repositories", "GET", group + "/repositories?upstream=none", "", "401 404 200 422 422 422 422 422"},
		{"list-repositories", "GET", group + "/repositories?registry=none", "", "401 404 200 422 422 422 422 422"},
		{"search", "GET", group + "/search?upstream=none", "", "401 404 200 422 422 422 422 422"},
		{"get-repository", "GET", mine, "", "401 404 200 200 200 200 200 200"},
		{"get-repository", "GET", app, "", "401 404 404 200 200 200 200 200"},
		{"list-tags", "GET", app + "/tags", "", "401 404 404 200 200 200 200 200"},
		{"get-tag", "GET", app + "/tags/1", "", "401 404 404 200 200 200 200 200"},
		{"list-tag-history", "GET", app + "/tags/1/history", "", "401 404 404 200 200 200 200 200"},
		{"list-manifests", "GET", app + "/manifests", "", "401 404 404 200 200 200 200 200"},
		{"get-manifest", "GET", app + "/manifests/" + digest, "", "401 404 404 200 200 200 200 200"},
		{"get-repository", "GET", far + "?upstream=far", "", "401 404 404 200 200 200 200 200"},
		{"get-tag", "GET", far + "/tags/1?upstream=far", "", "401 404 404 200 200 200 200 200"},
		{"search", "GET", group + "/search", "", "401 404 200 200 200 200 200 200"},
		{"evaluate", "POST", group + "/registries/hub/evaluate", `{"reference":"library/app:1"}`, "401 404 403 200 200 200 200 200"},
		{"purge", "POST", group + "/upstreams/far/purge?dry_run=true", `{}`, "401 404 403 403 403 200 200 200"},
		{"copy", "POST", group + "/copy", `{"source":"a/app:1","target":"a/other:1"}`, "401 404 404 403 200 200 200 200"},
		{"copy", "POST", group + "/copy", `{"source":"a/team/app:1","target":"a/team/other:1"}`, "401 404 200 403 200 200 200 200"},
		{"copy", "POST", group + "/copy", `{"source":"a/app:1","target":"a/team/other:1"}`, "401 404 403 403 200 200 200 200"},
		{"delete-tag", "DELETE", app + "/tags/none", "", "401 404 404 403 403 404 404 404"},
		{"delete-tag", "DELETE", mine + "/tags/none", "", "401 404 404 403 403 404 404 404"},
		{"delete-manifest", "DELETE", app + "/manifests/sha256:" + strings.Repeat("0", 64), "", "401 404 404 403 403 404 404 404"},
		{"delete-tag", "DELETE", far + "/tags/none?upstream=far", "", "401 404 404 403 403 404 404 404"},
		{"delete-repository", "DELETE", mine + "?dry_run=true", "", "401 404 200 403 403 200 200 200"},
		{"delete-repository", "DELETE", app + "?dry_run=true", "", "401 404 404 403 403 200 200 200"},
		{"delete-repository", "DELETE", far + "?upstream=far&dry_run=true", "", "401 404 404 403 403 200 200 200"},
		{"delete-repository", "DELETE", group + "/repositories/none", "", "401 404 404 404 404 404 404 404"},
		{"explain", "POST", "/explain", `{"image":"a/hub/library/app:1"}`, "401 200 200 200 200 200 200 200"}, // about a pull of one's own
		{"explain", "POST", "/explain", `{"image":"a/hub/library/app:1","as":"owner"}`, "401 403 403 403 403 200 200 200"},
		{"refresh", "POST", "/refresh", `{"upstream":"a/far"}`, "401 403 403 403 403 200 200 200"},
		{"check", "POST", "/check", `{}`, "401 403 403 403 403 403 403 200"},
		{"exchange-token", "POST", "/token/exchange", "grant_type=x", "400 400 400 400 400 400 400 400"}, // whoever asks, the token in it counts
	}
	for _, c := range rows {
		var got []string
		for _, r := range remotes {
			var changes []stack.Change
			if c.body != "" {
				media := "application/json"
				if c.operation == "exchange-token" {
					media = "application/x-www-form-urlencoded"
				}
				changes = append(changes, stack.Body(media, []byte(c.body)))
			}
			a := r.Do(t, c.method, "/api/v1"+c.path, changes...)
			got = append(got, fmt.Sprint(a.Status))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s %s %s\nas   %q\ngot  %s\nwant %s", c.method, c.path, c.body, roles, text, c.want)
		}
	}
	covered := map[string]bool{}
	for _, c := range rows {
		covered[c.operation] = true
	}
	wantWhole(t, admin, covered)
}

// elsewhere are the tags of the operations that the contract of package api covers, which needs no more than a database: its
// TestContractIsWhole sees that it covers them all. A tag that is not here is covered here.
var elsewhere = []string{
	"server", "jobs", "groups", "upstreams", "registries", "credentials", "hosted", "host-bindings",
	"users", "tokens", "robots", "roles", "trust-rules", "grants", "events", "sessions",
}

// wantWhole wants every operation of the document to be covered but for those that are elsewhere. The exchange of tokens is no operation of
// package api, whatever its tag.
func wantWhole(t *testing.T, r stack.Remote, covered map[string]bool) {
	t.Helper()
	var d struct {
		Paths map[string]map[string]struct {
			OperationID string
			Tags        []string
		}
	}
	if err := json.Unmarshal(r.Do(t, "GET", "/api/v1/openapi.json").Want(t, 200).Body, &d); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for path, methods := range d.Paths {
		for method, o := range methods {
			seen++
			if !covered[o.OperationID] && (!slices.Contains(elsewhere, o.Tags[0]) || o.OperationID == "exchange-token") {
				t.Errorf("operation %s (%s %s) has no row that says what roles get", o.OperationID, method, path)
			}
			delete(covered, o.OperationID)
		}
	}
	if seen < 100 || len(covered) > 0 {
		t.Errorf("%d operations; no operations: %v", seen, covered)
	}
}

// TestContentBodies sends what no client would. Nothing of it is the server's fault, and no value is echoed.
func TestContentBodies(t *testing.T) {
	s := stack.Start(t, stack.Options{Users: []string{"ann"}})
	s.Apply(t, `groups:
- name: a
  grants: [{user: ann, role: maintainer}]
  upstreams: [{name: far, url: "http://127.0.0.1:1"}]
  registries: [{name: hub, members: [{upstream: far}]}]`)
	ann := s.As(t, "ann")
	const marker = "s3cr3t-marker"
	values := []string{`""`, `"` + marker + `"`, `"` + marker + `:/@"`, `"a/hub/x:1"`, `"\u0000"`, `"` + strings.Repeat("a/", 200) + `a"`, `1`, `null`, `[]`, `{}`, `["` + marker + `"]`, `true`, `"sha256:00"`, `"../.."`}
	for path, fields := range map[string][]string{
		"/upstreams/far/purge": {"repository", "reference", "after"}, "/copy": {"source", "target", "referrers", "platforms", "progress"},
		"/registries/hub/evaluate": {"reference"},
	} {
		bodies := []string{"", "{", "[]", "null", `"x"`, `{"` + marker + `": 1}`}
		for _, field := range fields {
			for _, value := range values {
				bodies = append(bodies, `{"`+field+`":`+value+`}`)
				if path == "/copy" {
					bodies = append(bodies, `{"source":"a/x:1","target":"a/y:1","`+field+`":`+value+`}`)
				}
			}
		}
		for _, body := range bodies {
			a := ann.Do(t, "POST", "/api/v1/groups/a"+path, stack.Body("application/json", []byte(body)))
			if a.Status >= 500 && a.Status != 503 || a.Status == 200 && path == "/copy" || a.Status == 422 && strings.Contains(strings.ReplaceAll(string(a.Body), "body."+marker, ""), marker) {
				t.Errorf("%s %s: %d %s", path, body, a.Status, a.Body)
			}
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "after=x", "after=e30", "sort=x", "kind=x", "unknown=1", "after=eyJvIjoibmFtZSAiLCJrIjpbIngiXX0"} {
		for _, path := range []string{"/repositories", "/repositories/x/tags", "/repositories/x/manifests"} {
			if a := ann.Do(t, "GET", "/api/v1/groups/a"+path+"?"+query); a.Status != 422 {
				t.Errorf("%s?%s: %d %s", path, query, a.Status, a.Body)
			}
		}
	}
}

package stack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestContentRoles asks for every operation on content as everybody: nobody is not logged in, stranger has no grant, path has one on
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
	const mine, app, far = "/repositories/team%2Fapp", "/repositories/app", "/repositories/library%2Fapp"
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "", "", "401 404 200 200 200 200 200 200"},
		{"GET", "/upstreams", "", "401 404 403 200 200 200 200 200"},
		{"GET", "/repositories", "", "401 404 200 200 200 200 200 200"},
		{"GET", mine, "", "401 404 200 200 200 200 200 200"},
		{"GET", app, "", "401 404 404 200 200 200 200 200"},
		{"GET", app + "/tags", "", "401 404 404 200 200 200 200 200"},
		{"GET", app + "/tags/1", "", "401 404 404 200 200 200 200 200"},
		{"GET", app + "/tags/1/history", "", "401 404 404 200 200 200 200 200"},
		{"GET", app + "/manifests", "", "401 404 404 200 200 200 200 200"},
		{"GET", app + "/manifests/" + digest, "", "401 404 404 200 200 200 200 200"},
		{"GET", far + "?upstream=far", "", "401 404 404 200 200 200 200 200"},
		{"GET", far + "/tags/1?upstream=far", "", "401 404 404 200 200 200 200 200"},
		{"GET", "/search", "", "401 200 200 200 200 200 200 200"},
		{"POST", "/registries/hub/evaluate", `{"reference":"library/app:1"}`, "401 404 403 200 200 200 200 200"},
		{"POST", "/upstreams/far/purge?dry_run=true", `{}`, "401 404 403 403 403 200 200 200"},
		{"POST", "/copy", `{"source":"a/app:1","target":"a/other:1"}`, "401 404 404 403 200 200 200 200"},
		{"POST", "/copy", `{"source":"a/team/app:1","target":"a/team/other:1"}`, "401 404 200 403 200 200 200 200"},
		{"POST", "/copy", `{"source":"a/app:1","target":"a/team/other:1"}`, "401 404 403 403 200 200 200 200"},
		{"DELETE", app + "/tags/none", "", "401 404 404 403 403 404 404 404"},
		{"DELETE", mine + "/tags/none", "", "401 404 404 403 403 404 404 404"},
		{"DELETE", app + "/manifests/sha256:" + strings.Repeat("0", 64), "", "401 404 404 403 403 404 404 404"},
		{"DELETE", far + "/tags/none?upstream=far", "", "401 404 404 403 403 404 404 404"},
		{"DELETE", mine + "?dry_run=true", "", "401 404 200 403 403 200 200 200"},
		{"DELETE", app + "?dry_run=true", "", "401 404 404 403 403 200 200 200"},
		{"DELETE", far + "?upstream=far&dry_run=true", "", "401 404 404 403 403 200 200 200"},
		{"DELETE", "/repositories/none", "", "401 404 404 404 404 404 404 404"},
	} {
		var got []string
		for _, r := range remotes {
			var changes []stack.Change
			if c.body != "" {
				changes = append(changes, stack.Body("application/json", []byte(c.body)))
			}
			a := r.Do(t, c.method, "/api/v1/groups/a"+c.path, changes...)
			got = append(got, fmt.Sprint(a.Status))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s %s %s\nas   %q\ngot  %s\nwant %s", c.method, c.path, c.body, roles, text, c.want)
		}
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
		"/upstreams/far/purge": {"repository", "reference", "after"}, "/copy": {"source", "target", "referrers", "platforms"},
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

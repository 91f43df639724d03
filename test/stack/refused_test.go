package stack_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

var userID = regexp.MustCompile(`\b\d{15,}\b`)

// refusal is the only event of pulls that a request has, as a line, with ids as N. The trail is written within a second.
func refusal(t *testing.T, s *stack.Server, group, requestID string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		list, err := s.API.Events(t.Context(), group, url.Values{"stream": {"pulls"}, "request_id": {requestID}}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 && time.Now().Before(deadline) {
			continue
		}
		if len(list) != 1 {
			t.Fatalf("%d events of request %s: %+v", len(list), requestID, list)
		}
		return userID.ReplaceAllString(line(t, list[0]), "N")
	}
}

func line(t *testing.T, e client.Event) string {
	t.Helper()
	var d struct {
		Operation, Reason string
		Status            int
		Decision          struct {
			Access  map[string]any
			Message string
		}
	}
	if err := json.Unmarshal(e.Detail, &d); err != nil {
		t.Fatal(err)
	}
	if e.Outcome != "denied" || e.Address == "" || e.Actor.Kind == "" {
		t.Errorf("%+v", e)
	}
	out := fmt.Sprintf("%s|%s|%s|%s|%s|%d|%s|%s", e.Kind, e.Group, e.Actor.Name, e.Subject, e.Account, d.Status, d.Operation, d.Reason)
	if d.Decision.Access != nil {
		out += fmt.Sprint("|", d.Decision.Access["cause"], " ", d.Decision.Access["action"], " ", d.Decision.Access["path"])
	}
	return out
}

// TestTrailOfRefusals: what was refused is in the trail with who wanted what, and why not: in that of the group where its people may know.
func TestTrailOfRefusals(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
			u.Put("app", []string{"1"}, registrytest.RandomImage(1, 1, 100))
			o := on(t, engine)
			o.Users = []string{"ann", "bob", "eve"}
			s := stack.Start(t, o)
			s.Apply(t, fmt.Sprintf(`groups:
- name: a
  grants: [{user: ann, role: maintainer}]
  upstreams: [{name: far, url: %q}]
  registries: [{name: hub, members: [{upstream: far}], rules: [{deny: "*:1"}]}]
- {name: b}`, u.URL()))
			as := map[string]stack.Remote{"": {URL: s.URL}, "stranger": {URL: s.URL}}
			for _, name := range []string{"ann", "bob"} {
				as[name] = s.As(t, name)
			}
			var checks []func() // afterwards: each would wait for the trail
			for i, step := range []struct{ who, request, body, group, want string }{
				{"ann", "PATCH /api/v1/groups/a/credentials/hub", `{}`, "a", "api.denied|a|ann|a/credentials/hub||403|patch-credential|no grant covers it: it takes the role owner|ungranted own a"},
				{"ann", "PUT /api/v1/groups/a/grants/eve/-", `{"role": "reader"}`, "a", "api.denied|a|ann|a/grants/N/-||403|put-grant|no grant covers it: it takes the role owner|ungranted own a"},
				{"ann", "PUT /api/v1/groups/a/grants/secret-person/-", `{"role": "reader"}`, "a", "api.denied|a|ann|a/grants/-/-||403|put-grant|no grant covers it: it takes the role owner|ungranted own a"},
				{"ann", "DELETE /api/v1/groups/a", "", "a", "api.denied|a|ann|a||403|delete-group|no grant covers it: it takes the role owner|ungranted own a"},
				{"ann", "POST /api/v1/apply", `{"groups": [{"name": "a", "enabled": false}]}`, "a", "api.denied|a|ann|a||403|apply|no grant covers it: it takes the role owner|ungranted own a"},
				{"ann", "GET /api/v1/permissions?path=a&as=bob", "", "a", "api.denied|a|ann|a||403|get-permissions|no grant covers it: it takes the role owner|ungranted own a"},
				{"ann", "DELETE /api/v1/users/bob", "", "", "api.denied||ann|/users/N||403|delete-user|no grant covers it: it takes the role admin|ungranted administer <nil>"},
				{"ann", "GET /api/v1/groups/b/upstreams/far", "", "", "api.denied||ann|/groups/b||404|get-upstream|there is no such group, or you may not see it"},
				{"ann", "GET /api/v1/groups/ghost/upstreams/far", "", "", "api.denied||ann|/groups/ghost||404|get-upstream|there is no such group, or you may not see it"},
				{"bob", "GET /v2/a/hub/app/manifests/2", "", "a", "pull.denied|a|bob|a/hub/app||403|manifest|no grant covers it: it takes the role reader|ungranted pull a/hub/app"},
				{"bob", "POST /v2/a/hub/app/blobs/uploads/", "", "a", "push.denied|a|bob|a/hub/app||403|uploads|no grant covers it: it takes the role developer|ungranted push a/hub/app"},
				{"ann", "GET /v2/a/hub/app/manifests/1", "", "a", "pull.denied|a|ann|a/hub/app||403|manifest|rule deny \"*:1\" of registry a/hub excludes app:1"},
				{"basic admin", "GET /v2/a/hub/app/manifests/1", "", "", "login.refused|||account N|admin|401|manifest|wrong password"},
				{"basic secret-person", "GET /v2/a/hub/app/manifests/1", "", "", "login.refused|||||401|manifest|there is no such user"},
				{"basic admin", "GET /api/v1/whoami", "", "", "login.refused|||account N|admin|401|whoami|wrong password"},
				{"basic admin", "GET /token", "", "", "login.refused|||account N|admin|401|token|wrong password"},
				{"", "POST /api/v1/session", `{"user": "admin", "password": "wrong-1"}`, "", "login.refused|||account N|admin|401|create-session|wrong password"},
			} {
				method, path, _ := strings.Cut(step.request, " ")
				var changes []stack.Change
				if step.body != "" {
					mediaType := "application/json"
					if method == "PATCH" {
						mediaType = "application/merge-patch+json"
					}
					changes = append(changes, stack.Body(mediaType, []byte(step.body)))
				}
				from, basic := strings.CutPrefix(step.who, "basic ")
				if basic {
					changes = append(changes, stack.Header("Authorization", "Basic "+basicLogin(from, fmt.Sprint("wrong-password-", i))))
					from = ""
				}
				a := as[from].Do(t, method, path, changes...)
				checks = append(checks, func() {
					if got := refusal(t, s, step.group, a.Header.Get("X-Request-Id")); got != step.want {
						t.Errorf("%s %s: %d %.300s\n%s\nwant\n%s", step.who, step.request, a.Status, a.Body, got, step.want)
					}
				})
			}
			for _, check := range checks {
				check()
			}
			if list, err := s.API.Events(t.Context(), "b", url.Values{"stream": {"pulls"}}, 10); err != nil || len(list) != 0 {
				t.Errorf("a group is told of strangers: %+v %v", list, err)
			}
		})
	}
}

// TestRequestLimitsInTrail: whoever asks too often has logged in all the same.
func TestRequestLimitsInTrail(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Users: []string{"ann"}, Configure: func(c *config.Config) { c.Limits.RequestsPerPrincipal = 3 }})
	ann := s.As(t, "ann")
	for path, operation := range map[string]string{"/v2/": "base", "/api/v1/whoami": "whoami"} {
		for range 10 {
			if a := ann.Do(t, "GET", path); a.Status == 429 {
				want := "request.limited||ann|||429|" + operation + "|more requests than limits allow"
				if got := refusal(t, s, "", a.Header.Get("X-Request-Id")); got != want {
					t.Errorf("%s: %s\nwant %s", path, got, want)
				}
				break
			}
		}
	}
}

func basicLogin(name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(name + ":" + password))
}

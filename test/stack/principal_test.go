package stack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// naming are the fields and parameters of the API that name somebody.
var naming = []string{"as", "actor", "user", "account"}

// TestPrincipalsOfOthers has an owner and a maintainer of group b name robots, trust rules and users of group a wherever an operation takes
// a name: each must be as unknown as one that is not there. The operations are those of the document, so that none that comes later is
// forgotten.
func TestPrincipalsOfOthers(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, _, _, _ := tenants(t, on(t, engine))
			s.Apply(t, `groups: [{name: b, grants: [{user: bob, role: owner}]}]`)
			admin := s.NewToken(t, "admin")
			for path, body := range map[string]string{
				"/groups/a/robots/bot": `{"grants": [{"role": "reader"}]}`, "/groups/b/robots/mine": `{"grants": [{"role": "maintainer"}]}`,
				"/groups/a/trust-rules/ci": `{"issuer": "https://ci.test", "audience": "w", "conditions": [{"claim": "sub", "equals": "x"}]}`,
			} {
				if status, text := asked(t, s, admin, "PUT", path, body, ""); status != 201 {
					t.Fatal(path, status, text)
				}
			}
			status, text := asked(t, s, admin, "POST", "/groups/b/robots/mine/tokens", `{"name": "t"}`, "")
			var robot struct{ Token string }
			if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &robot); err != nil || robot.Token == "" {
				t.Fatal(status, text, err)
			}
			tried := map[string]bool{}
			for who, token := range map[string]string{"bob": s.NewToken(t, "bob"), "robot": robot.Token} {
				for operation, requests := range aboutSomebody(t, s, admin) {
					for _, request := range requests {
						tried[operation] = true
						comparePrincipals(t, s, who, token, operation, request)
					}
				}
			}
			for _, operation := range []string{
				"GET /permissions", "POST /explain", "GET /groups/{group}/events", "GET /groups/{group}/events/export", "GET /groups/{group}/grants",
				"GET /groups/{group}/grants/{user}/{path}", "DELETE /groups/{group}/grants/{user}/{path}", "GET /users/{name}", "GET /tokens", "GET /events",
			} {
				if !tried[operation] {
					t.Error("not tried: ", operation)
				}
			}
			knows(t, s)
		})
	}
}

// comparePrincipals asks about somebody who is there and somebody who is not. %s in a request is the name.
func comparePrincipals(t *testing.T, s *stack.Server, who, token, operation string, request [2]string) {
	t.Helper()
	for _, names := range [][2]string{{"a/bot", "ghost/bot"}, {"a/bot", "a/bit"}, {"a/ci", "ghost/ci"}, {"ann", "amm"}} {
		method, _, _ := strings.Cut(operation, " ")
		ask := func(name string) (int, string) {
			path := strings.ReplaceAll(request[0], "%s", strings.ReplaceAll(name, "/", "%2F"))
			status, text := asked(t, s, token, method, path, strings.ReplaceAll(request[1], "%s", name), "")
			return status, strings.ReplaceAll(strings.ReplaceAll(text, strings.ReplaceAll(name, "/", "%2F"), "NAME"), name, "NAME")
		}
		status, got := ask(names[0])
		imagined, want := ask(names[1])
		if status != imagined || got != want {
			t.Errorf("%s: %s %v tells %s from %s: %d %s\n%d %s", who, operation, request, names[0], names[1], status, got, imagined, want)
		}
	}
}

// aboutSomebody are requests to every operation that takes a name of somebody, by operation: path and body, with %s for the name. All are
// about group b, where the caller may do most. Left out is what gives a user a role: there an owner has to name people who are in no
// group yet.
func aboutSomebody(t *testing.T, s *stack.Server, token string) map[string][][2]string {
	t.Helper()
	_, text := asked(t, s, token, "GET", "/openapi.json", "", "")
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Required bool
			}
			RequestBody struct {
				Content map[string]struct{ Schema bodySchema }
			}
		}
		Components struct{ Schemas map[string]bodySchema }
	}
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &document); err != nil {
		t.Fatal(err)
	}
	out := map[string][][2]string{}
	for path, methods := range document.Paths {
		for method, o := range methods {
			operation := strings.ToUpper(method) + " " + path
			if slices.Contains([]string{"PUT /groups/{group}/grants/{user}/{path}", "POST /apply"}, operation) {
				continue
			}
			place := strings.NewReplacer("{group}", "b", "{path}", "-", "{id}", "7").Replace(path)
			if strings.Contains(place, "{user}") || strings.HasPrefix(path, "/users/{name}") {
				place = strings.NewReplacer("{user}", "%s", "{name}", "%s").Replace(place)
				out[operation] = append(out[operation], [2]string{place, body(o.RequestBody.Content != nil)})
			}
			for _, p := range o.Parameters {
				if p.In == "query" && slices.Contains(naming, p.Name) {
					for _, more := range more(operation) {
						out[operation] = append(out[operation], [2]string{place + "?" + p.Name + "=%s" + more, body(o.RequestBody.Content != nil)})
					}
				}
			}
			for _, c := range o.RequestBody.Content {
				of := c.Schema
				if name, ok := strings.CutPrefix(of.Ref, "#/components/schemas/"); ok {
					of = document.Components.Schemas[name]
				}
				for field := range of.Properties {
					if slices.Contains(naming, field) && !strings.Contains(place, "{") {
						for _, rest := range []string{`"image": "b/hub/library/app:1"`, `"image": "b/open/app:1"`, `"name": "x"`, `"password": "x"`} {
							out[operation] = append(out[operation], [2]string{strings.ReplaceAll(place, "%s", "nobody"), fmt.Sprintf(`{%q: "%%s", %s}`, field, rest)})
						}
					}
				}
			}
		}
	}
	return out
}

// bodySchema is what is needed of a body's schema.
type bodySchema struct {
	Ref        string `json:"$ref"`
	Properties map[string]any
}

func body(wanted bool) string {
	if wanted {
		return "{}"
	}
	return ""
}

// more are the parameters that an operation answers differently with.
func more(operation string) []string {
	switch {
	case operation == "GET /permissions":
		return []string{"", "&path=b", "&path=b/app", "&path=a"}
	case strings.Contains(operation, "/events"):
		return []string{"", "&stream=pulls", "&kind=tag.*", "&limit=1"}
	}
	return []string{""}
}

// knows holds that those whom one may know of are found: of one's own group, and by an administrator all.
func knows(t *testing.T, s *stack.Server) {
	t.Helper()
	for _, ask := range []struct{ who, name, path string }{
		{"bob", "b/mine", "b"}, {"bob", "bob", "b"}, {"admin", "ann", "b"}, {"admin", "a/bot", "b"}, {"admin", "a/ci", "a"},
	} {
		status, text := asked(t, s, s.NewToken(t, ask.who), "GET", "/permissions?as="+ask.name+"&path="+ask.path, "", "")
		if status != http.StatusOK {
			t.Errorf("%s asks about %s: %d %s", ask.who, ask.name, status, text)
		}
		status, text = asked(t, s, s.NewToken(t, ask.who), "GET", "/groups/"+ask.path+"/events?actor="+ask.name, "", "")
		if status != http.StatusOK {
			t.Errorf("%s asks for events of %s: %d %s", ask.who, ask.name, status, text)
		}
	}
	// Who has left is known by what was done before, and by nothing else.
	s.Apply(t, `groups: [{name: b, grants: [{user: ann, role: developer}]}]`)
	s.As(t, "ann").Push(t, "b/app", []string{"1"}, registrytest.RandomImage(9, 1, 100))
	bob := s.NewToken(t, "bob")
	if status, text := asked(t, s, s.NewToken(t, "admin"), "DELETE", "/groups/b/grants/ann/-", "", ""); status != 204 {
		t.Fatal(status, text)
	}
	if status, text := asked(t, s, bob, "GET", "/groups/b/events?actor=ann", "", ""); status != http.StatusOK || !strings.Contains(text, `"tag.moved"`) {
		t.Errorf("events of who has left: %d %s", status, text)
	}
	if status, text := asked(t, s, bob, "GET", "/groups/b/events?actor=ann&kind=blob.deleted", "", ""); status != 422 {
		t.Errorf("events that who has left has not made: %d %s", status, text)
	}
	if status, text := asked(t, s, bob, "GET", "/permissions?path=b&as=ann", "", ""); status != 404 {
		t.Errorf("permissions of who has left: %d %s", status, text)
	}
}

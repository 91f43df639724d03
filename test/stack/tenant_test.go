package stack_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// asked is an answer of the API as text, without ids and dates. The name of the group that is not there is written as that of the one
// that is.
func asked(t *testing.T, s *stack.Server, token, method, path, body, group string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"Date", "X-Request-Id", "Content-Length"} {
		resp.Header.Del(h)
	}
	var lines []string
	for name, values := range resp.Header {
		lines = append(lines, name+": "+strings.Join(values, ", "))
	}
	slices.Sort(lines)
	answer := strings.Join(lines, "\n") + "\n" + string(text)
	if group == "ghost" {
		answer = strings.ReplaceAll(answer, "ghost", "a")
	}
	return resp.StatusCode, answer
}

// TestTenantsByAPI has those of another tenant try every operation of the API on a group that exists, with names that do, and on one
// that does not. It reads the operations from the document, so that none that comes later is forgotten.
func TestTenantsByAPI(t *testing.T) {
	s, image, _, _ := tenants(t, stack.Options{})
	admin := s.NewToken(t, "admin")
	for path, body := range map[string]string{
		"/groups/a/robots/bot": `{"grants": [{"role": "reader"}]}`, "/groups/a/roles/mine": `{"actions": ["pull"]}`, "/groups/b/robots/spy": `{"grants": [{"role": "owner"}]}`,
		"/groups/a/trust-rules/ci": `{"issuer": "https://ci.test", "audience": "w", "conditions": [{"claim": "sub", "equals": "x"}]}`,
	} {
		if status, text := asked(t, s, admin, "PUT", path, body, ""); status != 201 {
			t.Fatal(path, status, text)
		}
	}
	var spy struct{ Token string }
	_, text := asked(t, s, admin, "POST", "/groups/b/robots/spy/tokens", `{"name": "t"}`, "")
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &spy); err != nil || spy.Token == "" {
		t.Fatal(text, err)
	}
	tried := 0
	for who, token := range map[string]string{"bob": s.NewToken(t, "bob"), "robot": spy.Token} {
		for path, methods := range operations(t, s, admin) {
			if !strings.Contains(path, "{group}") {
				continue
			}
			for method, hasBody := range methods {
				body := ""
				if hasBody {
					body = `{}`
				}
				for _, name := range []string{"far", "hub", "own", "bot", "ci", "mine", "ann", "hosted", "secret%2Fapp", "tag-real", string(image.Manifest.Digest)} {
					real, ghost := fill(path, "a", name), fill(path, "ghost", name)
					status, got := asked(t, s, token, strings.ToUpper(method), real, body, "a")
					imagined, want := asked(t, s, token, strings.ToUpper(method), ghost, body, "ghost")
					if status < 400 || status != imagined || got != want {
						t.Errorf("%s: %s %s tells more than %s: %d %s\n%d %s", who, method, real, ghost, status, got, imagined, want)
					}
					tried++
				}
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d attempts: the document is not what it was", tried)
	}
}

// TestGrantBelowAGroup has somebody with a grant on a path of group a, and nothing in it there, try every operation on what exists in a,
// and on what does not. He knows that there is an a, and may pull what is at his path; what else a has does not show.
func TestGrantBelowAGroup(t *testing.T) {
	s, image, _, _ := tenants(t, stack.Options{})
	s.Apply(t, `groups: [{name: a, grants: [{user: bob, path: team, role: maintainer}]}]`)
	mine := registrytest.RandomImage(50, 1, 100)
	s.As(t, "bob").Push(t, "a/team/app", []string{"1"}, mine)
	bob, admin := s.NewToken(t, "bob"), s.NewToken(t, "admin")
	for path, body := range map[string]string{
		"/groups/a/robots/bot": `{"grants": [{"role": "reader"}]}`, "/groups/a/roles/mine": `{"actions": ["pull"]}`,
		"/groups/a/trust-rules/ci": `{"issuer": "https://ci.test", "audience": "w", "conditions": [{"claim": "sub", "equals": "x"}]}`,
	} {
		if status, text := asked(t, s, admin, "PUT", path, body, ""); status != 201 {
			t.Fatal(path, status, text)
		}
	}
	shown := map[string]string{
		"/groups": `"name":"a"`, "/groups/a": `"name":"a"`, "/groups/a/repositories": `"team/app"`, "/groups/a/search": `"a/team/app"`,
		"/groups/a/search?name=secret": `"items":[]`, "/groups/a/search?digest=" + string(image.Manifest.Digest): `[]`,
		"/groups/a/repositories/team%2Fapp": `"team/app"`, "/groups/a/repositories?prefix=sec": `[]`,
	}
	for path, part := range shown {
		status, text := asked(t, s, bob, "GET", path, "", "")
		if status != 200 || !strings.Contains(text, part) || strings.Contains(text, "secret/app") || strings.Contains(text, "library") || strings.Contains(text, `"main"`) {
			t.Errorf("GET %s: %d %s", path, status, text)
		}
	}
	tried := 0
	for path, methods := range operations(t, s, admin) {
		if !strings.Contains(path, "{group}") || strings.Count(path, "{") < 2 {
			continue
		}
		for method, hasBody := range methods {
			body := ""
			if hasBody {
				body = `{}`
			}
			for _, name := range []string{"far", "hub", "own", "bot", "ci", "mine", "ann", "hosted", "secret%2Fapp", "tag-real", string(image.Manifest.Digest)} {
				status, got := asked(t, s, bob, strings.ToUpper(method), fill(path, "a", name), body, "")
				never := "never"
				if strings.HasPrefix(name, "sha256:") {
					never = string(nothing.Manifest.Digest)
				}
				imagined, want := asked(t, s, bob, strings.ToUpper(method), fill(path, "a", never), body, "")
				if status < 400 || status != imagined || got != want && strings.ReplaceAll(got, name, never) != want {
					t.Errorf("%s %s with %s: %d %s\n%d %s", method, path, name, status, got, imagined, want)
				}
				tried++
			}
		}
	}
	if tried < 500 {
		t.Errorf("only %d attempts: the document is not what it was", tried)
	}
}

// operations are those of the API, by path and method, with whether they take a body.
func operations(t *testing.T, s *stack.Server, token string) map[string]map[string]bool {
	t.Helper()
	_, text := asked(t, s, token, "GET", "/openapi.json", "", "")
	var document struct {
		Paths map[string]map[string]struct {
			RequestBody any `json:"requestBody"`
		}
	}
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &document); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]bool{}
	for path, methods := range document.Paths {
		out[path] = map[string]bool{}
		for method, o := range methods {
			out[path][method] = o.RequestBody != nil
		}
	}
	return out
}

// fill puts a group, and one name for every other part, into the path of an operation.
func fill(path, group, name string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		switch {
		case p == "{group}":
			parts[i] = group
		case strings.HasPrefix(p, "{"):
			parts[i] = name
		}
	}
	return strings.Join(parts, "/")
}

// TestTenantsByName has another tenant name what it must not know about in queries and bodies.
func TestTenantsByName(t *testing.T) {
	s, image, cached, _ := tenants(t, stack.Options{})
	bob := s.NewToken(t, "bob")
	for _, p := range []struct{ method, path, body string }{
		{"GET", "/permissions?path=%s", ""}, {"GET", "/permissions?path=%s/secret/app", ""}, {"GET", "/permissions?path=%s&as=ann", ""},
		{"POST", "/explain", `{"image": "%s/hub/library/app:tag-real"}`}, {"POST", "/explain", `{"image": "%s/secret/app:tag-real"}`},
		{"POST", "/explain", `{"image": "%s/hub/library/app:tag-real", "probe": true}`}, {"POST", "/explain", `{"image": "%s/hub/library/app:tag-real", "as": "ann"}`},
		{"POST", "/refresh", `{"image": "%s/hub/library/app:tag-real"}`}, {"POST", "/refresh", `{"repository": "%s/hub/library/app"}`}, {"POST", "/refresh", `{"upstream": "%s/far"}`},
		{"POST", "/apply", `{"groups": [{"name": "%s"}]}`}, {"POST", "/apply", `{"groups": [{"name": "b", "upstreams": [{"name": "x", "local": "%s"}]}]}`},
		{"PUT", "/groups/b/upstreams/spy", `{"local": "%s/secret"}`},
	} {
		put := func(format, group string) string {
			if strings.Contains(format, "%s") {
				return fmt.Sprintf(format, group)
			}
			return format
		}
		status, got := asked(t, s, bob, p.method, put(p.path, "a"), put(p.body, "a"), "a")
		imagined, want := asked(t, s, bob, p.method, put(p.path, "ghost"), put(p.body, "ghost"), "ghost")
		may := strings.HasPrefix(p.path, "/permissions") || p.path == "/explain" && strings.Contains(got, `"allowed":false`)
		if status != imagined || got != want || status < 400 && !may {
			t.Errorf("%s %s %s: %d %s\n%d %s", p.method, p.path, p.body, status, got, imagined, want)
		}
	}
	_, groups := asked(t, s, bob, "GET", "/groups", "", "")
	if strings.Contains(groups, `"name":"a"`) || strings.Contains(groups, `"name":"main"`) || !strings.Contains(groups, `"name":"b"`) {
		t.Error("the list of groups: ", groups)
	}
	// By digest, in what is one's own: content of another tenant is not there.
	for _, digest := range []string{string(image.Manifest.Digest), string(cached.Manifest.Digest), string(image.Layers()[0].Digest)} {
		_, got := asked(t, s, bob, "GET", "/groups/b/search?digest="+digest, "", "")
		_, want := asked(t, s, bob, "GET", "/groups/b/search?digest="+string(nothing.Manifest.Digest), "", "")
		if got != want {
			t.Errorf("search of %s: %s\n%s", digest, got, want)
		}
	}
}

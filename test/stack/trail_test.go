package stack_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

var update = flag.Bool("update", false, "write testdata/events.txt")

// silent are the writing operations that change nothing.
var silent = []string{"POST /check", "POST /explain", "POST /groups/{group}/registries/{registry}/evaluate", "POST /groups/{group}/trust-rules/{name}/test",
	"POST /groups/{group}/upstreams/{name}/test"}

// writer is one server with an administrator, whose writes leave events.
type writer struct {
	t     *testing.T
	s     *stack.Server
	admin stack.Remote
	http  *http.Client
	last  string // id of the last event that was looked at
	id    string // in the last answer
	out   strings.Builder
}

// write sends a request as the administrator and notes what it leaves in the trail. In it, {id} is the id of the answer before; a path
// below /v2/ goes over the door of images. It must succeed, or answer with a status that is named.
func (w *writer) write(request, body string, status ...int) {
	w.t.Helper()
	method, path, _ := strings.Cut(strings.ReplaceAll(request, "{id}", w.id), " ")
	changes := []stack.Change{}
	mediaType := "application/json"
	if strings.HasPrefix(path, "/v2/") {
		mediaType = "application/vnd.oci.image.manifest.v1+json"
	} else {
		path = "/api/v1" + path
	}
	if strings.HasPrefix(body, "grant_type=") {
		mediaType = "application/x-www-form-urlencoded"
	}
	if body != "" {
		changes = append(changes, stack.Body(mediaType, []byte(body)))
	}
	a := w.admin.Do(w.t, method, path, changes...)
	if a.Err != nil || a.Status/100 != 2 && !slices.Contains(status, a.Status) {
		w.t.Fatalf("%s: %d, %v: %.500s", request, a.Status, a.Err, a.Body)
	}
	var made struct{ ID string }
	if json.Unmarshal(a.Body, &made) == nil && made.ID != "" {
		w.id = made.ID
	}
	w.left(request, a.Header.Get("X-Request-Id"))
}

var (
	longNumber = regexp.MustCompile(`\b\d{15,}\b`)
	moment     = regexp.MustCompile(`\d{4}-\d\d-\d\dT[^"]*`)
	address    = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// left notes the events since the last request.
func (w *writer) left(request, requestID string) {
	w.t.Helper()
	list, err := w.s.API.Events(w.t.Context(), "", url.Values{"limit": {"100"}}, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	n := slices.IndexFunc(list, func(e client.Event) bool { return e.ID == w.last })
	if w.last = list[0].ID; n < 0 {
		n = 0 // before the first request
	}
	fmt.Fprintln(&w.out, request)
	for _, e := range slices.Backward(list[:n]) {
		if requestID != "" && e.RequestID != requestID {
			w.t.Errorf("%s leaves an event of another request: %+v", request, e)
		}
		if e.Actor.Kind == "" || e.Actor.Kind == "server" {
			w.t.Errorf("%s leaves an event of nobody: %+v", request, e)
		}
		decision := ""
		if e.DecisionID != "" {
			decision = "  with a decision"
		}
		line := fmt.Sprintf("    %s  %s  %s  %s%s", e.Kind, e.Group, e.Subject, e.Detail, decision)
		if strings.Contains(line, "s3cret") {
			w.t.Errorf("%s tells a secret: %s", request, line)
		}
		fmt.Fprintln(&w.out, strings.TrimRight(moment.ReplaceAllString(address.ReplaceAllString(longNumber.ReplaceAllString(line, "N"), "ADDRESS"), "TIME"), " "))
	}
}

// TestEveryWriteLeavesItsEvents: what each writing operation leaves in the trail is what testdata/events.txt says, for all that the API's
// own file does not have, and no operation of the document is in neither.
func TestEveryWriteLeavesItsEvents(t *testing.T) {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{})
	image, other := registrytest.RandomImage(1, 1, 100), registrytest.RandomImage(2, 1, 100)
	u.Put("app", []string{"1", "2"}, image)
	u.Put("app", []string{"3"}, other)
	s.Apply(t, strings.Replace(fronting(u.URL()), "always", "forever", 1))
	s.Apply(t, `groups: [{name: acme, hosted: [{prefix: own}]}]`)
	issuer, token, _ := issuer(t)
	w := &writer{t: t, s: s, admin: s.As(t, "admin"), http: &http.Client{}}
	w.left("", "")
	w.out.Reset()

	w.people()
	w.machines(issuer, token)
	w.content(image, other)
	w.session()

	const file = "testdata/events.txt"
	if *update {
		if err := os.WriteFile(file, []byte(w.out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), w.out.String()); diff != "" {
		t.Errorf("%s (run with -update after a look):\n%s", file, diff)
	}
	everyOperation(t, w.out.String())
}

func (w *writer) people() {
	w.write("POST /users", `{"name": "ann", "password": "s3cret-one"}`)
	w.write("PUT /users/ann/password", `{"password": "s3cret-two"}`)
	w.write("PATCH /users/ann", `{"enabled": false}`)
	w.write("PATCH /users/ann", `{"enabled": true}`)
	w.write("POST /tokens", `{"name": "laptop", "user": "ann"}`)
	w.write("POST /tokens/{id}/rotate?user=ann", `{"overlap_seconds": 60}`)
	w.write("DELETE /tokens/{id}?user=ann", "")
	w.write("PUT /roles/puller", `{"actions": ["view", "pull"]}`)
	w.write("PATCH /roles/puller", `{"actions": ["pull"]}`)
	w.write("PUT /grants/ann", `{"role": "puller"}`)
	w.write("PUT /grants/ann", `{"role": "reader"}`)
	w.write("DELETE /grants/ann", "")
	w.write("DELETE /roles/puller", "")
	w.write("PUT /groups/acme/roles/tagger", `{"actions": ["push"]}`)
	w.write("PATCH /groups/acme/roles/tagger", `{"actions": ["pull", "push"]}`)
	w.write("PUT /groups/acme/grants/ann/own", `{"role": "tagger"}`)
	w.write("PUT /groups/acme/grants/ann/own", `{"role": "developer"}`)
	w.write("DELETE /groups/acme/grants/ann/own", "")
	w.write("DELETE /groups/acme/roles/tagger", "")
	w.write("PUT /grants/ann", `{"role": "reader"}`)
	w.write("PUT /groups/acme/grants/ann/own", `{"role": "developer"}`)
	w.write("DELETE /users/ann", "")
	w.write("POST /users/ann/erase", "")
}

func (w *writer) machines(issuer, token string) {
	w.write("PUT /groups/acme/robots/bot", `{"grants": [{"path": "own", "role": "developer"}]}`)
	w.write("PATCH /groups/acme/robots/bot", `{"grants": [{"path": "own", "role": "reader"}]}`)
	w.write("POST /groups/acme/robots/bot/tokens", `{"name": "ci"}`)
	w.write("POST /groups/acme/robots/bot/tokens/{id}/rotate", `{}`)
	w.write("DELETE /groups/acme/robots/bot/tokens/{id}", "")
	w.write("DELETE /groups/acme/robots/bot", "")
	rule := `{"issuer": "` + issuer + `", "audience": "weir", "conditions": [{"claim": "project", "equals": "acme/app"}], "grants": [{"path": "own", "role": "developer"}]}`
	w.write("PUT /groups/acme/trust-rules/ci", rule)
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"}}
	w.write("POST /token/exchange", form.Encode())
	w.write("PATCH /groups/acme/trust-rules/ci", `{"conditions": [{"claim": "project", "equals": "other"}]}`)
	w.write("POST /token/exchange", form.Encode(), 400)
	w.write("DELETE /groups/acme/trust-rules/ci", "")
}

func (w *writer) content(image, other registrytest.Image) {
	for _, blob := range append(slices.Clone(image.Blobs), other.Blobs...) {
		w.admin.PushBlob(w.t, "acme/own/app", blob)
	}
	w.left("PUT /v2/acme/own/app/blobs/uploads/", "")
	w.write("PUT /v2/acme/own/app/manifests/1", string(image.Manifest.Payload))
	w.write("PUT /v2/acme/own/app/manifests/1", string(other.Manifest.Payload))
	w.write("DELETE /v2/acme/own/app/manifests/1", "")
	w.write("DELETE /v2/acme/own/app/manifests/"+string(other.Manifest.Digest), "")
	w.write("DELETE /v2/acme/own/app/blobs/"+string(other.Blobs[0].Digest), "")
	w.write("PUT /v2/acme/own/app/manifests/2", string(image.Manifest.Payload))
	w.write("DELETE /groups/acme/repositories/own%2Fapp/tags/2", "")
	w.write("DELETE /groups/acme/repositories/own%2Fapp/manifests/"+string(image.Manifest.Digest), "")

	w.write("POST /groups/acme/copy", `{"source": "acme/hub/app:1", "target": "acme/own/copy:1"}`)
	w.write("POST /groups/acme/copy", `{"source": "acme/own/copy:1", "target": "acme/own/copy:2"}`)
	w.write("DELETE /groups/acme/repositories/own%2Fcopy", "")

	w.pulled("1")
	w.write("POST /refresh", `{"image": "acme/hub/app:1"}`)
	w.write("POST /refresh", `{"repository": "acme/hub/app"}`)
	w.write("POST /refresh", `{"upstream": "acme/far"}`)
	w.pulled("1")
	w.write("POST /groups/acme/upstreams/far/purge?dry_run=true", `{"repository": "app", "reference": "1"}`)
	w.write("POST /groups/acme/upstreams/far/purge", `{"repository": "app", "reference": "1"}`)
	w.pulled("1")
	w.write("POST /groups/acme/upstreams/far/purge", `{"repository": "app"}`)
	w.pulled("1")
	w.write("POST /groups/acme/upstreams/far/purge", `{}`)
	w.pulled("2")
	w.write("DELETE /groups/acme/repositories/app/tags/2?upstream=far", "")
	w.pulled("3")
	w.write("DELETE /groups/acme/repositories/app/manifests/"+string(other.Manifest.Digest)+"?upstream=far", "")
	w.pulled("1")
	w.write("DELETE /groups/acme/repositories/app?upstream=far", "")
}

// pulled pulls an image into the cache, which is no event.
func (w *writer) pulled(tag string) {
	w.t.Helper()
	w.admin.Do(w.t, http.MethodGet, "acme/hub/app/manifests/"+tag).Want(w.t, http.StatusOK)
}

// session is what browsers do, which a cookie shows who they are.
func (w *writer) session() {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	send := func(request, body string, status int) string {
		method, path, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(w.t.Context(), method, w.s.URL+"/api/v1"+path, strings.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := browser.Do(r)
		if err != nil {
			w.t.Fatal(err)
		}
		defer answer.Body.Close()
		var out struct{ Items []struct{ ID string } }
		_ = json.NewDecoder(answer.Body).Decode(&out) // most have none
		if answer.StatusCode != status {
			w.t.Fatalf("%s: %d", request, answer.StatusCode)
		}
		if method != http.MethodGet {
			w.left(strings.ReplaceAll(request, w.id, "{id}"), answer.Header.Get("X-Request-Id"))
		}
		if len(out.Items) > 0 {
			return out.Items[0].ID
		}
		return ""
	}
	w.write("POST /users", `{"name": "eve", "password": "s3cret-one"}`)
	send("POST /session", `{"user": "eve", "password": "s3cret-one"}`, 201)
	send("DELETE /session", "", 204)
	send("POST /session", `{"user": "eve", "password": "s3cret-one"}`, 201)
	w.id = send("GET /sessions", "", 200)
	send("DELETE /sessions/"+w.id, "", 204)
}

var parameter = regexp.MustCompile(`\\\{[^}]*\\\}`)

// everyOperation holds that each writing operation of the document is in one of the two files, or changes nothing.
func everyOperation(t *testing.T, here string) {
	t.Helper()
	others, err := os.ReadFile("../../internal/serve/api/testdata/events.txt")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/reference/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for path, methods := range document.Paths {
		for method := range methods {
			request := strings.ToUpper(method) + " " + path
			if method == "get" || method == "parameters" || slices.Contains(silent, request) {
				continue
			}
			pattern := regexp.MustCompile("(?m)^" + parameter.ReplaceAllString(regexp.QuoteMeta(request), "[^/ ?]+") + `(\?\S*)?$`)
			if !pattern.MatchString(here) && !pattern.MatchString(string(others)) {
				t.Errorf("nobody says what %s leaves in the trail", request)
			}
		}
	}
}

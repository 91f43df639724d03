package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event/audit"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/serve/session"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/work"
)

// world is the API over a real database, directory and planner, with an account for each role.
type world struct {
	*httptest.Server
	api     *api.API
	db      *meta.DB
	dir     *access.Directory
	planner *plan.Planner
}

// roles are the accounts of a world, by growing rights: nobody is not logged in, stranger has no grant, those in between have
// their grants in group acme, admin has the instance.
var roles = []string{"nobody", "stranger", "reader", "developer", "maintainer", "owner", "admin"}

const declared = `{"groups": [{"name": "acme", "enabled": true,
	"credentials": [{"name": "ci", "username": "ci", "password": "s3cret-1", "hosts": ["one.test", "two.test"]}, {"name": "open", "username": "x", "password": "s3cret-2"}],
	"upstreams": [
		{"name": "one", "url": "https://one.test", "credential": "ci"}, {"name": "two", "url": "https://two.test"},
		{"name": "three", "url": "https://three.test"}, {"name": "own", "local": "acme/own"}],
	"registries": [
		{"name": "all", "members": [{"upstream": "own", "claims": ["acme/*"]}, {"upstream": "one"}, {"upstream": "two"}], "rules": [{"deny": "*:latest", "upstream": "two"}]},
		{"name": "some", "members": [{"upstream": "two"}, {"upstream": "three"}], "anonymous_pull": true}],
	"hosted": [{"prefix": "own", "anonymous_pull": true}],
	"host_bindings": [{"host": "some.acme.test", "registry": "some"}],
	"grants": [{"user": "reader", "role": "reader"}, {"user": "developer", "role": "developer"},
		{"user": "maintainer", "role": "maintainer"}, {"user": "owner", "role": "owner"}]}]}`

func newWorld(t testing.TB, db *meta.DB) *world {
	t.Helper()
	keyset, err := seal.Generate()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(keyset)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{db: db, planner: &plan.Planner{DB: db, Sealer: sealer, MaxRegistries: 4, MaxMembers: 4}}
	w.dir, err = access.Open(t.Context(), access.Options{DB: db, Sealer: sealer, Hashing: access.Hashing{MemoryKiB: 64, Passes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.dir.Close() })
	if _, err := w.dir.Bootstrap(t.Context(), "correct-horse"); err != nil {
		t.Fatal(err)
	}
	for _, name := range roles[1 : len(roles)-1] {
		if _, err := w.dir.CreateUser(t.Context(), access.Actor{}, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	sessions, err := session.New(session.Options{DB: db, Directory: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	w.api = api.New(api.Options{
		Authorize: w.authorize, Directory: w.dir, Definitions: db, Planner: w.planner, Upstreams: connections{}, Version: "1.2.3", SignIn: []string{"corp", "github"}, Sessions: sessions, Trail: audit.NewKeeper(db, audit.KeeperOptions{Sealer: sealer}), Jobs: &work.Desk{DB: db, Now: time.Now},
		Capabilities: api.Capabilities{
			Formats: []string{"container"}, CredentialKinds: []string{"static"}, Features: map[string]bool{"private_upstreams": false},
		},
	})
	err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return work.Enqueue(ctx, tx, work.Job{Kind: "toil", Key: "coal"})
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Server = httptest.NewServer(w.api)
	t.Cleanup(w.Close)
	w.reset(t)
	return w
}

func (w *world) authorize(r *http.Request) (api.Caller, error) {
	name := r.Header.Get("User")
	if name == "nobody" {
		return api.Caller{Principal: access.Nobody()}, nil
	}
	p, err := w.dir.As(r.Context(), access.Local(), name)
	return api.Caller{Principal: p, RequestID: "r1"}, err
}

// reset makes group acme as declared, and removes what else tests have made.
func (w *world) reset(t testing.TB) {
	t.Helper()
	var d desired.Document
	if err := json.Unmarshal([]byte(declared), &d); err != nil {
		t.Fatal(err)
	}
	if _, err := w.planner.Apply(t.Context(), d, plan.Options{Prune: true}); err != nil {
		t.Fatal(err)
	}
	groups, err := w.db.GroupsPage(t.Context(), "", false, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if g.Name == "acme" {
			continue
		}
		if _, err := w.planner.Edit(t.Context(), g.Name, func(s *plan.State) error { s.Remove = true; return nil }, plan.Options{}); err != nil {
			t.Fatal(err)
		}
	}
}

// response is an answer that has been read.
type response struct {
	status int
	header http.Header
	body   string
}

// send sends a request; headers are names and values in turn.
func (w *world) send(t testing.TB, user, method, path, in string, headers ...string) response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.URL+api.Prefix+path, strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User", user)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := w.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("s3cret")) {
		t.Errorf("%s %s shows a secret: %s", method, path, text)
	}
	return response{answer.StatusCode, answer.Header, string(text)}
}

// want sends a request as owner and checks the status and parts of the answer.
func (w *world) want(t testing.TB, method, path, in string, status int, parts ...string) response {
	t.Helper()
	return w.wantAs(t, "owner", method, path, in, status, parts...)
}

func (w *world) wantAs(t testing.TB, user, method, path, in string, status int, parts ...string) response {
	t.Helper()
	got := w.send(t, user, method, path, in)
	if got.status != status {
		t.Errorf("%s %s as %s: %d, want %d: %s", method, path, user, got.status, status, got.body)
	}
	for _, p := range parts {
		if !strings.Contains(got.body, p) {
			t.Errorf("%s %s as %s: no %s in %s", method, path, user, p, got.body)
		}
	}
	return got
}

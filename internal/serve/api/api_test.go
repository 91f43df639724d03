package api_test

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// directory has three accounts: admin may everything, ann maintains group acme, bob has no grant.
type directory struct {
	api.Directory // what no test here asks

	tokens []access.Token
	expiry time.Time
	owner  int64

	passwords []string // "<user> <password>", as they were set
}

func (d *directory) Check(_ context.Context, p access.Principal, r access.Request) (access.Decision, error) {
	allowed := p.Name == "admin" || p.Name == "ann" && (r.Action == access.Configure || r.Action == access.View) && r.Path == "acme"
	return access.Decision{Allowed: allowed && p.Ceiling.Allows(r.Action, r.Path), Cause: access.Ungranted, Why: "no"}, nil
}

func (d *directory) Account(_ context.Context, name string) (access.Account, error) {
	if id, ok := accounts[name]; ok {
		return access.Account{ID: id, Name: name}, nil
	}
	return access.Account{}, access.ErrNotFound
}

func (d *directory) Accounts(context.Context) ([]access.Account, error) {
	return []access.Account{{ID: 1, Name: "admin", HasPassword: true}, {ID: 3, Name: "bob", Disabled: true}}, nil
}

func (d *directory) CreateUser(_ context.Context, _ access.Actor, name, password string) (access.Account, error) {
	if password == "short" {
		return access.Account{}, access.ErrPassword
	}
	return access.Account{ID: 4, Name: name, HasPassword: password != ""}, nil
}

func (d *directory) CheckPassword(_ context.Context, _ int64, password string, _ netip.Addr) error {
	if password != "s3cret-old" {
		return oci.NewError(oci.CodeUnauthorized, "wrong")
	}
	return nil
}

func (d *directory) SetPassword(_ context.Context, _ access.Actor, user int64, password string) error {
	d.passwords = append(d.passwords, strconv.FormatInt(user, 10)+" "+password)
	return nil
}

func (d *directory) SetDisabled(_ context.Context, _ access.Actor, user int64, _ bool, check func(*access.Account) error) error {
	if user == 1 {
		return access.ErrLastAdmin
	}
	for name, id := range accounts {
		if id == user {
			return check(&access.Account{ID: id, Name: name})
		}
	}
	return access.ErrNotFound
}

func (d *directory) Grants(context.Context, int64) ([]access.Grant, error) {
	return []access.Grant{{AccountID: 2, User: "ann", Kind: access.User, Role: access.Maintainer}}, nil
}

func (d *directory) CreateToken(_ context.Context, _ access.Actor, user int64, name string, expires time.Time, _ *access.Ceiling) (string, access.Token, error) {
	if name == "taken" {
		return "", access.Token{}, access.ErrExists
	}
	t := access.Token{ID: 1 << 60, Name: name, CreatedAt: time.Unix(1, 0).UTC(), ExpiresAt: expires}
	d.tokens, d.expiry, d.owner = append(d.tokens, t), expires, user
	return "weir_text", t, nil
}

func (d *directory) Tokens(context.Context, int64) ([]access.Token, error) { return d.tokens, nil }

func (d *directory) RevokeToken(_ context.Context, _ access.Actor, _, id int64) error {
	if id != 1<<60 {
		return access.ErrNotFound
	}
	return nil
}

func (d *directory) GrantsOf(context.Context, int64) ([]access.Grant, error)       { return nil, nil }
func (d *directory) Roles(context.Context, int64) ([]access.RoleSet, error)        { return nil, nil }
func (d *directory) Robots(context.Context, int64) ([]access.Machine, error)       { return nil, nil }
func (d *directory) TrustRules(context.Context, int64) ([]access.TrustRule, error) { return nil, nil }

var accounts = map[string]int64{"admin": 1, "ann": 2, "bob": 3}

// resolver answers questions with what it was asked.
type resolver struct{ err error }

func (r *resolver) Explain(_ context.Context, q api.Question) (api.Explanation, error) {
	d := virtual.Decision{Group: "acme", Members: []virtual.Considered{{Member: "hub", Answer: registry.Denied}}}
	return api.Explanation{Image: q.Image, As: q.Caller.Name, Kind: "virtual", Decision: &d}, r.err
}

func (r *resolver) Refresh(_ context.Context, t api.RefreshTarget, progress func(api.RefreshProgress)) (api.Refreshed, error) {
	if progress != nil {
		progress(api.RefreshProgress{References: 1, TotalReferences: 2})
	}
	return api.Refreshed{References: len(t.Image + t.Repository + t.Upstream)}, r.err
}

type server struct {
	*httptest.Server
	db        *meta.DB
	directory *directory
	resolver  *resolver
}

// newServer takes the caller's name from the header User, "local" being the unix socket.
func newServer(t *testing.T) *server {
	t.Helper()
	keyset, err := seal.Generate()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(keyset)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{db: metatest.Open(t, meta.SQLite), directory: &directory{}, resolver: &resolver{}}
	s.Server = httptest.NewServer(api.New(api.Options{
		Authorize: authorize, Directory: s.directory, Definitions: s.db, Planner: &plan.Planner{DB: s.db, Sealer: sealer},
		Explainer: s.resolver, Refresher: s.resolver, Version: "1.2.3",
	}))
	t.Cleanup(s.Close)
	return s
}

func authorize(r *http.Request) (api.Caller, error) {
	switch name := r.Header.Get("User"); name {
	case "":
		return api.Caller{Principal: access.Nobody()}, nil
	case "local":
		return api.Caller{Local: true, RequestID: "r1"}, nil
	case "limited":
		p := access.Principal{ID: 1, Name: "admin", Kind: access.User, Ceiling: &access.Ceiling{}}
		return api.Caller{Principal: p}, nil
	case "wrong":
		return api.Caller{}, oci.NewError(oci.CodeUnauthorized, "the token has expired")
	default:
		return api.Caller{Principal: access.Principal{ID: accounts[name], Name: name, Kind: access.User}}, nil
	}
}

// call returns status and body; in is JSON text.
func (s *server) call(t *testing.T, user, method, path, in string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+api.Prefix+path, strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User", user)
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func (s *server) want(t *testing.T, user, method, path, in string, status int, parts ...string) string {
	t.Helper()
	got, text, h := s.call(t, user, method, path, in)
	if got != status {
		t.Errorf("%s %s as %q: %d, want %d: %s", method, path, user, got, status, text)
	}
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s %s as %q: no %s in %s", method, path, user, p, text)
		}
	}
	if status >= 400 && h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: an error of type %q", method, path, h.Get("Content-Type"))
	}
	if strings.Contains(text, "s3cret") {
		t.Errorf("%s %s shows a secret: %s", method, path, text)
	}
	return text
}

const acme = `{"groups": [{"name": "acme", "credentials": [{"name": "hub", "username": "ci", "password": "s3cret"}],
	"upstreams": [{"name": "hub", "url": "https://r.test", "credential": "hub"}],
	"registries": [{"name": "all", "members": [{"upstream": "hub"}]}]}]`

func TestApply(t *testing.T) {
	s := newServer(t)
	for user, status := range map[string]int{"": 401, "wrong": 401, "bob": 404, "ann": 403, "limited": 404} {
		s.want(t, user, "POST", "/apply", acme+"}", status)
	}
	s.want(t, "bob", "POST", "/apply", acme+"}", 404, `"location":"groups[acme]"`, "a new one takes an administrator")
	s.want(t, "local", "POST", "/apply", acme+`, "dry_run": true}`, 200, `"applied":false`, `"action":"add"`, "+ registry all")
	s.want(t, "local", "POST", "/apply", acme+"}", 200, `"applied":true`)
	s.want(t, "admin", "POST", "/apply", acme+"}", 200, `"applied":false`, `"changes":[]`, "Nothing to do")
	s.want(t, "admin", "POST", "/apply", `{"groups": [{"name": "acme"}], "prune": true, "dry_run": true}`, 200, `"action":"remove"`)
	s.want(t, "admin", "POST", "/apply", `{"groups": [{"name": "Acme"}]}`, 422, `"location":"groups[Acme].name"`, "nothing was changed")
}

// What is malformed is refused without an echo: it may hold a secret.
func TestApplyMalformed(t *testing.T) {
	s := newServer(t)
	for _, in := range []string{
		`{"groups": [{"name": "acme", "credentials": [{"pasword": "s3cret"}]}]}`,
		`{"groups": [{"name": "acme", "credentials": [{"password": {"x": "s3cret"}}]}]}`,
		`{"groups": [{"name": "acme", "credentials": "s3cret"}]}`,
	} {
		s.want(t, "admin", "POST", "/apply", in, 422, "location")
	}
	s.want(t, "admin", "POST", "/apply", `{"groups": [s3cret`, 400)
	s.want(t, "admin", "POST", "/apply", ``, 400)
	s.want(t, "admin", "POST", "/apply", `{"groups": "`+strings.Repeat("x", 9<<20)+`"}`, 413)
}

func TestReadOut(t *testing.T) {
	s := newServer(t)
	s.want(t, "local", "POST", "/apply", acme+"}", 200)
	s.want(t, "local", "POST", "/apply", `{"groups": [{"name": "other"}]}`, 200)
	s.want(t, "admin", "GET", "/groups", "", 200, `"acme"`, `"other"`)
	if text := s.want(t, "ann", "GET", "/groups", "", 200, `"acme"`); strings.Contains(text, "other") {
		t.Errorf("a group of others shows: %s", text)
	}
	s.want(t, "bob", "GET", "/groups", "", 200, `"items":[]`)
	s.want(t, "admin", "GET", "/groups/acme/declaration", "", 200, `"generation":2`, `"url":"https://r.test"`, `"username":"ci"`, `"grants":[{"user":"ann","role":"maintainer"}]`)
	s.want(t, "ann", "GET", "/groups/acme/registries", "", 200, `"members":[{"upstream":"hub","enabled":true}]`)
	s.want(t, "ann", "GET", "/groups/acme/upstreams", "", 200, `"credential":"hub"`)
	s.want(t, "ann", "GET", "/groups/acme/credentials", "", 200, `"kind":"static"`)
	existing, missing := s.want(t, "bob", "GET", "/groups/acme", "", 404), s.want(t, "bob", "GET", "/groups/none", "", 404)
	if existing != missing {
		t.Errorf("whether a group exists shows:\n%s\n%s", existing, missing)
	}
	s.want(t, "admin", "GET", "/groups/none", "", 404)
	s.want(t, "bob", "GET", "/version", "", 200, `"version":"1.2.3"`)
	s.want(t, "admin", "GET", "/nothing", "", 404)
	s.want(t, "admin", "GET", "/groups?x=1", "", 422)
}

func TestUsers(t *testing.T) {
	s := newServer(t)
	for _, user := range []string{"ann", "limited"} {
		s.want(t, user, "GET", "/users", "", 403)
		s.want(t, user, "POST", "/users", `{"name": "eve"}`, 403)
		s.want(t, user, "PATCH", "/users/bob", `{"enabled": false}`, 403)
		s.want(t, user, "PUT", "/users/bob/password", `{"password": "s3cret-new", "old_password": "s3cret-old"}`, 403)
	}
	s.want(t, "limited", "PUT", "/users/admin/password", `{"password": "s3cret-new", "old_password": "s3cret-old"}`, 403)
	s.want(t, "local", "GET", "/users", "", 200, `{"id":"3","name":"bob","enabled":false,"has_password":false}`)
	s.want(t, "admin", "POST", "/users", `{"name": "eve"}`, 201, `"id":"4"`, `"has_password":false`)
	s.want(t, "admin", "POST", "/users", `{"name": "eve", "password": "short"}`, 422, "8 to 1024")
	s.want(t, "local", "PATCH", "/users/bob", `{"enabled": false}`, 200, `"enabled":false`)
	s.want(t, "local", "PATCH", "/users/bob", `{}`, 422)
	s.want(t, "local", "PATCH", "/users/admin", `{"enabled": false}`, 409)
	s.want(t, "local", "PATCH", "/users/none", `{"enabled": false}`, 404)

	s.want(t, "ann", "PUT", "/users/ann/password", `{"password": "s3cret-1", "old_password": "s3cret-guess"}`, 422, "old password is wrong")
	s.want(t, "ann", "PUT", "/users/ann/password", `{"password": "s3cret-1"}`, 422)
	s.want(t, "ann", "PUT", "/users/ann/password", `{"password": "s3cret-1", "old_password": "s3cret-old"}`, 204)
	s.want(t, "local", "PUT", "/users/bob/password", `{"password": "s3cret-2"}`, 204)
	if want := []string{"2 s3cret-1", "3 s3cret-2"}; !slices.Equal(s.directory.passwords, want) {
		t.Errorf("set %q, want %q", s.directory.passwords, want)
	}
}

func TestResolution(t *testing.T) {
	s := newServer(t)
	s.want(t, "ann", "POST", "/explain", `{"image": "acme/all/alpine"}`, 200, `"as":"ann"`, `"answer":"denied"`)
	s.want(t, "", "POST", "/explain", `{"image": "acme/all/alpine"}`, 401)
	s.want(t, "ann", "POST", "/explain", `{}`, 422)
	s.want(t, "ann", "POST", "/refresh", `{"upstream": "acme/hub"}`, 200, `"references":8`)
	s.want(t, "ann", "POST", "/refresh", `{"upstream": "acme/hub", "image": "acme/all/x"}`, 422)
	s.want(t, "ann", "POST", "/refresh", `{"upstream": "other/hub"}`, 403)
	s.want(t, "ann", "POST", "/refresh", `{"upstream": "other/hub", "progress": true}`, 403)
	s.resolver.err = oci.NewError(oci.CodeTooManyRequests, "the upstream's budget is used up")
	s.want(t, "ann", "POST", "/refresh", `{"upstream": "acme/hub"}`, 429, "budget")
	s.resolver.err = errors.New("s3cret")
	s.want(t, "local", "POST", "/explain", `{"image": "acme/all/alpine"}`, 500, "request id r1")
	s.resolver.err = driver.ErrBadConn
	s.want(t, "local", "POST", "/explain", `{"image": "acme/all/alpine"}`, 503, "the database does not answer")
}

// TestLines: long work tells how far it is in lines, when asked to; what went wrong by then is in the last one.
func TestLines(t *testing.T) {
	s := newServer(t)
	for in, want := range map[string][2]string{
		`{"upstream": "acme/hub"}`:                   {"application/json", `{"references":8}` + "\n"},
		`{"upstream": "acme/hub", "progress": true}`: {"application/jsonl", `{"progress":{"references":1,"total_references":2}}` + "\n" + `{"refreshed":{"references":8}}` + "\n"},
	} {
		status, text, h := s.call(t, "ann", "POST", "/refresh", in)
		if status != 200 || h.Get("Content-Type") != want[0] || text != want[1] {
			t.Errorf("%s: %d %s %q", in, status, h.Get("Content-Type"), text)
		}
	}
	s.resolver.err = oci.NewError(oci.CodeTooManyRequests, "the budget is used up").WithRetryAfter(time.Second)
	s.want(t, "ann", "POST", "/refresh", `{"upstream": "acme/hub", "progress": true}`, 200,
		`{"problem":{"title":"Too Many Requests","status":429,"detail":"the budget is used up"}}`)
	s.resolver.err = errors.New("s3cret")
	s.want(t, "local", "POST", "/refresh", `{"upstream": "acme/hub", "progress": true}`, 200, `"status":500`, "request id r1")
}

func TestTokens(t *testing.T) {
	s := newServer(t)
	s.want(t, "bob", "POST", "/tokens", `{"name": "laptop", "expires_at": "2030-01-02T03:04:05Z"}`, 201, `"token":"weir_text"`, `"id":"1152921504606846976"`, `"user":"bob"`)
	if s.directory.owner != 3 || s.directory.expiry.Year() != 2030 {
		t.Errorf("made for user %d until %v", s.directory.owner, s.directory.expiry)
	}
	if text := s.want(t, "bob", "GET", "/tokens", "", 200, "laptop"); strings.Contains(text, "weir_text") {
		t.Error("a list shows the text of a token")
	}
	s.want(t, "bob", "POST", "/tokens", `{"name": "x", "user": "admin"}`, 403)
	s.want(t, "bob", "GET", "/tokens?user=admin", "", 403)
	s.want(t, "bob", "POST", "/tokens", `{"name": "taken"}`, 409)
	s.want(t, "limited", "POST", "/tokens", `{"name": "unlimited"}`, 403, "the token in use is limited")
	s.want(t, "limited", "GET", "/users/admin", "", 403, "the token in use is limited")
	s.want(t, "local", "POST", "/tokens", `{"name": "x"}`, 201, `"user":"admin"`)
	s.want(t, "admin", "POST", "/tokens", `{"name": "x", "user": "bob"}`, 201, `"user":"bob"`)
	s.want(t, "admin", "POST", "/tokens", `{"name": "x", "user": "nobody"}`, 404)
	s.want(t, "bob", "DELETE", "/tokens/1152921504606846976", "", 204)
	s.want(t, "bob", "DELETE", "/tokens/7", "", 404)
	s.want(t, "bob", "DELETE", "/tokens/seven", "", 404)
}

// A path that leads somewhere by other methods says by which; one that leads nowhere is not found.
func TestMethods(t *testing.T) {
	s := newServer(t)
	for request, allow := range map[string]string{
		"POST /groups": "GET, HEAD", "DELETE /version": "GET, HEAD", "GET /apply": "POST", "POST /groups/acme": "GET, HEAD, PUT, PATCH, DELETE",
		"PATCH /tokens": "GET, HEAD, POST", "DELETE /openapi.json": "GET, HEAD", "POST /docs": "GET, HEAD", "OPTIONS /groups": "GET, HEAD", "TRACE /whoami": "GET, HEAD",
		"GET /nothing": "", "POST /groups/acme/nothing": "", "BREW /nothing": "",
	} {
		method, path, _ := strings.Cut(request, " ")
		status := map[bool]int{true: 404, false: 405}[allow == ""]
		got, text, h := s.call(t, "admin", method, path, "")
		if got != status || h.Get("Allow") != allow || h.Get("Content-Type") != "application/problem+json" || h.Get("Link") == "" {
			t.Errorf("%s: %d %v %s", request, got, h, text)
		}
	}
}

func TestChallenge(t *testing.T) {
	s := newServer(t)
	for _, user := range []string{"", "wrong"} {
		if _, _, h := s.call(t, user, "GET", "/version", ""); h.Get("WWW-Authenticate") == "" {
			t.Errorf("no challenge for %q", user)
		}
	}
}

const document = "../../../docs/reference/openapi.json"

var update = flag.Bool("update", false, "write the golden files")

// The committed document must be the served one.
func TestOpenAPI(t *testing.T) {
	s := newServer(t)
	_, served, _ := s.call(t, "", "GET", "/openapi.json", "")
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(served), "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	if *update {
		if err := os.WriteFile(document, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, indented.Bytes()) {
		t.Error("docs/reference/openapi.json is not what is served: run go test ./internal/serve/api -run OpenAPI -update")
	}
}

package token

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/access/oidc"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// doors binds mirror.test (a mirror) and docker.test to acme/hub; acme/hub and acme/public are public.
type doors struct{}

func (doors) Door(_ context.Context, host string, _ netip.Addr) (Door, error) {
	return Door{Bound: host == "mirror.test" || host == "docker.test", Mirror: host == "mirror.test"}, nil
}

func (doors) Place(_ context.Context, host, name string) (Place, error) {
	if host == "mirror.test" || host == "docker.test" {
		name = "acme/hub/" + name
	}
	return Place{Path: name, Public: strings.HasPrefix(name, "acme/hub/") || strings.HasPrefix(name, "acme/public/")}, nil
}

type world struct {
	t     *testing.T
	dir   *access.Directory
	gate  *Gate
	http  http.Handler
	user  access.Account
	group int64  // acme
	pat   string // of alice, limited to pull in acme/app
}

// newWorld has alice, developer of acme with password "pw-12345".
func newWorld(t *testing.T) *world {
	t.Helper()
	db := metatest.Open(t, meta.SQLite)
	sealer, _, err := seal.OpenFile(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := access.Open(t.Context(), access.Options{
		DB: db, Sealer: sealer, Hashing: access.Hashing{MemoryKiB: 64, Passes: 1}, Issuers: oidc.NewVerifier(http.DefaultClient, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	var group int64
	err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		group = tx.ID()
		if err := tx.InsertGroup(ctx, query.InsertGroupParams{ID: group, Name: "acme"}); err != nil {
			return err
		}
		return tx.Change(ctx, group, meta.ChangeDefinition, "group")
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, group: group, gate: New(Options{Access: dir, Doors: doors{}, ExternalURLs: []string{"https://weir.test"}})}
	w.http = serve.NewFront(serve.Options{}).Handle("token", w.gate.Serve)
	if w.user, err = dir.CreateUser(t.Context(), access.Actor{}, "alice", "pw-12345"); err != nil {
		t.Fatal(err)
	}
	if err := dir.PutGrant(t.Context(), access.Actor{}, access.Grant{AccountID: w.user.ID, GroupID: group, Role: access.Developer}, nil); err != nil {
		t.Fatal(err)
	}
	ceiling := &access.Ceiling{Scopes: []access.Scope{{Path: "acme/app", Actions: []access.Action{access.Pull}}}}
	if w.pat, _, err = dir.CreateToken(t.Context(), access.Actor{}, w.user.ID, "ci", time.Time{}, ceiling); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) get(host, query, name, password string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://"+host+"/token?"+query, nil)
	if name != "" {
		r.SetBasicAuth(name, password)
	}
	return w.do(r)
}

func (w *world) post(host string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "http://"+host+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(r)
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, r)
	return rec
}

// grants lists what the token of a response may do of the given "<action> <path>" questions.
func (w *world) grants(rec *httptest.ResponseRecorder, questions ...string) (name string, allowed []string) {
	w.t.Helper()
	var a answer
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != 200 || a.Token == "" || a.Token != a.AccessToken || a.ExpiresIn != 300 {
		w.t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if issued, err := time.Parse(time.RFC3339, a.IssuedAt); err != nil || time.Since(issued) > time.Minute {
		w.t.Errorf("issued_at %s", a.IssuedAt)
	}
	p, err := w.dir.Authenticate(w.t.Context(), access.Credentials{Authorization: "Bearer " + a.Token})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, q := range questions {
		action, path, _ := strings.Cut(q, " ")
		d, err := w.dir.Check(w.t.Context(), p, access.Request{Action: access.Action(action), Path: path})
		if err != nil {
			w.t.Fatal(err)
		}
		if d.Allowed {
			allowed = append(allowed, q)
		}
	}
	return p.Name, allowed
}

func TestGet(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		host, query, user, password string
		who, want                   string
	}{
		"pull":                {"weir.test", "service=weir.test&scope=repository:acme/app:pull", "alice", "pw-12345", "alice", "pull acme/app"},
		"push":                {"weir.test", "scope=repository:acme/app:pull,push", "alice", "pw-12345", "alice", "pull acme/app;push acme/app"},
		"star":                {"weir.test", "scope=repository:acme/app:*", "alice", "pw-12345", "alice", "pull acme/app;push acme/app"},
		"two":                 {"weir.test", "scope=repository:acme/app:pull&scope=repository:acme/lib:pull", "alice", "pw-12345", "alice", "pull acme/app;pull acme/lib"},
		"two in one":          {"weir.test", "scope=repository:acme/app:pull+repository:acme/lib:pull", "alice", "pw-12345", "alice", "pull acme/app;pull acme/lib"},
		"ungrantable":         {"weir.test", "scope=repository:rival/app:pull,push", "alice", "pw-12345", "alice", ""},
		"none":                {"weir.test", "account=alice&client_id=docker&offline_token=true", "alice", "pw-12345", "alice", ""},
		"catalog":             {"weir.test", "scope=registry:catalog:*", "alice", "pw-12345", "alice", "catalog acme/app"},
		"limited token":       {"weir.test", "scope=repository:acme/app:pull,push&scope=repository:acme/lib:pull", "x", "PAT", "alice", "pull acme/app"},
		"nobody":              {"weir.test", "scope=repository:acme/app:pull", "", "", "anonymous", ""},
		"door of the host":    {"docker.test", "scope=repository:library/alpine:pull", "alice", "pw-12345", "alice", "pull acme/hub/library/alpine"},
		"door of the service": {"weir.test", "service=docker.test&scope=repository:library/alpine:pull", "alice", "pw-12345", "alice", "pull acme/hub/library/alpine"},
		"mirror, foreign":     {"mirror.test", "scope=repository:library/alpine:pull", "hubuser", "hubpw", "anonymous", ""},
		"mirror by service":   {"weir.test", "service=mirror.test&scope=repository:library/alpine:pull", "alice", "wrong", "anonymous", ""},
		"mirror, own":         {"mirror.test", "scope=repository:library/alpine:pull", "alice", "pw-12345", "alice", "pull acme/hub/library/alpine"},
		"nonsense":            {"weir.test", "scope=repository:&scope=:::&scope=repository:../x:pull&scope=plugin:a:b", "alice", "pw-12345", "alice", ""},
	} {
		if tc.password == "PAT" {
			tc.password = w.pat
		}
		who, allowed := w.grants(w.get(tc.host, tc.query, tc.user, tc.password), "pull acme/app", "push acme/app", "delete acme/app",
			"pull acme/lib", "catalog acme/app", "pull acme/hub/library/alpine", "pull rival/app", "push rival/app")
		// What may be pulled may be listed too; the catalog case alone asks for it by name.
		if name != "catalog" {
			allowed = without(allowed, "catalog acme/app")
		}
		if who != tc.who || strings.Join(allowed, ";") != tc.want {
			t.Errorf("%s: %s may %q", name, who, allowed)
		}
	}
}

func without(list []string, drop string) (out []string) {
	for _, s := range list {
		if s != drop {
			out = append(out, s)
		}
	}
	return out
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	bearer := func() *httptest.ResponseRecorder {
		p, _ := w.dir.As(t.Context(), access.Local(), "alice")
		issued, err := w.dir.IssueBearer(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "http://weir.test/token", nil)
		r.Header.Set("Authorization", "Bearer "+issued.Text)
		return w.do(r)
	}
	many := strings.Repeat("&scope=repository:acme/app:pull", 21)
	for name, tc := range map[string]struct {
		rec  *httptest.ResponseRecorder
		code int
		want string
	}{
		"wrong password":  {w.get("weir.test", "", "alice", "no"), 401, "wrong user name or password"},
		"unknown user":    {w.get("weir.test", "", "bob", "no"), 401, "wrong user name or password"},
		"bearer renewing": {bearer(), 401, "not with a bearer token"},
		"many scopes":     {w.get("weir.test", many[1:], "alice", "pw-12345"), 400, "too many scopes"},
		"long scope":      {w.get("weir.test", "scope="+strings.Repeat("a", 2000), "alice", "pw-12345"), 400, "too long"},
		"grant type":      {w.post("weir.test", url.Values{"grant_type": {"magic"}}), 400, "grant_type"},
		"post password":   {w.post("weir.test", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"no"}}), 401, "wrong user name or password"},
		"post refresh":    {w.post("weir.test", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}), 401, "log in again"},
		"huge body":       {w.post("weir.test", url.Values{"grant_type": {strings.Repeat("x", maxForm)}}), 400, "too long"},
		"method":          {w.do(httptest.NewRequest(http.MethodDelete, "http://weir.test/token", nil)), 405, "GET and POST"},
	} {
		if tc.rec.Code != tc.code || !strings.Contains(tc.rec.Body.String(), tc.want) {
			t.Errorf("%s: %d %s", name, tc.rec.Code, tc.rec.Body)
		}
		if challenge := tc.rec.Header().Get("WWW-Authenticate"); (tc.rec.Code == 401) != (challenge == `Basic realm="weir"`) {
			t.Errorf("%s: challenge %q", name, challenge)
		}
	}
}

func TestRefreshTokens(t *testing.T) {
	w := newWorld(t)
	rec := w.post("weir.test", url.Values{
		"grant_type": {"password"}, "username": {"alice"}, "password": {"pw-12345"}, "access_type": {"offline"},
		"client_id": {"docker"}, "service": {"weir.test"}, "scope": {"repository:acme/app:pull"},
	})
	if _, allowed := w.grants(rec, "pull acme/app"); len(allowed) != 1 {
		t.Error(rec.Body)
	}
	var a answer
	_ = json.Unmarshal(rec.Body.Bytes(), &a)
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.RefreshToken}, "scope": {"repository:acme/app:push"}}
	if who, allowed := w.grants(w.post("weir.test", refresh), "pull acme/app", "push acme/app"); who != "alice" || len(allowed) != 1 {
		t.Error(who, allowed)
	}
	if err := w.dir.SetPassword(t.Context(), access.Actor{}, w.user.ID, "other-12345"); err != nil {
		t.Fatal(err)
	}
	if rec := w.post("weir.test", refresh); rec.Code != 401 {
		t.Error(rec.Code, rec.Body)
	}
	if who, _ := w.grants(w.post("mirror.test", refresh)); who != "anonymous" {
		t.Error("a foreign refresh token at a mirror: ", who)
	}
	_ = json.Unmarshal(w.get("weir.test", "offline_token=true", "", "").Body.Bytes(), &a)
	var nobody answer
	_ = json.Unmarshal(w.get("weir.test", "offline_token=true", "", "").Body.Bytes(), &nobody)
	if nobody.RefreshToken != "" {
		t.Error("nobody got a refresh token")
	}
}

// TestAccepted tells an anonymous token from no token, and a login that was ignored from one that was good.
func TestAccepted(t *testing.T) {
	w := newWorld(t)
	var anonymous answer
	if err := json.Unmarshal(w.get("weir.test", "", "", "").Body.Bytes(), &anonymous); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, authorization string
		want                bool
	}{
		{"weir.test", "", false}, {"weir.test", "Basic Og==", false}, // an empty name and password
		{"weir.test", "Bearer " + anonymous.Token, true}, {"weir.test", "Bearer " + w.pat, true},
		{"mirror.test", "Bearer eyJ", false}, {"mirror.test", "Bearer " + anonymous.Token, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://"+c.host+"/v2/", nil)
		r.Header.Set("Authorization", c.authorization)
		if _, caller, err := w.gate.Authenticate(r); err != nil || caller.Accepted != c.want {
			t.Errorf("%s with %.12q: %+v, %v", c.host, c.authorization, caller, err)
		}
	}
}

// The gate as the other doors see it.
func TestGate(t *testing.T) {
	w := newWorld(t)
	try := func(host, authorization string) (context.Context, error) {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/v2/", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		ctx, caller, err := w.gate.Authenticate(r)
		if err == nil && caller.PrincipalID != access.PrincipalFrom(ctx).ID {
			t.Error("the caller is not the principal")
		}
		return ctx, err
	}
	pull := access.Request{Action: access.Pull, Path: "acme/app"}
	ctx, err := try("weir.test", "")
	if err != nil || oci.ErrorCode(w.gate.Authorize(ctx, pull)) != oci.CodeUnauthorized {
		t.Error(err)
	}
	ctx, err = try("weir.test", "Bearer "+w.pat)
	if err != nil || w.gate.Authorize(ctx, pull) != nil {
		t.Error(err)
	}
	pull.Path = "acme/lib"
	if err := w.gate.Authorize(ctx, pull); oci.ErrorCode(err) != oci.CodeDenied {
		t.Error(err)
	}
	if _, err := try("weir.test", "Bearer eyJ"); oci.ErrorCode(err) != oci.CodeUnauthorized {
		t.Error(err)
	}
	if ctx, err := try("mirror.test", "Bearer eyJ"); err != nil || !access.PrincipalFrom(ctx).IsAnonymous() {
		t.Error(err)
	}
	if oci.ErrorCode(w.gate.Authorize(context.Background(), pull)) != oci.CodeUnauthorized {
		t.Error("a request that was never authenticated")
	}
}

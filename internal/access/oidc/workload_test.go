package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is a directory with the groups acme and rival, and an issuer that a rule of acme trusts.
type world struct {
	*access.Directory
	t      *testing.T
	db     *meta.DB
	clock  *clock
	issuer *testIssuer
	group  map[string]int64
	from   byte
}

func newWorld(t *testing.T, db *meta.DB) *world {
	t.Helper()
	sealer, _, err := seal.OpenFile(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, clock: &clock{at: time.Now()}, issuer: newIssuer(t), group: map[string]int64{}}
	w.Directory, err = access.Open(t.Context(), access.Options{
		DB: db, Sealer: sealer, Hashing: access.Hashing{MemoryKiB: 64, Passes: 1}, Now: w.clock.now, Issuers: NewVerifier(http.DefaultClient, w.clock.now),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	for _, name := range []string{"acme", "rival"} {
		err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			w.group[name] = tx.ID()
			if err := tx.InsertGroup(ctx, query.InsertGroupParams{ID: w.group[name], Name: name, Enabled: true}); err != nil {
				return err
			}
			return tx.Change(ctx, w.group[name], meta.ChangeDefinition, "group")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.rule(nil)
	return w
}

// rule makes acme/gitlab, or what change makes of it.
func (w *world) rule(change func(*access.TrustRule)) access.TrustRule {
	w.t.Helper()
	r := access.TrustRule{
		Machine: access.Machine{GroupID: w.group["acme"], Name: "gitlab", Grants: []access.Given{{Path: "app", Role: access.Developer}}},
		Issuer:  w.issuer.URL, Audience: "weir", Conditions: []access.Condition{{Claim: "project_path", Equals: "acme/app"}},
	}
	if change != nil {
		change(&r)
	}
	out, err := w.PutTrustRule(w.t.Context(), access.Actor{}, r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// from is a client that nobody else's failures limit.
func (w *world) client() access.Credentials {
	w.from++
	return access.Credentials{Address: netip.AddrFrom4([4]byte{10, 0, 0, w.from})}
}

func (w *world) login(name, password string) (access.Principal, error) {
	return w.Login(w.t.Context(), name, password, w.client())
}

func (w *world) exchange(rule, token string) (access.Principal, access.Issued, error) {
	return w.Exchange(w.t.Context(), rule, token, w.client(), nil)
}

func (w *world) bearer(text string) (access.Principal, error) {
	c := w.client()
	c.Authorization = "Bearer " + text
	return w.Authenticate(w.t.Context(), c)
}

func (w *world) may(p access.Principal, a access.Action, path string) bool {
	w.t.Helper()
	d, err := w.Check(w.t.Context(), p, access.Request{Action: a, Path: path})
	if err != nil {
		w.t.Fatal(err)
	}
	return d.Allowed
}

// events lists kind and detail of what was recorded for logins of workloads.
func (w *world) events() (out []string) {
	w.t.Helper()
	rows, err := w.db.ReadConn().QueryContext(w.t.Context(), "SELECT kind, group_id, detail FROM events WHERE kind LIKE 'workload.%' ORDER BY id")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, detail string
		var group int64
		if err := rows.Scan(&kind, &group, &detail); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %v %s", kind, group == w.group["acme"], detail))
	}
	return out
}

func onEach(t *testing.T, fn func(*testing.T, *world)) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) { fn(t, newWorld(t, db)) })
}

func TestTokenAsPassword(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		token := w.issuer.token(w.clock.now(), nil)
		for _, name := range []string{"oidc", "acme/gitlab"} {
			p, err := w.login(name, token)
			if err != nil || p.Kind != access.Workload || p.Name != "acme/gitlab:project_path:acme/app:ref_type:branch:ref:main" {
				t.Fatalf("%s: %+v, %v", name, p, err)
			}
			if !w.may(p, access.Push, "acme/app/x") || w.may(p, access.Push, "acme/lib") || w.may(p, access.Pull, "rival/app") {
				t.Error("wrong rights")
			}
		}
		if _, err := w.login("oidc", token); err != nil {
			t.Error("again, from memory: ", err)
		}
		if n := len(w.events()); n != 2 {
			t.Errorf("%d events for two decisions: %v", n, w.events())
		}
		if strings.Contains(strings.Join(w.events(), ""), token) || !strings.Contains(w.events()[0], `"rule":"acme/gitlab"`) {
			t.Error(w.events()[0])
		}
		for _, name := range []string{"alice", "rival/gitlab", "acme/other"} {
			if _, err := w.login(name, token); oci.ErrorCode(err) != oci.CodeUnauthorized {
				t.Errorf("as %s: %v", name, err)
			}
		}
		w.clock.forward(6 * time.Minute)
		if _, err := w.login("oidc", token); oci.ErrorCode(err) != oci.CodeUnauthorized {
			t.Error("expired, but remembered: ", err)
		}
	})
}

// What is wrong with a token is for the group's events; who sent it learns nothing.
func TestRefused(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	other, now := newIssuer(t), w.clock.now()
	hs := jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}
	claims := map[string]any{"iss": w.issuer.URL, "aud": "weir", "sub": "x", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "project_path": "acme/app"}
	body, _ := json.Marshal(claims)
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	for name, tc := range map[string]struct{ token, reason string }{
		"audience":     {w.issuer.token(now, map[string]any{"aud": "another"}), "the claim aud does not have weir"},
		"condition":    {w.issuer.token(now, map[string]any{"project_path": "evil/app"}), "the claim project_path is not acme/app"},
		"no condition": {w.issuer.token(now, map[string]any{"project_path": nil}), "there is no claim project_path"},
		"expired":      {w.issuer.token(now.Add(-time.Hour), nil), "has expired"},
		"from future":  {w.issuer.token(now.Add(time.Hour), nil), "from the future"},
		"no iat":       {w.issuer.token(now, map[string]any{"iat": nil}), "there is no claim iat"},
		"no exp":       {w.issuer.token(now, map[string]any{"exp": nil}), "there is no claim exp"},
		"long life":    {w.issuer.token(now, map[string]any{"exp": now.Add(25 * time.Hour).Unix()}), "lives longer"},
		"not yet":      {w.issuer.token(now, map[string]any{"nbf": now.Add(time.Hour).Unix()}), "not valid yet"},
		"issuer":       {other.token(now, nil), "no rule names the issuer"},
		"forged":       {other.token(now, map[string]any{"iss": w.issuer.URL}), "the signature is not by a key of the issuer"},
		"symmetric":    {sign(t, hs, claims), "no rule names the issuer"},
		"unsigned":     {none, "no rule names the issuer"},
		"rubbish":      {"eyJ.eyJ.x", "no rule names the issuer"},
	} {
		before := len(w.events())
		_, loginErr := w.login("oidc", tc.token)
		_, _, exchangeErr := w.exchange("", tc.token)
		for _, err := range []error{loginErr, exchangeErr} {
			e, ok := errors.AsType[*oci.Error](err)
			if !ok || e.Code != oci.CodeUnauthorized || !strings.HasPrefix(e.Message, "no trust rule accepts the token") {
				t.Errorf("%s: %v", name, err)
			}
		}
		events := w.events()[before:]
		if len(events) != 2 || !strings.Contains(events[0], "workload.refused") || !strings.Contains(events[0], tc.reason) {
			t.Errorf("%s: %v", name, events)
		}
		if strings.Contains(strings.Join(events, ""), tc.token) {
			t.Errorf("%s: an event holds the token", name)
		}
	}
	if other.questions() != 0 {
		t.Error("an issuer that no rule names was asked")
	}
}

func TestRefusalsAreLimited(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	c := w.client()
	bad := w.issuer.token(w.clock.now(), map[string]any{"project_path": "evil/app"})
	var last error
	for range 30 {
		_, last = w.Login(t.Context(), "oidc", bad, c)
	}
	if oci.ErrorCode(last) != oci.CodeTooManyRequests || len(w.events()) > 15 {
		t.Error(last, len(w.events()))
	}
}

func TestExchange(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		token := w.issuer.token(w.clock.now(), nil)
		p, issued, err := w.exchange("acme/gitlab", token)
		if err != nil || issued.Life != time.Hour || p.Kind != access.Workload {
			t.Fatal(p, issued.Life, err)
		}
		if _, again, err := w.exchange("", token); err != nil || again.Text == issued.Text {
			t.Error("twice: ", err)
		}
		direct, err := w.bearer(issued.Text)
		if err != nil || !w.may(direct, access.Push, "acme/app") || w.may(direct, access.Push, "acme/lib") || direct.Name != p.Name {
			t.Fatal(direct, err)
		}
		basic, err := w.login("oidc", issued.Text)
		if err != nil || !w.may(basic, access.Push, "acme/app") {
			t.Fatal(basic, err)
		}
		// The token endpoint makes a short one of it, which is no login.
		short, err := w.IssueBearer(t.Context(), basic, []access.Scope{{Path: "acme/app", Exact: true, Actions: []access.Action{access.Pull}}})
		if err != nil {
			t.Fatal(err)
		}
		limited, err := w.bearer(short.Text)
		if err != nil || !w.may(limited, access.Pull, "acme/app") || w.may(limited, access.Push, "acme/app") || !w.may(limited.Behind(), access.Push, "acme/app") {
			t.Error(limited, err)
		}
		if _, err := w.login("oidc", short.Text); err == nil {
			t.Error("a bearer token renews itself")
		}
		if _, err := w.IssueRefresh(t.Context(), basic); err == nil {
			t.Error("a workload got a token for thirty days")
		}
		w.clock.forward(59 * time.Minute)
		late, err := w.bearer(issued.Text)
		if err != nil {
			t.Fatal(err)
		}
		if short, err = w.IssueBearer(t.Context(), late, nil); err != nil || short.Life > time.Minute {
			t.Error("a bearer token outlives the exchange: ", short.Life, err)
		}
		w.clock.forward(2 * time.Minute)
		if _, err := w.bearer(issued.Text); oci.ErrorCode(err) != oci.CodeUnauthorized {
			t.Error(err)
		}
	})
}

func TestExchangeIsLimitedByItsScope(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	token := w.issuer.token(w.clock.now(), nil)
	pull := func(access.Principal) ([]access.Scope, error) {
		return []access.Scope{{Path: "acme/app", Exact: true, Actions: []access.Action{access.Pull}}}, nil
	}
	_, issued, err := w.Exchange(t.Context(), "", token, w.client(), pull)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.bearer(issued.Text)
	if err != nil || !w.may(p, access.Pull, "acme/app") || w.may(p, access.Push, "acme/app") || w.may(p, access.Pull, "acme/app/x") {
		t.Error(p, err)
	}
	short, err := w.IssueBearer(t.Context(), p, []access.Scope{{Path: "acme", Actions: []access.Action{access.Push, access.Pull}}})
	if err != nil {
		t.Fatal(err)
	}
	if p, err = w.bearer(short.Text); err != nil || w.may(p, access.Push, "acme/app") || w.may(p.Behind(), access.Push, "acme/app") {
		t.Error("the token endpoint lifts the limit: ", p, err)
	}
	nothing := func(access.Principal) ([]access.Scope, error) { return nil, nil }
	if _, _, err := w.Exchange(t.Context(), "", token, w.client(), nothing); oci.ErrorCode(err) != oci.CodeDenied {
		t.Error("a token for nothing: ", err)
	}
}

func TestTokensEndWithTheirRule(t *testing.T) {
	for name, end := range map[string]func(*world) error{
		"disabled": func(w *world) error { w.rule(func(r *access.TrustRule) { r.Disabled = true }); return nil },
		"changed":  func(w *world) error { w.rule(func(r *access.TrustRule) { r.Audience = "other" }); return nil },
		"deleted": func(w *world) error {
			return w.DeleteTrustRule(w.t.Context(), access.Actor{}, w.group["acme"], "gitlab", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, metatest.Open(t, meta.SQLite))
			token := w.issuer.token(w.clock.now(), nil)
			_, issued, err := w.exchange("", token)
			if err != nil {
				t.Fatal(err)
			}
			p, err := w.login("oidc", token)
			if err != nil {
				t.Fatal(err)
			}
			if err := end(w); err != nil {
				t.Fatal(err)
			}
			if _, err := w.bearer(issued.Text); oci.ErrorCode(err) != oci.CodeUnauthorized {
				t.Error("exchanged: ", err)
			}
			if _, err := w.login("oidc", token); oci.ErrorCode(err) != oci.CodeUnauthorized {
				t.Error("remembered: ", err)
			}
			if name != "changed" && w.may(p, access.Pull, "acme/app") {
				t.Error("a request that is on its way")
			}
		})
	}
	t.Run("fewer grants", func(t *testing.T) {
		w := newWorld(t, metatest.Open(t, meta.SQLite))
		_, issued, err := w.exchange("", w.issuer.token(w.clock.now(), nil))
		if err != nil {
			t.Fatal(err)
		}
		w.rule(func(r *access.TrustRule) { r.Grants = nil })
		if p, err := w.bearer(issued.Text); err != nil || w.may(p, access.Pull, "acme/app") {
			t.Error(p, err)
		}
	})
}

func TestSingleUse(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.rule(func(r *access.TrustRule) { r.SingleUse = true })
		token := w.issuer.token(w.clock.now(), nil)
		if _, err := w.login("oidc", token); oci.ErrorCode(err) != oci.CodeUnauthorized || !strings.Contains(err.Error(), "exchange it") {
			t.Error(err)
		}
		var wait sync.WaitGroup
		results := make([]error, 4)
		for i := range results {
			c := w.client()
			wait.Go(func() { _, _, results[i] = w.Exchange(t.Context(), "", token, c, nil) })
		}
		wait.Wait()
		passed := 0
		for _, err := range results {
			if err == nil {
				passed++
			} else if !strings.Contains(err.Error(), "exchanged before") {
				t.Error(err)
			}
		}
		if passed != 1 {
			t.Errorf("%d of four exchanges of one token: %v", passed, results)
		}
		if _, _, err := w.exchange("", w.issuer.token(w.clock.now(), map[string]any{"jti": "job-2"})); err != nil {
			t.Error("another token: ", err)
		}
		plain := w.issuer.token(w.clock.now(), map[string]any{"jti": nil})
		if _, _, err := w.exchange("", plain); err != nil {
			t.Error("without an id: ", err)
		}
		if _, _, err := w.exchange("", plain); err == nil {
			t.Error("without an id, twice")
		}
	})
}

// Another group's rule that fits too makes the token ambiguous, never the other group's. A name decides.
func TestSeveralRules(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.rule(func(r *access.TrustRule) { r.GroupID, r.Name = w.group["rival"], "trap" })
	token := w.issuer.token(w.clock.now(), nil)
	if _, err := w.login("oidc", token); oci.ErrorCode(err) != oci.CodeUnauthorized || !strings.Contains(err.Error(), "say which one") || strings.Contains(err.Error(), "trap") {
		t.Error(err)
	}
	p, err := w.login("acme/gitlab", token)
	if err != nil || !w.may(p, access.Pull, "acme/app") || w.may(p, access.Pull, "rival/app") {
		t.Error(p, err)
	}
}

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/serve"
)

// trust makes the rule acme/job for an issuer that is never asked, and returns one of its tokens.
func (w *world) trust(change func(*access.TrustRule)) string {
	w.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: private, KeyID: "k", Algorithm: "ES256"}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		w.t.Fatal(err)
	}
	r := access.TrustRule{
		Machine: access.Machine{GroupID: w.group, Name: "job", Grants: []access.Given{{Path: "app", Role: access.Developer}}},
		Issuer:  "https://ci.test", Audience: "weir", Keys: string(keys), Conditions: []access.Condition{{Claim: "sub", Equals: "job"}},
	}
	if change != nil {
		change(&r)
	}
	if _, err := w.dir.PutTrustRule(w.t.Context(), access.Actor{}, r, nil); err != nil {
		w.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	text, err := jwt.Signed(signer).Claims(map[string]any{"iss": r.Issuer, "aud": "weir", "sub": "job", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}).Serialize()
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *world) exchange(change func(url.Values), token string) *httptest.ResponseRecorder {
	form := url.Values{"grant_type": {grantExchange}, "subject_token": {token}, "subject_token_type": {typeIDToken}}
	if change != nil {
		change(form)
	}
	r := httptest.NewRequest(http.MethodPost, "http://weir.test/api/v1/token/exchange", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	serve.NewFront(serve.Options{}).Handle("token", w.gate.Exchange).ServeHTTP(rec, r)
	return rec
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	token := w.trust(nil)
	for name, tc := range map[string]struct {
		change func(url.Values)
		status int
		want   string
	}{
		"good":           {nil, 200, `"issued_token_type":"` + typeAccessToken + `","token_type":"Bearer","expires_in":3600}`},
		"named":          {func(f url.Values) { f.Set("audience", "acme/job") }, 200, `"expires_in":3600`},
		"scope":          {func(f url.Values) { f.Set("scope", "repository:acme/app:pull") }, 200, `"scope":"repository:acme/app:pull"`},
		"other rule":     {func(f url.Values) { f.Set("audience", "acme/else") }, 400, `"error":"invalid_grant"`},
		"nothing":        {func(f url.Values) { f.Set("scope", "repository:rival/app:pull") }, 400, `"error":"invalid_scope"`},
		"grant type":     {func(f url.Values) { f.Set("grant_type", "password") }, 400, `"error":"unsupported_grant_type"`},
		"token type":     {func(f url.Values) { f.Set("subject_token_type", "saml2") }, 400, `"error":"invalid_request"`},
		"requested type": {func(f url.Values) { f.Set("requested_token_type", typeJWT) }, 400, `"error":"invalid_request"`},
		"no token":       {func(f url.Values) { f.Del("subject_token") }, 400, `"error":"invalid_request"`},
		"actor":          {func(f url.Values) { f.Set("actor_token", "x") }, 400, `"error":"invalid_request"`},
		"rubbish":        {func(f url.Values) { f.Set("subject_token", "eyJ.eyJ.x") }, 400, `"error":"invalid_grant"`},
		"huge":           {func(f url.Values) { f.Set("subject_token", strings.Repeat("x", maxForm)) }, 400, `"error":"invalid_request"`},
	} {
		rec := w.exchange(tc.change, token)
		if rec.Code != tc.status || !strings.Contains(rec.Body.String(), tc.want) || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
		if strings.Contains(rec.Body.String(), token) {
			t.Errorf("%s: shows the token", name)
		}
	}
}

// docker login with what the job has, and with what the exchange gave: the token endpoint answers both, without a token for a month.
func TestLoginWithoutSecrets(t *testing.T) {
	w := newWorld(t)
	token := w.trust(nil)
	var out exchanged
	if err := json.Unmarshal(w.exchange(nil, token).Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	for name, password := range map[string]string{"direct": token, "exchanged": out.AccessToken} {
		rec := w.get("weir.test", "offline_token=true&scope=repository:acme/app:pull,push", "oidc", password)
		who, allowed := w.grants(rec, "pull acme/app", "push acme/app", "pull acme/lib")
		if who != "acme/job:job" || len(allowed) != 2 || strings.Contains(rec.Body.String(), "refresh_token") {
			t.Errorf("%s: %s may %v: %s", name, who, allowed, rec.Body)
		}
	}
}

func TestRatesAreKept(t *testing.T) {
	w := newWorld(t)
	w.gate.rates = access.NewRates(2, 5)
	ask := func() *httptest.ResponseRecorder {
		return w.get("weir.test", "scope=repository:acme/app:pull", "alice", "pw-12345")
	}
	for range 5 {
		if rec := ask(); rec.Code != 200 {
			t.Fatal(rec.Code, rec.Body)
		}
	}
	if rec := ask(); rec.Code != 429 || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), `"code":"TOOMANYREQUESTS"`) {
		t.Error(rec.Code, rec.Header(), rec.Body)
	}
	if rec := w.exchange(nil, "eyJ.x.y"); rec.Code != 429 || rec.Header().Get("Retry-After") == "" {
		t.Error(rec.Code, rec.Body)
	}
	w.gate.rates = access.NewRates(2, 0)
	try := func() error {
		r := httptest.NewRequest(http.MethodGet, "http://weir.test/v2/", nil)
		r.Header.Set("Authorization", "Bearer "+w.pat)
		_, _, err := w.gate.Authenticate(r)
		return err
	}
	for i, want := range []bool{true, true, false} {
		if err := try(); (err == nil) != want {
			t.Errorf("request %d of one principal: %v", i, err)
		}
	}
}

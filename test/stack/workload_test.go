package stack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// issuer is a pipeline's issuer on this machine; asked counts the requests it gets.
func issuer(t *testing.T) (address, token string, asked *atomic.Int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: private, KeyID: "k", Algorithm: "ES256"}
	asked = &atomic.Int64{}
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": s.URL, "jwks_uri": s.URL + "/keys", "authorization_endpoint": s.URL + "/a", "token_endpoint": s.URL + "/t",
		})
	}))
	t.Cleanup(s.Close)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err = jwt.Signed(signer).Claims(map[string]any{
		"iss": s.URL, "aud": "weir", "sub": "job", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "project": "acme/app",
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return s.URL, token, asked
}

func trust(t *testing.T, s *stack.Server, address string) {
	t.Helper()
	s.Apply(t, "groups: [{name: acme}]")
	rule := `{"issuer": "` + address + `", "audience": "weir", "conditions": [{"claim": "project", "matches": "acme/*"}], "grants": [{"path": "team", "role": "developer"}]}`
	if status, text := asked(t, s, s.NewToken(t, "admin"), "PUT", "/groups/acme/trust-rules/ci", rule, ""); status != 201 {
		t.Fatal(status, text)
	}
}

func exchange(t *testing.T, s *stack.Server, token string) (int, string) {
	t.Helper()
	resp, err := http.PostForm(s.URL+"/api/v1/token/exchange", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestWorkload pushes and pulls with what a pipeline has: its own token as the password, and what the exchange gives.
func TestWorkload(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	address, token, _ := issuer(t)
	trust(t, s, address)
	status, text := exchange(t, s, token)
	var out struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil || status != 200 {
		t.Fatal(status, text)
	}
	image := registrytest.RandomImage(1, 1, 1000)
	job := stack.Remote{URL: s.URL, Token: out.Token}
	job.Push(t, "acme/team/app", []string{"1"}, image)
	job.Pull(t, "acme/team/app", "1", image)
	if a := job.Do(t, "POST", "acme/other/blobs/uploads/"); a.Status != 403 {
		t.Errorf("outside its grant: %d %s", a.Status, a.Body)
	}
	for user, want := range map[string]int{"oidc": 200, "acme/ci": 200, "acme/none": 401} {
		a := stack.Remote{URL: s.URL}.Do(t, "GET", "acme/team/app/manifests/1", func(r *http.Request) { r.SetBasicAuth(user, token) })
		if a.Status != want {
			t.Errorf("as %s: %d %s", user, a.Status, a.Body)
		}
	}
	if _, who := asked(t, s, out.Token, "GET", "/whoami", "", ""); !strings.Contains(who, `"kind":"workload"`) || !strings.Contains(who, `"name":"acme/ci:job"`) {
		t.Error(who)
	}
	if strings.Contains(s.Log.String(), token) || strings.Contains(s.Log.String(), out.Token) {
		t.Error("the log holds a token")
	}
}

// TestIssuersStayOutside holds that tenants cannot make the server ask its own network, whatever issuer they name.
func TestIssuersStayOutside(t *testing.T) {
	s := stack.Start(t, stack.Options{Configure: func(c *config.Config) { c.Upstream.AllowPrivateNetworks = false }})
	address, token, requests := issuer(t)
	trust(t, s, address)
	if status, text := exchange(t, s, token); status != 503 || requests.Load() != 0 {
		t.Errorf("%d %s, %d requests", status, text, requests.Load())
	}
}

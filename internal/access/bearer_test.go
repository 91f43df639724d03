package access

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

func TestBearerCarriesItsLimits(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		alice := w.user("alice", "pw-12345", "developer@acme")
		text, tok := w.token(alice, "ci", time.Time{}, nil)
		p, err := w.Authenticate(t.Context(), bearer(text))
		if err != nil {
			t.Fatal(err)
		}
		issued, err := w.IssueBearer(t.Context(), p, []Scope{{Path: "acme/app", Exact: true, Actions: []Action{Pull, Push}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.Authenticate(t.Context(), bearer(issued.Text))
		if err != nil || got.ID != alice.ID || got.TokenID != tok.ID || !got.Bearer {
			t.Fatalf("%+v, %v", got, err)
		}
		if !w.may(got, Push, "acme/app") || w.may(got, Push, "acme/app/x") || w.may(got, Delete, "acme/app") || w.may(got, Pull, "acme/other") {
			t.Error("the limits do not hold")
		}
		// Grants count at the time of use.
		if err := w.DeleteGrant(t.Context(), Actor{}, w.parseGrant(alice.ID, "developer@acme"), nil); err != nil {
			t.Fatal(err)
		}
		if w.may(got, Pull, "acme/app") {
			t.Error("a bearer token outlives the grant")
		}
		if err := w.RevokeToken(t.Context(), Actor{}, alice.ID, tok.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Authenticate(t.Context(), bearer(issued.Text)); err == nil || !strings.Contains(err.Error(), "token ci was revoked") {
			t.Error(err)
		}
	})
}

func TestBearerExpires(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite), func(o *Options) { o.TokenTTL = time.Minute })
	issued, err := w.IssueBearer(t.Context(), Nobody(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := w.Authenticate(t.Context(), bearer(issued.Text)); err != nil || !p.IsAnonymous() || !p.Bearer {
		t.Errorf("%+v, %v", p, err)
	}
	w.clock.forward(time.Minute + clockSkew + time.Second)
	if _, err := w.Authenticate(t.Context(), bearer(issued.Text)); oci.ErrorCode(err) != oci.CodeUnauthorized || !strings.Contains(err.Error(), "expired") {
		t.Error(err)
	}
}

func TestKindsOfTokenDoNotMix(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	p := Principal{ID: w.user("alice", "pw-12345").ID}
	access, _ := w.IssueBearer(t.Context(), p, nil)
	refresh, _ := w.IssueRefresh(t.Context(), p)
	if _, err := w.Authenticate(t.Context(), bearer(refresh.Text)); err == nil {
		t.Error("a refresh token opens doors")
	}
	if _, err := w.Refresh(t.Context(), access.Text); err == nil {
		t.Error("an access token refreshes itself")
	}
	got, err := w.Refresh(t.Context(), refresh.Text)
	if err != nil || got.ID != p.ID || got.Bearer || got.Ceiling != nil {
		t.Errorf("%+v, %v", got, err)
	}
	nobody, _ := w.IssueRefresh(t.Context(), Nobody())
	if _, err := w.Refresh(t.Context(), nobody.Text); err == nil {
		t.Error("nobody has a refresh token")
	}
}

func TestRefreshKeepsTheTokensLimit(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	alice := w.user("alice", "", "owner@acme")
	text, _ := w.token(alice, "ci", time.Time{}, &Ceiling{Scopes: []Scope{{Path: "acme/app", Actions: []Action{Pull}}}})
	p, err := w.Authenticate(t.Context(), bearer(text))
	if err != nil {
		t.Fatal(err)
	}
	refresh, err := w.IssueRefresh(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Refresh(t.Context(), refresh.Text)
	if err != nil || w.may(got, Push, "acme/app") || !w.may(got, Pull, "acme/app") {
		t.Errorf("%+v, %v", got, err)
	}
}

// Every way to make a token that this server did not sign, or signed for something else.
func TestForgedTokens(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	admin := w.user("root", "pw-12345", "admin@")
	s, err := w.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kid, now := fmt.Sprint(s.signing.id), w.clock.now()
	good := map[string]any{
		"iss": issuer, "aud": issuer, "sub": fmt.Sprint(admin.ID), "jti": "x", "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Add(time.Minute).Unix(), "pwd": s.users[admin.ID].stamp,
	}
	with := func(key string, value any) map[string]any {
		c := map[string]any{}
		for k, v := range good {
			c[k] = v
		}
		if c[key] = value; value == nil {
			delete(c, key)
		}
		return c
	}
	sign := func(alg jose.SignatureAlgorithm, key any, kid, typ string, claims map[string]any) string {
		options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", kid)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	own := s.signing.private
	_, foreign, _ := ed25519.GenerateKey(nil)
	valid := sign(jose.EdDSA, own, kid, typeAccess, good)
	if p, err := w.Authenticate(t.Context(), bearer(valid)); err != nil || p.ID != admin.ID {
		t.Fatalf("the good one: %v", err)
	}
	parts := strings.Split(valid, ".")
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	none := part(map[string]string{"alg": "none", "typ": typeAccess, "kid": kid})
	for name, text := range map[string]string{
		"foreign key":        sign(jose.EdDSA, foreign, kid, typeAccess, good),
		"unknown kid":        sign(jose.EdDSA, own, "1", typeAccess, good),
		"no kid":             sign(jose.EdDSA, own, "", typeAccess, good),
		"public key as hmac": sign(jose.HS256, []byte(own.Public().(ed25519.PublicKey)), kid, typeAccess, good),
		"no type":            sign(jose.EdDSA, own, kid, "", good),
		"plain jwt":          sign(jose.EdDSA, own, kid, "JWT", good),
		"issuer":             sign(jose.EdDSA, own, kid, typeAccess, with("iss", "other-12345")),
		"audience":           sign(jose.EdDSA, own, kid, typeAccess, with("aud", "other-12345")),
		"no audience":        sign(jose.EdDSA, own, kid, typeAccess, with("aud", nil)),
		"no expiry":          sign(jose.EdDSA, own, kid, typeAccess, with("exp", nil)),
		"expired":            sign(jose.EdDSA, own, kid, typeAccess, with("exp", now.Add(-time.Minute).Unix())),
		"not yet":            sign(jose.EdDSA, own, kid, typeAccess, with("nbf", now.Add(time.Minute).Unix())),
		"no subject":         sign(jose.EdDSA, own, kid, typeAccess, with("sub", nil)),
		"negative subject":   sign(jose.EdDSA, own, kid, typeAccess, with("sub", "-1")),
		"unknown subject":    sign(jose.EdDSA, own, kid, typeAccess, with("sub", "12345")),
		"no stamp":           sign(jose.EdDSA, own, kid, typeAccess, with("pwd", nil)),
		"unknown token":      sign(jose.EdDSA, own, kid, typeAccess, with("tok", "999")),
		"bad token":          sign(jose.EdDSA, own, kid, typeAccess, with("tok", "-1")),
		"none":               none + "." + parts[1] + ".",
		"none with sig":      none + "." + parts[1] + "." + parts[2],
		"no signature":       parts[0] + "." + parts[1] + ".",
		"other claims":       parts[0] + "." + part(with("sub", "1")) + "." + parts[2],
		"two parts":          parts[0] + "." + parts[1],
		"huge":               valid + strings.Repeat("A", maxBearer),
		"empty":              "",
	} {
		if p, err := w.Authenticate(t.Context(), bearer(text)); oci.ErrorCode(err) != oci.CodeUnauthorized || p.ID != 0 {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestTokenOfSomebodyElse(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	alice, bob := w.user("alice", "pw-12345"), w.user("bob", "pw-12345")
	_, tok := w.token(alice, "ci", time.Time{}, nil)
	issued, err := w.IssueBearer(t.Context(), Principal{ID: bob.ID, TokenID: tok.ID}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(t.Context(), bearer(issued.Text)); err == nil {
		t.Error("accepted")
	}
}

// Package oidc speaks OpenID Connect with other issuers, for package access: it verifies the tokens that workloads bring, and signs
// people in by their identity provider.
//
// Issuers are asked for two documents only, their configuration and their keys, over a client that package app gives it, which keeps
// to the operator's networks. What they answer is bounded and remembered. For a token's sake an issuer is asked at most once in half a
// minute, whatever tokens strangers send, and a provider that was not found at most once in five seconds. All types are safe for
// concurrent use.
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/weir-registry/weir/internal/access"
)

// Algorithms that tokens may be signed with: none that is symmetric.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

const (
	keysFor    = time.Hour        // that keys are believed without asking again
	askEvery   = 30 * time.Second // least time between two questions to one issuer
	askTimeout = 10 * time.Second
	maxAnswer  = 1 << 20
	maxIssuers = 1000 // remembered; rules name them, so that strangers cannot fill this
)

var (
	errSignature = errors.New("the signature is not by a key of the issuer")
	errForm      = errors.New("the token is not a JWT of the issuer")
)

// Verifier implements access.Issuers.
type Verifier struct {
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	issuers map[string]*issuer
}

var _ access.Issuers = (*Verifier)(nil)

// NewVerifier returns a Verifier that asks issuers through client. now may be nil.
func NewVerifier(client *http.Client, now func() time.Time) *Verifier {
	if now == nil {
		now = time.Now
	}
	limited := *client
	limited.Transport = bounded{client.Transport}
	limited.Timeout = askTimeout
	limited.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Verifier{client: &limited, now: now, issuers: map[string]*issuer{}}
}

// Verify implements access.Issuers.
func (v *Verifier) Verify(ctx context.Context, name, keys, token string) (map[string]any, error) {
	var set oidc.KeySet
	if keys != "" {
		fixed, err := parseKeys([]byte(keys))
		if err != nil {
			return nil, err
		}
		set = fixed
	} else {
		set = v.issuer(name)
	}
	told := &recorder{KeySet: set}
	verifier := oidc.NewVerifier(name, told, &oidc.Config{SkipClientIDCheck: true, SkipExpiryCheck: true, SupportedSigningAlgs: algorithms}) // the rest is for access.TrustRule to judge
	verified, err := verifier.Verify(ctx, token)
	switch {
	case errors.Is(told.err, access.ErrUnreachable):
		return nil, fmt.Errorf("%s: %w", name, access.ErrUnreachable)
	case told.err != nil:
		if unknown, ok := errors.AsType[*access.UnknownKeyError](told.err); ok {
			return nil, unknown
		}
		return nil, errSignature
	case err != nil:
		return nil, errForm
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return nil, errForm
	}
	return claims, nil
}

func (v *Verifier) issuer(name string) *issuer {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.issuers[name]
	if i == nil {
		if len(v.issuers) >= maxIssuers {
			clear(v.issuers)
		}
		i = &issuer{name: name, client: v.client, now: v.now}
		v.issuers[name] = i
	}
	return i
}

// issuer is one issuer's keys.
type issuer struct {
	name   string
	client *http.Client
	now    func() time.Time

	mu    sync.Mutex // held while the issuer is asked: whoever waits gets the answer
	keys  keySet
	read  time.Time // when keys were
	asked time.Time
	err   error // of the last question
}

// recorder keeps the error of a key set, which the library turns into text.
type recorder struct {
	oidc.KeySet
	err error
}

// VerifySignature implements oidc.KeySet.
func (r *recorder) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	payload, r.err = r.KeySet.VerifySignature(ctx, token)
	return payload, r.err
}

// VerifySignature implements oidc.KeySet. A key that is not known is asked for once: issuers rotate theirs.
func (i *issuer) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	keys, fresh, err := i.current(ctx, false)
	if err != nil {
		return nil, err
	}
	payload, err := keys.VerifySignature(ctx, token)
	if err == nil || fresh || !errors.Is(err, errUnknownKey) {
		return payload, err
	}
	if keys, fresh, err = i.current(ctx, true); err != nil {
		return nil, err
	}
	payload, err = keys.VerifySignature(ctx, token)
	if errors.Is(err, errUnknownKey) && !fresh { // the issuer was asked a moment ago, and may have a new key since
		return nil, &access.UnknownKeyError{Again: i.askAgain()}
	}
	return payload, err
}

// askAgain is how long the issuer is not asked.
func (i *issuer) askAgain() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return max(time.Second, askEvery-i.now().Sub(i.asked))
}

// current returns the keys, asked for if they are old, or if again and the last question was a while ago. Old keys do as long as the
// issuer does not answer.
func (i *issuer) current(ctx context.Context, again bool) (keys keySet, fresh bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	old := i.keys == nil || now.Sub(i.read) > keysFor
	if (old || again) && (i.asked.IsZero() || now.Sub(i.asked) >= askEvery) {
		i.asked = now
		asked, err := i.ask(context.WithoutCancel(ctx)) // another login may wait for it
		if i.err = err; err == nil {
			i.keys, i.read, fresh = asked, now, true
		}
	}
	if i.keys == nil {
		return nil, false, access.ErrUnreachable
	}
	return i.keys, fresh, nil
}

func (i *issuer) ask(ctx context.Context) (keySet, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, i.client), askTimeout)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, i.name)
	if err != nil {
		return nil, err
	}
	var found struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&found); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, found.Keys, nil)
	if err != nil {
		return nil, err
	}
	if !access.Untouched(r.URL) {
		return nil, fmt.Errorf("keys of %s: its configuration has them at an address without https", i.name)
	}
	resp, err := i.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys of %s: %s", i.name, resp.Status)
	}
	return parseKeys(body)
}

var errUnknownKey = errors.New("no such key")

// keySet is an issuer's public keys.
type keySet []jose.JSONWebKey

func parseKeys(text []byte) (keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("the keys of the issuer are not a JWKS")
	}
	var keys keySet
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, k) // others are of a kind that no token here may be signed with
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the issuer has no keys that can be used")
	}
	return keys, nil
}

// VerifySignature implements oidc.KeySet.
func (s keySet) VerifySignature(_ context.Context, token string) ([]byte, error) {
	allowed := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, a := range algorithms {
		allowed[i] = jose.SignatureAlgorithm(a)
	}
	signed, err := jose.ParseSignedCompact(token, allowed)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errForm
	}
	id := signed.Signatures[0].Header.KeyID
	known := false
	for _, k := range s {
		if id != "" && k.KeyID != id {
			continue
		}
		known = true
		if payload, err := signed.Verify(k.Key); err == nil {
			return payload, nil
		}
	}
	if !known {
		return nil, errUnknownKey
	}
	return nil, errSignature
}

// bounded keeps an issuer from sending without end.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	next := b.RoundTripper
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

package oidc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/weir-registry/weir/internal/access"
)

// ProviderOptions describe an identity provider that people sign in with.
type ProviderOptions struct {
	Name         string // in paths, events and grants
	Issuer       string
	ClientID     string
	ClientSecret string   // empty for a public client
	Scopes       []string // beside openid
	NameClaim    string   // becomes the user name; empty = preferred_username, else email
	Domains      []string // of verified mail addresses that may sign in; empty = any
	Mapping      []Mapping
	Client       *http.Client
	Now          func() time.Time
}

// Mapping grants a role to who has a value in a claim.
type Mapping struct {
	Claim string // a claim within another is written with a slash
	Value string // * stands for any characters, ? for one
	Grant access.Mapped
}

// Provider signs people in by the authorization code flow with PKCE (RFC 7636), state and nonce. Its endpoints are discovered when
// they are first needed: a provider that is down keeps no server from starting.
type Provider struct {
	o      ProviderOptions
	client *http.Client

	mu    sync.Mutex // held while the provider is asked: whoever waits gets the answer
	found *oidc.Provider
	read  time.Time // when the provider was asked; its answer is in found, or in err
	err   error     // while nothing was found yet
	end   string    // end_session_endpoint, if the provider has one
}

// tryAgain is how long a provider is taken to be down when it was not found: a crowd that signs in does not ask one after another.
const tryAgain = 5 * time.Second

// pending is a sign-in that has begun. Whoever keeps it must keep it from everybody but the browser that has begun.
type pending struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

// NewProvider returns a Provider.
func NewProvider(o ProviderOptions) *Provider {
	if o.Now == nil {
		o.Now = time.Now
	}
	limited := *o.Client
	limited.Transport, limited.Timeout = bounded{o.Client.Transport}, askTimeout
	limited.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Provider{o: o, client: &limited}
}

// Name is how the operator calls the provider.
func (p *Provider) Name() string { return p.o.Name }

// Begin returns where to send the browser; redirect is where it comes back to. What is pending must be kept from everybody else.
func (p *Provider) Begin(ctx context.Context, redirect string) (address, state string, err error) {
	config, err := p.config(ctx, redirect)
	if err != nil {
		return "", "", err
	}
	begun := pending{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	text, err := json.Marshal(begun)
	return config.AuthCodeURL(begun.State, oidc.Nonce(begun.Nonce), oauth2.S256ChallengeOption(begun.Verifier)), string(text), err
}

// Finish is who has come back with a code in the answer. access.ErrSignIn when the provider vouches for nobody who may sign in; access.ErrUnreachable
// while it does not answer.
func (p *Provider) Finish(ctx context.Context, redirect string, answer url.Values, state string) (access.Identity, error) {
	var begun pending
	if err := json.Unmarshal([]byte(state), &begun); err != nil {
		return access.Identity{}, fmt.Errorf("a sign-in that has begun: %w", err)
	}
	if answer.Get("error") != "" {
		return access.Identity{}, fmt.Errorf("the identity provider has not signed you in: %w", access.ErrSignIn)
	}
	if given := answer.Get("state"); given == "" || given != begun.State {
		return access.Identity{}, fmt.Errorf("the answer belongs to another sign-in: %w", access.ErrSignIn)
	}
	config, err := p.config(ctx, redirect)
	if err != nil {
		return access.Identity{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	token, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(begun.Verifier))
	if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refusal.Response.StatusCode < 500 {
		return access.Identity{}, fmt.Errorf("the provider does not accept the code: %w", access.ErrSignIn)
	}
	if err != nil {
		return access.Identity{}, fmt.Errorf("%s: %w", p.o.Name, access.ErrUnreachable)
	}
	text, _ := token.Extra("id_token").(string)
	verifier := p.provider().VerifierContext(ctx, &oidc.Config{ClientID: p.o.ClientID, SupportedSigningAlgs: algorithms, Now: p.o.Now})
	verified, err := verifier.Verify(ctx, text)
	if err != nil || verified.Nonce != begun.Nonce || verified.Subject == "" || strings.ContainsRune(verified.Subject, 0) {
		return access.Identity{}, fmt.Errorf("the provider's token does not fit: %w", access.ErrSignIn)
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return access.Identity{}, fmt.Errorf("the provider's token cannot be read: %w", access.ErrSignIn)
	}
	return p.identity(verified.Issuer, verified.Subject, claims)
}

func (p *Provider) identity(issuer, subject string, claims map[string]any) (access.Identity, error) {
	mail, _ := claims["email"].(string)
	if len(p.o.Domains) > 0 {
		_, domain, _ := strings.Cut(mail, "@")
		verified, _ := claims["email_verified"].(bool)
		if !verified || !slices.ContainsFunc(p.o.Domains, func(d string) bool { return strings.EqualFold(d, domain) }) {
			return access.Identity{}, fmt.Errorf("your mail address is not of a domain that may, or not verified: %w", access.ErrSignIn)
		}
	}
	name, _ := claims[p.o.NameClaim].(string)
	if p.o.NameClaim == "" {
		if name, _ = claims["preferred_username"].(string); name == "" {
			name = mail
		}
	}
	out := access.Identity{Provider: p.o.Name, Issuer: issuer, Subject: subject, Name: name}
	for _, m := range p.o.Mapping {
		r := access.Condition{Claim: m.Claim, Matches: m.Value}
		if r.Holds(claims) {
			out.Grants = append(out.Grants, m.Grant)
		}
	}
	return out, nil
}

// Logout is where to send a browser that has logged out here, so that the provider forgets it too, and back; empty when the provider
// has no such place.
func (p *Provider) Logout(ctx context.Context, back string) string {
	if _, err := p.config(ctx, ""); err != nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u, err := url.Parse(p.end)
	if p.end == "" || err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.o.ClientID)
	q.Set("post_logout_redirect_uri", back)
	u.RawQuery = q.Encode()
	return u.String()
}

func (p *Provider) provider() *oidc.Provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found
}

// config discovers the endpoints, again once in an hour. What was found before does while the provider is silent.
func (p *Provider) config(ctx context.Context, redirect string) (*oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := p.o.Now().Sub(p.read)
	if p.found == nil && p.err != nil && age < tryAgain {
		return nil, p.err
	}
	if p.found == nil || age > keysFor {
		p.discover(ctx)
	}
	if p.found == nil {
		return nil, p.err
	}
	return &oauth2.Config{
		ClientID: p.o.ClientID, ClientSecret: p.o.ClientSecret, Endpoint: p.found.Endpoint(), RedirectURL: redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.o.Scopes...),
	}, nil
}

// discover asks the provider for its configuration. The caller holds mu.
func (p *Provider) discover(ctx context.Context) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.WithoutCancel(ctx), p.client), askTimeout)
	defer cancel()
	found, err := oidc.NewProvider(ctx, p.o.Issuer)
	p.read = p.o.Now()
	if err != nil {
		p.err = fmt.Errorf("%s: %w: %w", p.o.Name, access.ErrUnreachable, err)
		return
	}
	var more struct {
		End string `json:"end_session_endpoint"`
	}
	_ = found.Claims(&more) // optional
	p.found, p.end, p.err = found, more.End, nil
}

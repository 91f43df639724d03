package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/access/oidc"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/serve/signin"
)

// caller is who asks the API: through the local socket the operator, else who the login in the request says, or the browser's session.
func (s *server) caller(r *http.Request, local bool) (api.Caller, error) {
	caller := api.Caller{Local: local}
	if info := serve.FromContext(r.Context()); info != nil {
		caller.RequestID, caller.Address = info.ID, info.Client
	}
	if local {
		caller.Principal = access.Local()
		return caller, nil
	}
	ctx, _, err := s.gate.Authenticate(r)
	caller.Principal = access.PrincipalFrom(ctx)
	if err != nil || r.Header.Get("Authorization") != "" {
		return caller, err
	}
	if caller.Principal, err = s.session.Principal(r); err == nil {
		err = s.rates.Principal(caller.Principal, time.Now())
	}
	return caller, err
}

// providers are what people sign in with. Their addresses are the operator's, so that they may be in the operator's networks.
func providers(c config.Config) ([]signin.Provider, error) {
	c.Upstream.AllowPrivateNetworks = true
	client := outward(c)
	var out []signin.Provider
	for _, p := range c.Auth.Providers {
		secret := ""
		switch {
		case p.ClientSecretFile != "":
			text, err := os.ReadFile(p.ClientSecretFile)
			if err != nil {
				return nil, fmt.Errorf("auth.providers: %s: client_secret_file: %w", p.Name, err)
			}
			secret = strings.TrimSpace(string(text))
		case p.ClientSecretEnv != "":
			if secret = os.Getenv(p.ClientSecretEnv); secret == "" {
				return nil, fmt.Errorf("auth.providers: %s: client_secret_env names %s, but that variable is empty", p.Name, p.ClientSecretEnv)
			}
		}
		o := oidc.ProviderOptions{
			Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: secret, Scopes: p.Scopes, NameClaim: p.NameClaim,
			Domains: p.Domains, Client: client,
		}
		for _, m := range p.Mapping {
			o.Mapping = append(o.Mapping, oidc.Mapping{
				Claim: m.Claim, Value: m.Value, Grant: access.Mapped{Group: m.Group, Path: m.Path, Role: access.Role(m.Role)},
			})
		}
		out = append(out, oidc.NewProvider(o))
	}
	return out, nil
}

// outward is a client for addresses that tenants name, other than upstreams: the issuers of their workloads' tokens. It keeps to the same
// networks.
func outward(c config.Config) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, ControlContext: upstream.Guard(c.Upstream.AllowPrivateNetworks)}
	return &http.Client{Transport: &http.Transport{
		Proxy: nil, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, MaxIdleConns: 16, IdleConnTimeout: 90 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}}
}

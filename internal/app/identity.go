package app

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/api"
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

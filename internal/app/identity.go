package app

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

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

package token

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve"
)

// The realm is where clients send passwords.
func TestRealmIsNeverSomebodyElses(t *testing.T) {
	configured := []string{"https://registry.acme.test", "https://inner.acme.test:8443/"}
	arrived := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 5000}
	for _, tc := range []struct {
		name     string
		external []string
		listen   string
		host     string
		tls      bool
		want     string
	}{
		{"configured", configured, "", "registry.acme.test", true, "https://registry.acme.test/token"},
		{"configured, second", configured, "", "inner.acme.test:8443", true, "https://inner.acme.test:8443/token"},
		{"configured, in capitals", configured, "", "Inner.ACME.test:8443", true, "https://inner.acme.test:8443/token"},
		{"configured, evil host", configured, "", "evil.test", true, "https://registry.acme.test/token"},
		{"configured, loopback", configured, "", "127.0.0.1:5000", false, "https://registry.acme.test/token"},
		{"configured, bound", configured, "", "docker.test", true, "https://registry.acme.test/token"},
		{"loopback", nil, ":5000", "127.0.0.1:5000", false, "http://127.0.0.1:5000/token"},
		{"loopback name", nil, ":5000", "localhost:5000", false, "http://localhost:5000/token"},
		{"loopback v6", nil, ":5000", "[::1]:5000", true, "https://[::1]:5000/token"},
		{"loopback mapped", nil, ":5000", "[::ffff:127.0.0.1]:5000", false, "http://[::ffff:127.0.0.1]:5000/token"},
		{"listen address", nil, "weir.internal:5000", "weir.internal:5000", false, "http://weir.internal:5000/token"},
		{"arrival address", nil, ":5000", "10.1.2.3:5000", false, "http://10.1.2.3:5000/token"},
		{"other address", nil, ":5000", "10.1.2.4:5000", false, ""},
		{"other port", nil, ":5000", "10.1.2.3:6000", false, ""},
		{"bound", nil, ":5000", "docker.test", true, "https://docker.test/token"},
		{"evil", nil, ":5000", "evil.test", false, ""},
		{"looks like loopback", nil, ":5000", "127.0.0.1.evil.test", false, ""},
		{"looks like localhost", nil, ":5000", "localhost.evil.test", false, ""},
		{"looks like bound", nil, ":5000", "docker.test.evil.test", false, ""},
		{"userinfo", nil, ":5000", "localhost@evil.test", false, ""},
		{"quotes", nil, ":5000", `localhost",realm="http://evil.test`, false, ""},
		{"path", nil, ":5000", "localhost/evil", false, ""},
		{"empty", nil, ":5000", "", false, ""},
	} {
		g := New(Options{Doors: doors{}, ExternalURLs: tc.external, Listen: tc.listen})
		r := httptest.NewRequest(http.MethodGet, "http://placeholder/v2/", nil)
		r.Host = tc.host
		if tc.tls {
			r.TLS = &tls.ConnectionState{}
		}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(arrived)))
		got := g.Challenge(r, "repository:a/b:pull", nil)
		if tc.want == "" {
			if got != `Basic realm="weir"` {
				t.Errorf("%s: %s", tc.name, got)
			}
			continue
		}
		want := `Bearer realm="` + tc.want + `",service="` + strings.ToLower(tc.host) + `",scope="repository:a/b:pull"`
		if got != want {
			t.Errorf("%s:\n%s\n%s", tc.name, got, want)
		}
	}
}

// Forwarding headers count only from a trusted proxy, and even then the host they name must be known.
func TestRealmBehindProxies(t *testing.T) {
	g := New(Options{Doors: doors{}, Listen: ":5000"})
	for _, tc := range []struct{ peer, forwarded, want string }{
		{"10.0.0.1:1", "docker.test", `Bearer realm="https://docker.test/token",service="docker.test"`},
		{"10.0.0.1:1", "evil.test", `Basic realm="weir"`},
		{"192.0.2.1:1", "docker.test", `Basic realm="weir"`},
	} {
		var got string
		h := serve.NewFront(serve.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}).
			Handle("x", func(_ http.ResponseWriter, r *http.Request) error { got = g.Challenge(r, "", nil); return nil })
		r := httptest.NewRequest(http.MethodGet, "http://weir.internal/v2/", nil)
		r.RemoteAddr = tc.peer
		r.Header.Set("X-Forwarded-Host", tc.forwarded)
		r.Header.Set("X-Forwarded-Proto", "https")
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

func TestChallengeSaysWhatWasWrong(t *testing.T) {
	g := New(Options{Doors: doors{}, ExternalURLs: []string{"https://weir.test"}})
	r := httptest.NewRequest(http.MethodGet, "https://weir.test/v2/", nil)
	for want, cause := range map[string]error{
		`,error="invalid_token"`:      oci.NewError(oci.CodeUnauthorized, "x").WithCause(access.ErrInvalidToken),
		`,error="insufficient_scope"`: oci.NewError(oci.CodeUnauthorized, "x").WithCause(access.ErrInsufficientScope),
	} {
		if got := g.Challenge(r, "", cause); got != `Bearer realm="https://weir.test/token",service="weir.test"`+want {
			t.Error(got)
		}
	}
	if got := g.Challenge(r, "repository:a\"\r\nX: y:pull", nil); strings.ContainsAny(got, "\r\n") || !strings.Contains(got, `a\"X: y`) {
		t.Error(got)
	}
}

package token

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/serve"
)

// path of the token endpoint.
const path = "/token"

// realms decides which URL a challenge sends clients to with their passwords. It must never be one that somebody else
// chose, so a Host header counts only if it can be known to be ours:
//
//  1. With external URLs configured it is the one whose host the client used, else the first of them.
//  2. Without any, the client's own host if it is a loopback name or address, the configured listen address, the address
//     that the connection arrived at, or a bound host name.
//  3. Otherwise there is none: the challenge is Basic, which sends the password nowhere but here.
type realms struct {
	external []*url.URL
	listen   string
}

func newRealms(external []string, listen string) realms {
	r := realms{listen: lowerHost(listen)}
	for _, text := range external {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			r.external = append(r.external, &url.URL{Scheme: u.Scheme, Host: lowerHost(u.Host)})
		}
	}
	return r
}

// of returns the URL for a client at host, or "".
func (r realms) of(scheme, host string, bound bool, arrived net.Addr) string {
	if len(r.external) > 0 {
		best := r.external[0]
		for _, u := range r.external {
			if u.Host == host {
				best = u
				break
			}
		}
		return best.String() + path
	}
	if validHost(host) && (bound || loopback(host) || host == r.listen || atAddress(host, arrived)) {
		return scheme + "://" + host + path
	}
	return ""
}

// Challenge is the WWW-Authenticate value of a 401 (RFC 6750, section 3; Docker's token authentication). scope is in the
// words of the client's door, empty for a bare login. cause is the error behind the 401, if any: it may name what was wrong
// with a bearer token.
func (g *Gate) Challenge(r *http.Request, scope string, cause error) string {
	host, client := origin(r)
	scheme := "http"
	if info := serve.FromContext(r.Context()); info != nil {
		scheme = info.Scheme
	} else if r.TLS != nil {
		scheme = "https"
	}
	door, err := g.doors.Door(r.Context(), host, client)
	if err != nil {
		door = Door{} // the 401 must go out; without the binding the realm is at worst missing
	}
	arrived, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	realm := g.realms.of(scheme, host, door.Bound, arrived)
	if realm == "" {
		g.warn(host)
		return basicChallenge
	}
	value := `Bearer realm=` + quote(realm)
	if validHost(host) {
		value += `,service=` + quote(host)
	}
	if scope != "" {
		value += `,scope=` + quote(scope)
	}
	if why := challengeError(cause); why != "" {
		value += `,error=` + quote(why)
	}
	return value
}

// basicChallenge asks for the password with each request, and nowhere else.
const basicChallenge = `Basic realm="weir"`

// warn tells the operator, now and then, why clients cannot log in with bearer tokens.
func (g *Gate) warn(host string) {
	now, last := time.Now().Unix(), g.warned.Load()
	if now-last >= 60 && g.warned.CompareAndSwap(last, now) {
		g.log.Warn("clients use a host name that is not known to be ours: set external_urls, or they cannot get tokens", "host", host)
	}
}

// quote makes a quoted-string (RFC 9110, section 5.6.4), and drops what may not stand in a header.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func lowerHost(host string) string { return strings.ToLower(host) }

// hostname takes the port off, if there is one.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

func loopback(host string) bool {
	name := hostname(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761: always this machine
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Unmap().IsLoopback()
}

// atAddress reports whether host is the very address and port that the connection arrived at.
func atAddress(host string, arrived net.Addr) bool {
	tcp, ok := arrived.(*net.TCPAddr)
	if !ok {
		return false
	}
	want, err := netip.ParseAddrPort(host)
	if err != nil {
		a, err := netip.ParseAddr(hostname(host))
		if err != nil || (tcp.Port != 80 && tcp.Port != 443) {
			return false
		}
		want = netip.AddrPortFrom(a, uint16(tcp.Port))
	}
	got := tcp.AddrPort()
	return want.Addr().Unmap() == got.Addr().Unmap() && want.Port() == got.Port()
}

// validHost lets host names and addresses with an optional port through.
func validHost(host string) bool {
	if host == "" || len(host) > 255 {
		return false
	}
	for i := range len(host) {
		c := host[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == ':', c == '[', c == ']', c == '_':
		default:
			return false
		}
	}
	return true
}

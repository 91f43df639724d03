package serve

import (
	"net/http"
	"net/netip"
	"strings"
)

func (f *Front) trusts(peer netip.Addr) bool {
	if !peer.IsValid() {
		return false
	}
	for _, p := range f.trusted {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// believe takes over what the trusted proxy in front of us says. Of lists, the last entry is the one that this proxy wrote
// itself; what stands before it may come from anybody. The client is the last address that is not a trusted proxy.
func (f *Front) believe(i *Info, h http.Header) {
	if id := h.Get("X-Request-Id"); validRequestID(id) {
		i.ID = id
	}
	if proto := strings.ToLower(last(h, "X-Forwarded-Proto")); proto == "http" || proto == "https" {
		i.Scheme = proto
	}
	if host := last(h, "X-Forwarded-Host"); validHost(host) {
		i.Host = host
	}
	hops := list(h, "X-Forwarded-For")
	for n := len(hops) - 1; n >= 0; n-- {
		addr, err := parseHop(hops[n])
		if err != nil {
			return
		}
		i.Client = addr
		if !f.trusts(addr) {
			return
		}
	}
}

// parseHop reads "192.0.2.1", "192.0.2.1:4711", "2001:db8::1" and "[2001:db8::1]:4711".
func parseHop(s string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap(), nil
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr().Unmap(), err
}

func list(h http.Header, name string) []string {
	var out []string
	for _, line := range h.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			out = append(out, strings.TrimSpace(part))
		}
	}
	return out
}

func last(h http.Header, name string) string {
	all := list(h, name)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// validHost keeps anything out that would be dangerous in a Location header.
func validHost(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return true
}

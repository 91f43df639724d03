package serve

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/weir-registry/weir/internal/event"
)

// Info is what the Front knows about a request, and what doors add for its access line. Methods work on a nil Info.
type Info struct {
	ID     string     // request id
	Scheme string     // "http" or "https", as the client sees it
	Host   string     // as the client sees it, with port if not the default; not to be trusted for realms
	Client netip.Addr // of the client; invalid on a unix socket
	// Address is Client as text, empty on a unix socket.
	Address string
	// Forwarded says that a proxy showed, trusted or not: the client may be anywhere.
	Forwarded bool

	mu        sync.Mutex
	principal string
	operation string
	reference string
	path      string
	group     string
	actor     event.Actor    // account, kind and token
	refusal   *event.Refusal // nil for most
	err       error
}

type infoKey struct{}

// FromContext returns the request's Info, or nil outside a Front.
func FromContext(ctx context.Context) *Info {
	i, _ := ctx.Value(infoKey{}).(*Info)
	return i
}

// SetPrincipal records who asks. It must be a name, never a credential.
func (i *Info) SetPrincipal(name string) { i.set(func() { i.principal = name }) }

// SetOperation records what is asked, from a small fixed set: it becomes a metric label.
func (i *Info) SetOperation(name string) { i.set(func() { i.operation = name }) }

// SetReference records the tag or digest asked for.
func (i *Info) SetReference(ref string) { i.set(func() { i.reference = ref }) }

// SetAccount records who asks for the audit trail: by numbers, for names are forgotten when people are.
func (i *Info) SetAccount(id int64, kind string, token int64) {
	i.set(func() { i.actor = event.Actor{ID: id, Kind: kind, TokenID: token} })
}

// SetPath records what grants must cover: "<group>/<…>".
func (i *Info) SetPath(path string) { i.set(func() { i.path = path }) }

// SetGroup records the group that a request is about, for a door that has no trace of it.
func (i *Info) SetGroup(name string) { i.set(func() { i.group = name }) }

// Refuse tells the audit trail why a request is turned away, for a door that answers errors itself.
func (i *Info) Refuse(r event.Refusal) { i.set(func() { i.refusal = &r }) }

// Fail notes why a request fails, for a handler that tells its client by itself.
func (i *Info) Fail(err error) { i.fail(err) }

func (i *Info) fail(err error) { i.set(func() { i.err = err }) }

func (i *Info) set(change func()) {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

const maxRequestID = 64

// identify works out who is on the other end, believing forwarding headers from trusted proxies only.
func (f *Front) identify(i *Info, r *http.Request, c *connection) {
	i.Scheme, i.Host, i.Forwarded = "http", r.Host, forwarded(r)
	if r.TLS != nil {
		i.Scheme = "https"
	}
	i.Client, i.Address = peer(c, r)
	if f.trusts(i.Client) {
		f.believe(i, r.Header)
		i.Address = text(i.Client)
	}
	if i.ID == "" {
		i.ID = rand.Text()
	}
}

// peer is the address at the other end of the connection, as read when it was opened if c is not nil.
func peer(c *connection, r *http.Request) (netip.Addr, string) {
	if c != nil {
		return c.peer, c.address
	}
	p, _ := netip.ParseAddrPort(r.RemoteAddr) // none on a unix socket
	return p.Addr().Unmap(), text(p.Addr().Unmap())
}

// text is an address as it stands in logs, empty for none.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// forwarded reports whether something in front of us shows, even if it tells nothing. No client of a registry speaks HTTP/1.0;
// nginx does unless it is told otherwise, and then it also puts our own address into Host and adds no header at all.
func forwarded(r *http.Request) bool {
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		return true
	}
	for name := range r.Header {
		switch name {
		case "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip":
			return true
		}
		if strings.HasPrefix(name, "X-Forwarded") {
			return true
		}
	}
	return false
}

func validRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

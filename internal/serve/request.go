package serve

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/netip"
	"sync"
)

// Info is what the Front knows about a request, and what doors add for its access line. Methods work on a nil Info.
type Info struct {
	ID     string     // request id
	Scheme string     // "http" or "https", as the client sees it
	Host   string     // as the client sees it, with port if not the default; not to be trusted for realms
	Client netip.Addr // of the client; invalid on a unix socket
	// Forwarded says that forwarding headers were present, trusted or not: somebody else may be in front of us.
	Forwarded bool

	mu        sync.Mutex
	principal string
	operation string
	reference string
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
func (f *Front) identify(r *http.Request) *Info {
	i := &Info{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		i.Scheme = "https"
	}
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		i.Forwarded = i.Forwarded || r.Header.Get(h) != ""
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		i.Client = peer.Addr().Unmap()
	}
	if f.trusts(i.Client) {
		f.believe(i, r.Header)
	}
	if i.ID == "" {
		i.ID = rand.Text()
	}
	return i
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

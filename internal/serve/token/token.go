// Package token is the login of registry clients: Docker's token endpoint (GET and POST /token), the challenge that sends
// clients to it, and the gate that reads what they bring back. The other doors of package serve ask the Gate.
//
// Scopes are names as the client writes them at its door, so they are resolved like the request they are for; the token that
// goes out holds full paths. A scope that may not be granted is left out, which is how the protocol says no (Docker Registry
// token authentication specification).
package token

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve"
)

// Doors knows where host names lead. Package registry/namespace has the answers.
type Doors interface {
	// Door tells what is known of a host, lower case and with port if it has one.
	Door(ctx context.Context, host string, client netip.Addr) (Door, error)
	// Place turns a repository name, as a client at host writes it, into the path that grants cover. It must not depend on
	// whether anything exists there. An empty path is a name that leads nowhere.
	Place(ctx context.Context, host, name string) (Place, error)
}

// Door is a host name.
type Door struct {
	Bound  bool // an operator has bound it to a prefix
	Mirror bool // as a mirror: logins meant for somebody else are ignored
}

// Place is where a name leads.
type Place struct {
	Path   string // "<group>/<…>"
	Public bool   // anybody may pull there
}

// Access is what the Gate needs of access.Directory.
type Access interface {
	Authenticate(ctx context.Context, c access.Credentials) (access.Principal, error)
	Login(ctx context.Context, name, password string, c access.Credentials) (access.Principal, error)
	Refresh(ctx context.Context, text string) (access.Principal, error)
	Check(ctx context.Context, p access.Principal, r access.Request) (access.Decision, error)
	IssueBearer(ctx context.Context, p access.Principal, scopes []access.Scope) (access.Issued, error)
	IssueRefresh(ctx context.Context, p access.Principal) (access.Issued, error)
	Exchange(ctx context.Context, rule, token string, c access.Credentials, scopes func(access.Principal) ([]access.Scope, error)) (access.Principal, access.Issued, error)
}

// Options configure a Gate.
type Options struct {
	Access       Access
	Doors        Doors
	ExternalURLs []string      // configured, the preferred one first
	Listen       string        // address of the listener
	Rates        *access.Rates // bounds of requests; nil for none
	Metrics      Metrics       // nil for none
	Log          *slog.Logger
}

// Metrics counts refusals. Calls must not block.
type Metrics interface {
	Denied(action string)
}

type noMetrics struct{}

func (noMetrics) Denied(string) {}

// Gate authenticates and authorises requests, and answers /token.
type Gate struct {
	access  Access
	doors   Doors
	realms  realms
	rates   *access.Rates
	metrics Metrics
	log     *slog.Logger
	warned  atomic.Int64 // when a missing realm was last logged, in Unix seconds
}

// New returns a Gate. Mount its Serve at "/token" through serve.Front.Handle("token", …).
func New(o Options) *Gate {
	g := &Gate{access: o.Access, doors: o.Doors, realms: newRealms(o.ExternalURLs, o.Listen), rates: o.Rates, metrics: o.Metrics, log: o.Log}
	if g.metrics == nil {
		g.metrics = noMetrics{}
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	return g
}

// Authenticate finds out who sends r. No credentials are nobody, without an error. The context carries the principal for
// Authorize and for guards below. Errors: UNAUTHORIZED, TOOMANYREQUESTS, UNAVAILABLE.
func (g *Gate) Authenticate(r *http.Request) (context.Context, registry.Caller, error) {
	p, err := g.principal(r)
	if err != nil {
		return r.Context(), registry.Caller{}, err
	}
	caller := registry.Caller{PrincipalID: p.ID, Principal: p.Name, Accepted: p.Bearer || !p.IsAnonymous()}
	if info := serve.FromContext(r.Context()); info != nil {
		caller.Address, caller.RequestID = info.Address, info.ID
		info.SetAccount(p.ID, string(p.Kind), p.TokenID)
	}
	return access.WithPrincipal(r.Context(), p), caller, nil
}

func (g *Gate) principal(r *http.Request) (access.Principal, error) {
	header := r.Header.Get("Authorization")
	if g.rates == nil && header == "" {
		return access.Nobody(), nil
	}
	host, client := origin(r)
	if err := g.rates.Address(client, time.Now()); err != nil {
		return access.Principal{}, err
	}
	if header == "" {
		return access.Nobody(), nil
	}
	door, err := g.doors.Door(r.Context(), host, client)
	if err != nil {
		return access.Principal{}, err
	}
	c := access.Credentials{Authorization: header, Address: client, Mirror: door.Mirror, RequestID: requestID(r)}
	p, err := g.access.Authenticate(r.Context(), c)
	if err == nil {
		if err = g.rates.Principal(p, time.Now()); err != nil { // the trail is to know who it was
			serve.FromContext(r.Context()).SetAccount(p.ID, string(p.Kind), p.TokenID)
		}
	}
	return p, err
}

// Authorize returns nil if the request's principal may, else UNAUTHORIZED, which needs a challenge, or DENIED. It knows
// nothing of what exists.
func (g *Gate) Authorize(ctx context.Context, request access.Request) error {
	d, err := g.access.Check(ctx, access.PrincipalFrom(ctx), request)
	if err != nil {
		return err
	}
	if !d.Allowed {
		g.metrics.Denied(string(request.Action))
	}
	return d.Err()
}

// origin is the host as the client sees it, and its address.
func origin(r *http.Request) (host string, client netip.Addr) {
	if info := serve.FromContext(r.Context()); info != nil {
		return lowerHost(info.Host), info.Client
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		client = peer.Addr().Unmap()
	}
	return lowerHost(r.Host), client
}

package app

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/distribution"
	"github.com/weir-registry/weir/internal/serve/token"
)

// doors tells the doors in package serve what the namespace and the gate know, each in the words of its own interface.
type doors struct {
	table   *namespace.Table
	private bool // the server listens on loopback alone
}

// Resolve implements distribution.Namespace.
func (d *doors) Resolve(ctx context.Context, door distribution.Door) (distribution.Target, error) {
	t, err := d.table.Lookup(namespace.Request{Host: door.Host, NS: door.NS, Name: door.Name, Client: client(ctx)})
	if err != nil {
		return distribution.Target{Path: door.Name}, err
	}
	target := distribution.Target{
		Path: t.Path, Group: t.Group, Name: t.Local, Registry: t.Registry, Anonymous: d.anyoneMayPull(ctx, t.Anonymous),
	}
	if t.Kind == namespace.KindVirtual {
		target.Virtual = t.Name
	}
	if t.NS == "" {
		return target, nil
	}
	v, ok := t.Registry.(*virtual.Registry)
	if !ok {
		// The client wants what another registry calls by this name. Hosted repositories are nobody else's.
		return target, oci.NewError(oci.CodeNameUnknown, "no upstream of a registry here serves "+t.NS)
	}
	target.Registry = v.Narrow(t.NS)
	return target, nil
}

// anyoneMayPull decides on anonymous pulls. "Loopback" is the registry of the first start: open as long as nobody but this
// machine can be asking, so not when the listener is reachable, and not when something in front of us forwards requests.
func (d *doors) anyoneMayPull(ctx context.Context, a namespace.Anonymous) bool {
	switch a {
	case namespace.AnonymousYes:
		return true
	case namespace.AnonymousLoopback:
		info := serve.FromContext(ctx)
		return d.private && info != nil && !info.Forwarded && isLoopbackHost(info.Host)
	}
	return false
}

// Repositories implements distribution.Namespace.
func (d *doors) Repositories(ctx context.Context, page registry.Page) (*registry.RepositoryList, error) {
	groups := slices.Clone(d.table.Current().Groups())
	// In byte order of the full names, "a-b/x" comes before "a/x": '-' sorts before '/'.
	slices.SortFunc(groups, func(a, b namespace.Group) int { return strings.Compare(a.Name+"/", b.Name+"/") })
	list := &registry.RepositoryList{}
	for _, g := range groups {
		prefix := g.Name + "/"
		after, within := strings.CutPrefix(page.Last, prefix)
		if !within && page.Last > prefix {
			continue
		}
		if !within {
			after = ""
		}
		part, err := g.Hosted.Repositories(ctx, registry.Page{N: page.N - len(list.Repositories), Last: after})
		if err != nil {
			return nil, err
		}
		for _, r := range part.Repositories {
			list.Repositories = append(list.Repositories, prefix+r)
		}
		if part.More || len(list.Repositories) >= page.N {
			list.More = true // perhaps only empty groups follow; then the next page is empty
			return list, nil
		}
	}
	return list, nil
}

// Door implements token.Doors.
func (d *doors) Door(_ context.Context, host string, client netip.Addr) (token.Door, error) {
	b, ok := d.table.Current().Binding(host)
	if !ok || !b.Admits(client) {
		return token.Door{}, nil
	}
	return token.Door{Bound: true, Mirror: b.Mirror}, nil
}

// public reports whether anybody may pull at a path, wherever the question comes from.
func (d *doors) public(ctx context.Context, path string) bool {
	t, err := d.table.Lookup(namespace.Request{Name: path, Client: client(ctx)})
	return err == nil && d.anyoneMayPull(ctx, t.Anonymous)
}

// Place implements token.Doors.
func (d *doors) Place(ctx context.Context, host, name string) (token.Place, error) {
	t, err := d.table.Lookup(namespace.Request{Host: host, Name: name, Client: client(ctx)})
	if err != nil {
		return token.Place{}, nil //nolint:nilerr // not a name: nothing can be granted on it
	}
	return token.Place{Path: t.Path, Public: d.anyoneMayPull(ctx, t.Anonymous)}, nil
}

func client(ctx context.Context) netip.Addr {
	if info := serve.FromContext(ctx); info != nil {
		return info.Client
	}
	return netip.Addr{}
}

func isLoopbackHost(host string) bool {
	name := host
	if a, err := netip.ParseAddrPort(host); err == nil {
		return a.Addr().IsLoopback()
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		name = host[:i]
	}
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return a.IsLoopback()
	}
	return name == "localhost"
}

// gate is the token gate in the words of the distribution door.
type gate struct{ *token.Gate }

// Authenticate implements distribution.Access. Changes below are written for the caller.
func (g gate) Authenticate(r *http.Request) (context.Context, registry.Caller, error) {
	ctx, caller, err := g.Gate.Authenticate(r)
	if err != nil {
		return ctx, caller, err
	}
	return event.WithActor(ctx, actor(access.PrincipalFrom(ctx), caller.Address, caller.RequestID)), caller, nil
}

// actor is a principal in the words of events.
func actor(p access.Principal, address, requestID string) event.Actor {
	return event.Actor{ID: p.ID, Kind: string(p.Kind), TokenID: p.TokenID, Address: address, RequestID: requestID}
}

// Authorize implements distribution.Access.
func (g gate) Authorize(ctx context.Context, action distribution.Action, t distribution.Target) error {
	return g.Gate.Authorize(ctx, access.Request{Action: access.Action(action), Path: t.Path, Public: t.Anonymous})
}

// ForPush implements distribution.Access.
func (g gate) ForPush(ctx context.Context, t distribution.Target) bool {
	p := access.PrincipalFrom(ctx)
	return p.Bearer && p.Ceiling != nil && p.Ceiling.Allows(access.Push, t.Path)
}

// Challenge implements distribution.Access.
func (g gate) Challenge(r *http.Request, scope string, cause error) string {
	return g.Gate.Challenge(r, scope, cause)
}

// mayPull is the guard of local members.
func (g gate) mayPull(ctx context.Context, path string, public bool) error {
	ctx = access.WithPrincipal(ctx, access.PrincipalFrom(ctx).Behind())
	return g.Gate.Authorize(ctx, access.Request{Action: access.Pull, Path: path, Public: public})
}

var (
	_ distribution.Namespace = (*doors)(nil)
	_ distribution.Access    = gate{}
	_ token.Doors            = (*doors)(nil)
)

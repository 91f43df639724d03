package content

import (
	"context"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/assemble"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/meta"
)

// finder knows what of one group's content a caller may know about, for one request: what he could pull, by the grants on the
// names that lead to it and by the rules of the registries. Who may configure the group also sees what is cached and no
// registry gives him, since it is his to purge.
type finder struct {
	*Desk
	ctx       context.Context //nolint:containedctx // of the one request
	caller    api.Caller
	group     *assemble.Group
	upstreams map[int64]*searched
	views     bool // the caller may view the group
	all       bool // the caller may configure it

	err error // of a look at the grants or the store: what was decided meanwhile does not count
}

// searched is an upstream as a search sees it.
type searched struct {
	meta.Upstream

	fresh      cache.Freshness
	registries []string // that have it as a member, and are on
}

// finder returns nil for a group that does not exist and for one of which the caller may know nothing.
func (desk *Desk) finder(ctx context.Context, caller api.Caller, group string) (*finder, error) {
	g := desk.Group(group)
	if g == nil {
		return nil, nil //nolint:nilnil // no group is no error
	}
	f := &finder{
		Desk: desk, ctx: access.WithPrincipal(ctx, caller.Principal), caller: caller, group: g, upstreams: map[int64]*searched{},
	}
	f.views, f.all = f.may(access.View, group), f.may(access.Configure, group)
	inside := f.inside()
	if f.err != nil || !inside {
		return nil, f.err
	}
	return f, f.read()
}

// read gathers what the group's definitions say.
func (f *finder) read() error {
	for _, u := range f.group.Upstreams {
		fresh, err := cache.ParseFreshness(u.Freshness)
		if err != nil {
			return err
		}
		f.upstreams[u.ID] = &searched{Upstream: u, fresh: fresh}
	}
	for _, r := range f.group.Registries {
		for _, m := range r.Members {
			if u := f.upstreams[m.UpstreamID]; u != nil && f.group.Enabled && r.Enabled && m.Enabled {
				u.registries = append(u.registries, r.Name)
			}
		}
	}
	return nil
}

// inside reports whether the caller may know that the group exists: he may view it, has a grant somewhere in it, or anybody may
// pull from a part of it.
func (f *finder) inside() bool {
	if f.views {
		return true
	}
	for _, r := range f.group.Registries {
		if r.Enabled && f.mayPull(f.group.Name+"/"+r.Name+"/x") {
			return true
		}
	}
	for _, p := range f.group.HostedPrefixes {
		if p.AnonymousPull {
			return true
		}
	}
	grants, err := f.Directory.Grants(f.ctx, f.group.ID)
	if err != nil {
		f.err = err
	}
	for _, g := range grants {
		if g.AccountID == f.caller.ID && f.caller.ID != 0 {
			return true
		}
	}
	return false
}

func (f *finder) may(action access.Action, path string) bool {
	if f.caller.Local {
		return true
	}
	d, err := f.Directory.Check(f.ctx, f.caller.Principal, access.Request{Action: action, Path: path})
	if err != nil {
		f.err = err
	}
	return err == nil && d.Allowed
}

func (f *finder) mayPull(path string) bool {
	if f.caller.Local {
		return true
	}
	t, err := f.Table.Lookup(namespace.Request{Name: path})
	if err != nil {
		return false // a name that nobody can pull
	}
	d, err := f.Directory.Check(f.ctx, f.caller.Principal, access.Request{Action: access.Pull, Path: path, Public: f.public(t)})
	if err != nil {
		f.err = err
	}
	return err == nil && d.Allowed
}

// paths are the names by which the caller may pull a reference of a repository, or with the zero reference something of it: one for
// a hosted repository, and for a cached one those in registries that its upstream is a member of.
func (f *finder) paths(in store.FoundIn, ref oci.Reference) (paths []string) {
	if in.UpstreamID == 0 {
		if path := f.group.Name + "/" + in.Name; f.mayPull(path) {
			return []string{path}
		}
		return nil
	}
	u := f.upstreams[in.UpstreamID]
	if u == nil || u.Epoch != in.Epoch {
		return nil
	}
	for _, registry := range u.registries {
		path := f.group.Name + "/" + registry + "/" + in.Name
		if f.mayPull(path) && f.passes(registry, u.Name, in.Name, ref) {
			paths = append(paths, path)
		}
	}
	return paths
}

func (f *finder) passes(registry, upstream, repository string, ref oci.Reference) bool {
	v := f.group.Virtual[registry]
	if v == nil {
		return false
	}
	ok, err := v.Passes(f.ctx, upstream, repository, ref)
	if err != nil {
		f.err = err
	}
	return ok && err == nil
}

// off is the answer about what is cached while the group has its virtual registries turned off, for who may know that; else nil.
func (f *finder) off() error {
	if f.group.Enabled || !f.views {
		return nil
	}
	return api.TurnedOff()
}

// sees reports whether the caller may know of a reference of a repository; of the repository itself with the zero reference.
func (f *finder) sees(in store.FoundIn, ref oci.Reference) bool {
	if f.all && in.UpstreamID != 0 {
		u := f.upstreams[in.UpstreamID]
		return u != nil && u.Epoch == in.Epoch && f.group.Enabled
	}
	return len(f.paths(in, ref)) > 0
}

func (f *finder) visible(in store.FoundIn) bool { return f.sees(in, oci.Reference{}) }

// upstream returns an upstream by its name; nil when there is none.
func (f *finder) upstream(name string) *searched {
	for _, u := range f.upstreams {
		if u.Name == name {
			return u
		}
	}
	return nil
}

// pathOf is a name for people: one by which the caller may pull, or else one in a registry, or the upstream's own.
func (f *finder) pathOf(in store.FoundIn) string {
	if paths := f.paths(in, oci.Reference{}); len(paths) > 0 {
		return paths[0]
	}
	if u := f.upstreams[in.UpstreamID]; u != nil && len(u.registries) > 0 {
		return f.group.Name + "/" + u.registries[0] + "/" + in.Name
	}
	return in.Name
}

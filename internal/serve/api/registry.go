package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan/desired"
)

var registries = &kind[desired.Registry]{
	one: "registry", many: "virtual registries", segment: "registries", section: "registries", virtual: true, change: access.Configure,
	list:   func(g *desired.Group) *[]desired.Registry { return &g.Registries },
	key:    func(v desired.Registry) string { return v.Name },
	named:  func(v *desired.Registry, name string) string { return fixed(&v.Name, name, "name") },
	detach: unbound,
}

type deleteRegistryInput struct {
	DeleteInput
	Exclusive bool `query:"with_exclusive_upstreams" doc:"Delete its upstreams too, as far as no other registry has them as members"`
}

func (a *API) registerRegistries() {
	listed[desired.Registry, registryFilters](a, registries)
	registries.register(a)
	operation(a, removes(a, huma.Operation{
		OperationID: "delete-registry", Method: http.MethodDelete, Path: "/groups/{group}/registries/{name}", Tags: []string{"registries"},
		Summary: "Delete a registry", Description: "Its upstreams stay, with what is cached from them, unless the parameter says otherwise. Refused while a host leads to it.",
	}), func(ctx context.Context, in *deleteRegistryInput) (*changed, error) {
		return registries.remove(ctx, a, &in.DeleteInput, func(g *desired.Group, name string) error {
			if in.Exclusive {
				removeExclusive(g, name)
			}
			return unbound(g, name)
		})
	})
	part[desired.Registry, List[desired.Rule]]{
		kind: registries, segment: "rules", what: "the rules of a registry", at: ".rules", body: "body.items",
		get: func(v desired.Registry) List[desired.Rule] { return listOf(v.Rules) },
		set: func(v *desired.Registry, p List[desired.Rule]) { v.Rules = p.Items },
	}.register(a)
	a.registerMembers()
}

// unbound refuses to remove a registry that a host leads to.
func unbound(g *desired.Group, name string) error {
	for _, b := range g.HostBindings {
		if b.Registry == name {
			return conflict("host " + b.Host + " leads to the registry: delete that host binding first")
		}
	}
	return nil
}

// removeExclusive removes the upstreams that are members of this registry alone.
func removeExclusive(g *desired.Group, name string) {
	only := func(upstream string) bool {
		return slices.ContainsFunc(g.Registries, func(r desired.Registry) bool {
			return r.Name == name && hasMember(r, upstream)
		}) && !slices.ContainsFunc(g.Registries, func(r desired.Registry) bool { return r.Name != name && hasMember(r, upstream) })
	}
	g.Upstreams = without(g.Upstreams, func(u desired.Upstream) bool {
		if !only(u.Name) {
			return false
		}
		closeGaps(g, u.Name)
		return true
	})
}

func hasMember(r desired.Registry, upstream string) bool {
	return slices.ContainsFunc(r.Members, func(m desired.Member) bool { return m.Upstream == upstream })
}

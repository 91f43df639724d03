package api

import (
	"net/url"
	"slices"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan/desired"
)

var upstreams = &kind[desired.Upstream]{
	one: "upstream", many: "upstreams", segment: "upstreams", section: "upstreams", virtual: true, change: access.Configure,
	list:  func(g *desired.Group) *[]desired.Upstream { return &g.Upstreams },
	key:   func(v desired.Upstream) string { return v.Name },
	named: func(v *desired.Upstream, name string) string { return fixed(&v.Name, name, "name") },
	detach: func(g *desired.Group, name string) error {
		closeGaps(g, name)
		return nil
	},
}

func (a *API) registerUpstreams() {
	listed[desired.Upstream, upstreamFilters](a, upstreams)
	upstreams.register(a)
	upstreams.registerDelete(a, "Every registry that has it as a member loses it, with the claims and rules that were about it; "+
		"members below move up. What is cached from it is no longer served, and collected.")
	a.registerUpstreamChecks()
	part[desired.Upstream, List[desired.Rule]]{
		kind: upstreams, segment: "rules", what: "the rules of an upstream, for every registry that has it as a member", at: ".rules", body: "body.items",
		get: func(v desired.Upstream) List[desired.Rule] { return listOf(v.Rules) },
		set: func(v *desired.Upstream, p List[desired.Rule]) { v.Rules = p.Items },
	}.register(a)
	part[desired.Upstream, desired.Freshness]{
		kind: upstreams, segment: "freshness", what: "how long references of an upstream are fresh, with exceptions by class", at: ".freshness", body: "body",
		get: func(v desired.Upstream) desired.Freshness { return v.Freshness },
		set: func(v *desired.Upstream, p desired.Freshness) { v.Freshness = p },
	}.register(a)
}

// closeGaps takes an upstream out of every registry.
func closeGaps(g *desired.Group, upstream string) {
	for i := range g.Registries {
		r := &g.Registries[i]
		r.Members = without(r.Members, func(m desired.Member) bool { return m.Upstream == upstream })
		r.Rules = without(r.Rules, func(rule desired.Rule) bool { return rule.Upstream == upstream })
	}
}

// without is slices.DeleteFunc that leaves the list it is given alone.
func without[T any](list []T, del func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), del)
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func appendNew(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

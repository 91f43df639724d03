package api

import (
	"cmp"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// wholeGroup stands in paths for the empty prefix.
const wholeGroup = "-"

var hostedPrefixes = &kind[desired.Hosted]{
	one: "hosted prefix", many: "settings of hosted repositories by prefix", segment: "hosted", section: "hosted", change: access.Configure,
	list: func(g *desired.Group) *[]desired.Hosted { return &g.Hosted },
	key: func(v desired.Hosted) string {
		if v.Prefix == "" {
			return wholeGroup
		}
		return v.Prefix
	},
	canon: func(name string) string { return cmp.Or(strings.Trim(name, "/"), wholeGroup) },
	named: func(v *desired.Hosted, name string) string {
		if name == wholeGroup {
			name = ""
			if v.Prefix != "" {
				return "prefix"
			}
		}
		return fixed(&v.Prefix, name, "prefix")
	},
}

var hostBindings = &kind[desired.HostBinding]{
	one: "host binding", many: "host bindings", segment: "host-bindings", section: "host_bindings", virtual: true, change: access.Configure,
	list:  func(g *desired.Group) *[]desired.HostBinding { return &g.HostBindings },
	key:   func(v desired.HostBinding) string { return v.Host },
	canon: strings.ToLower,
	named: func(v *desired.HostBinding, name string) string { return fixed(&v.Host, name, "host") },
}

func (a *API) registerHosted() {
	listed[desired.Hosted, hostedFilters](a, hostedPrefixes)
	hostedPrefixes.register(a)
	hostedPrefixes.registerDelete(a, "Settings only: repositories stay. The name "+wholeGroup+" is the empty prefix, and slashes in others are written %2F.")
	listed[desired.HostBinding, bindingFilters](a, hostBindings)
	hostBindings.register(a)
	hostBindings.registerDelete(a, "Requests to the host no longer lead to the registry.")
}

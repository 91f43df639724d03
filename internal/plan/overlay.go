package plan

import (
	"slices"

	"github.com/weir-registry/weir/internal/plan/desired"
)

// Names of the definitions within a group.
func credentialName(c desired.Credential) string { return c.Name }
func upstreamName(u desired.Upstream) string     { return u.Name }
func registryName(r desired.Registry) string     { return r.Name }
func hostedName(h desired.Hosted) string         { return h.Prefix }
func bindingName(b desired.HostBinding) string   { return b.Host }
func grantName(g desired.Grant) string           { return g.User + " " + g.Path }

// lay lays a declaration over what is. Undeclared parts stay, unless prune.
func lay(now, declared desired.Group, prune bool) desired.Group {
	return desired.Group{
		Name: declared.Name, Enabled: declared.Enabled,
		Credentials:  layList(now.Credentials, declared.Credentials, credentialName, prune),
		Upstreams:    layList(now.Upstreams, declared.Upstreams, upstreamName, prune),
		Registries:   layList(now.Registries, declared.Registries, registryName, prune),
		Hosted:       layList(now.Hosted, declared.Hosted, hostedName, prune),
		HostBindings: layList(now.HostBindings, declared.HostBindings, bindingName, prune),
		Grants:       layList(now.Grants, declared.Grants, grantName, prune),
	}
}

func layList[T any](now, declared []T, name func(T) string, prune bool) []T {
	var out []T
	for _, n := range now {
		i := slices.IndexFunc(declared, func(d T) bool { return name(d) == name(n) })
		switch {
		case i >= 0:
			out = append(out, declared[i])
		case !prune:
			out = append(out, n)
		}
	}
	for _, d := range declared {
		if _, exists := find(now, name, name(d)); !exists {
			out = append(out, d)
		}
	}
	return out
}

func find[T any](list []T, name func(T) string, wanted string) (found T, ok bool) {
	for _, v := range list {
		if name(v) == wanted {
			return v, true
		}
	}
	return found, false
}

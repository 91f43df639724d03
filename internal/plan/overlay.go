package plan

import (
	"cmp"

	"github.com/weir-registry/weir/internal/plan/desired"
)

// Names of the definitions within a group.
func credentialName(c desired.Credential) string { return c.Name }
func upstreamName(u desired.Upstream) string     { return u.Name }
func registryName(r desired.Registry) string     { return r.Name }
func hostedName(h desired.Hosted) string         { return h.Prefix }
func bindingName(b desired.HostBinding) string   { return b.Host }
func memberName(m desired.Member) string         { return m.Upstream }
func grantName(g desired.Grant) string           { return g.User + " " + g.Path }
func roleName(r desired.Role) string             { return r.Name }
func robotName(r desired.Robot) string           { return r.Name }
func trustRuleName(r desired.TrustRule) string   { return r.Name }

// lay lays a declaration over what is. What is not declared stays, definitions and fields of them; with prune it goes, and
// fields become their defaults.
func lay(now, declared desired.Group, prune bool) desired.Group {
	if prune {
		now.Enabled = nil
	}
	return desired.Group{
		Name: declared.Name, Enabled: cmp.Or(declared.Enabled, now.Enabled),
		Credentials:  layList(now.Credentials, declared.Credentials, credentialName, layCredential, prune),
		Upstreams:    layList(now.Upstreams, declared.Upstreams, upstreamName, layUpstream, prune),
		Registries:   layList(now.Registries, declared.Registries, registryName, layRegistry, prune),
		Hosted:       layList(now.Hosted, declared.Hosted, hostedName, layHosted, prune),
		HostBindings: layList(now.HostBindings, declared.HostBindings, bindingName, layBinding, prune),
		Roles:        layList(now.Roles, declared.Roles, roleName, layRole, prune),
		Robots:       layList(now.Robots, declared.Robots, robotName, layRobot, prune),
		TrustRules:   layList(now.TrustRules, declared.TrustRules, trustRuleName, layTrustRule, prune),
		Grants:       layList(now.Grants, declared.Grants, grantName, layGrant, prune),
	}
}

func layList[T any](now, declared []T, name func(T) string, over func(now, declared T) T, prune bool) []T {
	var out []T
	for _, n := range now {
		d, isDeclared := find(declared, name, name(n))
		switch {
		case isDeclared && prune:
			out = append(out, d)
		case isDeclared:
			out = append(out, over(n, d))
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

func layCredential(now, d desired.Credential) desired.Credential {
	d.Kind, d.Username = cmp.Or(d.Kind, now.Kind), cmp.Or(d.Username, now.Username)
	d.Hosts = orList(d.Hosts, now.Hosts)
	return d
}

func layUpstream(now, d desired.Upstream) desired.Upstream {
	if d.URL == "" && d.Local == "" {
		d.URL, d.Local = now.URL, now.Local
	}
	if d.Local == "" { // the login of a remote registry is of no use to hosted repositories
		d.Credential = cmp.Or(d.Credential, now.Credential)
	}
	d.Enabled = cmp.Or(d.Enabled, now.Enabled)
	d.OnUnknown, d.OnUpstreamDelete = cmp.Or(d.OnUnknown, now.OnUnknown), cmp.Or(d.OnUpstreamDelete, now.OnUpstreamDelete)
	d.Freshness.Default = cmp.Or(d.Freshness.Default, now.Freshness.Default)
	d.Freshness.Classes = orList(d.Freshness.Classes, now.Freshness.Classes)
	d.Rules, d.Hosts, d.RealmHosts = orList(d.Rules, now.Rules), orList(d.Hosts, now.Hosts), orList(d.RealmHosts, now.RealmHosts)
	d.CA, d.RevalidateWait = cmp.Or(d.CA, now.CA), cmp.Or(d.RevalidateWait, now.RevalidateWait)
	d.Timeout, d.IdleTimeout = cmp.Or(d.Timeout, now.Timeout), cmp.Or(d.IdleTimeout, now.IdleTimeout)
	d.Concurrency = cmp.Or(d.Concurrency, now.Concurrency)
	return d
}

func layRegistry(now, d desired.Registry) desired.Registry {
	d.Format, d.DigestFirst = cmp.Or(d.Format, now.Format), cmp.Or(d.DigestFirst, now.DigestFirst)
	d.Enabled, d.StrictPrecedence = cmp.Or(d.Enabled, now.Enabled), cmp.Or(d.StrictPrecedence, now.StrictPrecedence)
	if d.AnonymousPull == nil && d.AnonymousPullOnLoopback == nil { // either decides for both
		d.AnonymousPull, d.AnonymousPullOnLoopback = now.AnonymousPull, now.AnonymousPullOnLoopback
	}
	d.Members, d.Rules = layMembers(now.Members, d.Members), orList(d.Rules, now.Rules)
	return d
}

// layMembers takes members and their order from the declaration. A member that stays keeps what is not said of it: claims keep
// private names private, and must not be lost with a new order.
func layMembers(now, declared []desired.Member) []desired.Member {
	if declared == nil {
		return now
	}
	out := make([]desired.Member, 0, len(declared))
	for _, d := range declared {
		if n, exists := find(now, memberName, d.Upstream); exists {
			d.Enabled, d.Claims = cmp.Or(d.Enabled, n.Enabled), orList(d.Claims, n.Claims)
		}
		out = append(out, d)
	}
	return out
}

func layHosted(now, d desired.Hosted) desired.Hosted {
	d.AnonymousPull, d.AllowSparseIndex = cmp.Or(d.AnonymousPull, now.AnonymousPull), cmp.Or(d.AllowSparseIndex, now.AllowSparseIndex)
	return d
}

func layBinding(now, d desired.HostBinding) desired.HostBinding {
	d.Registry, d.Mirror = cmp.Or(d.Registry, now.Registry), cmp.Or(d.Mirror, now.Mirror)
	d.Networks = orList(d.Networks, now.Networks)
	return d
}

func layGrant(now, d desired.Grant) desired.Grant {
	d.Role = cmp.Or(d.Role, now.Role)
	return d
}

func layRole(now, d desired.Role) desired.Role {
	d.Actions = orList(d.Actions, now.Actions)
	return d
}

func layRobot(now, d desired.Robot) desired.Robot {
	d.Enabled, d.Grants = cmp.Or(d.Enabled, now.Enabled), orList(d.Grants, now.Grants)
	return d
}

func layTrustRule(now, d desired.TrustRule) desired.TrustRule {
	d.Enabled, d.SingleUse = cmp.Or(d.Enabled, now.Enabled), cmp.Or(d.SingleUse, now.SingleUse)
	d.Issuer, d.Audience, d.Keys = cmp.Or(d.Issuer, now.Issuer), cmp.Or(d.Audience, now.Audience), cmp.Or(d.Keys, now.Keys)
	d.Conditions, d.Grants = orList(d.Conditions, now.Conditions), orList(d.Grants, now.Grants)
	d.LifetimeSeconds = cmp.Or(d.LifetimeSeconds, now.LifetimeSeconds)
	return d
}

// orList is the declared list, which may be empty, unless there is none.
func orList[T any](declared, now []T) []T {
	if declared == nil {
		return now
	}
	return declared
}

func find[T any](list []T, name func(T) string, wanted string) (found T, ok bool) {
	for _, v := range list {
		if name(v) == wanted {
			return v, true
		}
	}
	return found, false
}

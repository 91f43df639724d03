package desired

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Normalize brings g into the one form in which equal declarations are equal: defaults filled in, hosts in lower case, durations
// and URLs spelled one way. What is not valid stays as it is, for the check to name it.
func (g *Group) Normalize() {
	g.Spell()
	setBool(&g.Enabled, true)
	for i := range g.Credentials {
		setText(&g.Credentials[i].Kind, "static")
		none(&g.Credentials[i].Hosts)
	}
	for i := range g.Upstreams {
		u := &g.Upstreams[i]
		setBool(&u.Enabled, true)
		setText(&u.OnUnknown, "continue")
		setText(&u.OnUpstreamDelete, "serve")
		setText(&u.Freshness.Default, "24h")
		none(&u.Freshness.Classes)
		none(&u.Rules)
		none(&u.Hosts)
		none(&u.RealmHosts)
	}
	for i := range g.Registries {
		g.Registries[i].defaults()
	}
	for i := range g.Hosted {
		setBool(&g.Hosted[i].AnonymousPull, false)
		setBool(&g.Hosted[i].AllowSparseIndex, false)
	}
	for i := range g.HostBindings {
		setBool(&g.HostBindings[i].Mirror, false)
		none(&g.HostBindings[i].Networks)
	}
	g.people()
}

// people is the part of Normalize that is about roles, robots and trust rules. Sets have one order.
func (g *Group) people() {
	for i := range g.Roles {
		actions := slices.Clone(g.Roles[i].Actions)
		slices.Sort(actions)
		g.Roles[i].Actions = slices.Compact(actions)
	}
	for i := range g.Robots {
		setBool(&g.Robots[i].Enabled, true)
		g.Robots[i].Grants = inOrder(g.Robots[i].Grants)
	}
	for i := range g.TrustRules {
		t := &g.TrustRules[i]
		setBool(&t.Enabled, true)
		setBool(&t.SingleUse, false)
		if t.LifetimeSeconds == 0 {
			t.LifetimeSeconds = 3600
		}
		none(&t.Conditions)
		t.Grants = inOrder(t.Grants)
	}
}

// inOrder sorts what is given by path.
func inOrder(given []Given) []Given {
	given = slices.Clone(given)
	none(&given)
	slices.SortStableFunc(given, func(a, b Given) int { return strings.Compare(a.Path, b.Path) })
	return given
}

// Spell is the part of Normalize that fills nothing in: what is left out stays left out.
func (g *Group) Spell() {
	for i := range g.Credentials {
		lower(g.Credentials[i].Hosts)
	}
	for i := range g.Upstreams {
		g.Upstreams[i].spell()
	}
	for i := range g.Hosted {
		g.Hosted[i].Prefix = strings.Trim(g.Hosted[i].Prefix, "/")
	}
	for i := range g.HostBindings {
		b := &g.HostBindings[i]
		b.Host = strings.ToLower(b.Host)
		for j, n := range b.Networks {
			if p, err := netip.ParsePrefix(n); err == nil {
				b.Networks[j] = p.Masked().String()
			}
		}
	}
	for i := range g.Grants {
		g.Grants[i].Path = strings.Trim(g.Grants[i].Path, "/")
	}
	for _, r := range g.Robots {
		spellGiven(r.Grants)
	}
	for i := range g.TrustRules {
		g.TrustRules[i].Keys = PEM(strings.TrimSpace(string(g.TrustRules[i].Keys)))
		spellGiven(g.TrustRules[i].Grants)
	}
}

func spellGiven(given []Given) {
	for i := range given {
		given[i].Path = strings.Trim(given[i].Path, "/")
	}
}

func (u *Upstream) spell() {
	u.URL = normalURL(u.URL)
	u.Local = strings.Trim(u.Local, "/")
	u.CA = PEM(strings.TrimSpace(string(u.CA)))
	lower(u.Hosts)
	lower(u.RealmHosts)
	for _, d := range []*string{&u.RevalidateWait, &u.Timeout, &u.IdleTimeout} {
		if v, err := time.ParseDuration(*d); err == nil {
			*d = v.String()
		}
	}
}

func (r *Registry) defaults() {
	setBool(&r.Enabled, true)
	setText(&r.Format, "container")
	setText(&r.DigestFirst, "deny")
	setBool(&r.StrictPrecedence, false)
	switch yes, loopback := IsTrue(r.AnonymousPull), IsTrue(r.AnonymousPullOnLoopback); {
	case loopback && !yes:
		r.AnonymousPull = nil
	case !loopback:
		r.AnonymousPullOnLoopback = nil
		setBool(&r.AnonymousPull, false)
	}
	none(&r.Members)
	r.Members = slices.Clone(r.Members) // of a declaration that may be laid over another state yet
	for i := range r.Members {
		setBool(&r.Members[i].Enabled, true)
		none(&r.Members[i].Claims)
	}
	none(&r.Rules)
}

// IsTrue reports whether a field is given and true.
func IsTrue(b *bool) bool { return b != nil && *b }

// normalURL spells scheme and host in lower case and leaves out a default port and a slash at the end.
func normalURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Scheme == "https" {
		u.Host = strings.TrimSuffix(u.Host, ":443")
	}
	if u.Scheme == "http" {
		u.Host = strings.TrimSuffix(u.Host, ":80")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u.String()
}

func setBool(b **bool, value bool) {
	if *b == nil {
		*b = &value
	}
}

// none makes an empty list one that is not there.
func none[T any](list *[]T) {
	if len(*list) == 0 {
		*list = nil
	}
}

func setText(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func lower(list []string) {
	for i := range list {
		list[i] = strings.ToLower(list[i])
	}
}

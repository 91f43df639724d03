package plan

import (
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Values of meta.Registry.AnonymousPull.
const (
	anonymousNo       = "no"
	anonymousYes      = "yes"
	anonymousLoopback = "loopback"
)

// Describe gives a group in the form in which it would be declared, in normal form, without secrets and grants.
func Describe(g meta.Group) desired.Group {
	credentials, upstreams := map[int64]string{}, map[int64]string{}
	d := desired.Group{Name: g.Name, Enabled: &g.Enabled}
	for _, c := range g.Credentials {
		credentials[c.ID] = c.Name
		d.Credentials = append(d.Credentials, desired.Credential{Name: c.Name, Kind: c.Kind, Username: c.Username, Hosts: slices.Clone(c.Hosts)})
	}
	for _, u := range g.Upstreams {
		upstreams[u.ID] = u.Name
		d.Upstreams = append(d.Upstreams, describeUpstream(u, credentials))
	}
	for _, r := range g.Registries {
		d.Registries = append(d.Registries, describeRegistry(r, upstreams))
	}
	for _, p := range g.HostedPrefixes {
		d.Hosted = append(d.Hosted, desired.Hosted{Prefix: p.Prefix, AnonymousPull: &p.AnonymousPull, AllowSparseIndex: &p.AllowSparseIndex})
	}
	for _, b := range g.HostBindings {
		_, registry, _ := strings.Cut(b.Prefix, "/")
		d.HostBindings = append(d.HostBindings, desired.HostBinding{
			Host: b.Host, Registry: registry, Mirror: &b.Mirror, Networks: slices.Clone(b.Networks),
		})
	}
	d.Normalize()
	return d
}

func describeUpstream(u meta.Upstream, credentials map[int64]string) desired.Upstream {
	d := desired.Upstream{
		Name: u.Name, URL: u.URL, Local: u.Local, Credential: credentials[u.CredentialID], Enabled: &u.Enabled,
		OnUnknown: u.OnUnknown, OnUpstreamDelete: u.OnUpstreamDelete, Freshness: desired.Freshness{Default: u.Freshness.Default},
		Rules: describeRules(u.Rules, nil), Hosts: slices.Clone(u.Settings.Hosts), CA: desired.PEM(u.Settings.CA),
		RealmHosts: slices.Clone(u.Settings.RealmHosts), RevalidateWait: describeDuration(u.Settings.RevalidateWait),
		Timeout: describeDuration(u.Settings.Timeout), IdleTimeout: describeDuration(u.Settings.IdleTimeout),
		Concurrency: u.Settings.Concurrency,
	}
	for _, c := range u.Freshness.Classes {
		d.Freshness.Classes = append(d.Freshness.Classes, desired.FreshnessClass(c))
	}
	return d
}

func describeRegistry(r meta.Registry, upstreams map[int64]string) desired.Registry {
	anyone, onLoopback := r.AnonymousPull == anonymousYes, r.AnonymousPull == anonymousLoopback
	d := desired.Registry{
		Name: r.Name, Format: r.Format, Enabled: &r.Enabled, AnonymousPull: &anyone, AnonymousPullOnLoopback: &onLoopback,
		DigestFirst: r.DigestFirst, StrictPrecedence: &r.StrictPrecedence, Rules: describeRules(r.Rules, upstreams),
	}
	for _, m := range r.Members {
		d.Members = append(d.Members, desired.Member{Upstream: upstreams[m.UpstreamID], Enabled: &m.Enabled, Claims: slices.Clone(m.Claims)})
	}
	return d
}

func describeRules(rules []meta.Rule, upstreams map[int64]string) []desired.Rule {
	var out []desired.Rule
	for _, r := range rules {
		d := desired.Rule{Upstream: upstreams[r.OnlyUpstreamID]}
		if r.Action == "deny" {
			d.Deny = r.Pattern
		} else {
			d.Allow = r.Pattern
		}
		out = append(out, d)
	}
	return out
}

func describeDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

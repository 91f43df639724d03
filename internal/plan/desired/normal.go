package desired

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Normalize brings g into the one form in which equal declarations are equal: defaults filled in, hosts in lower case, durations
// and URLs spelled one way. What is not valid stays as it is, for the check to name it.
func (g *Group) Normalize() {
	setTrue(&g.Enabled)
	for i := range g.Credentials {
		c := &g.Credentials[i]
		setText(&c.Kind, "static")
		lower(c.Hosts)
	}
	for i := range g.Upstreams {
		g.Upstreams[i].normalize()
	}
	for i := range g.Registries {
		g.Registries[i].normalize()
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
}

func (u *Upstream) normalize() {
	setTrue(&u.Enabled)
	setText(&u.OnUnknown, "continue")
	setText(&u.OnUpstreamDelete, "serve")
	setText(&u.Freshness.Default, "24h")
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

func (r *Registry) normalize() {
	setTrue(&r.Enabled)
	setText(&r.Format, "container")
	setText(&r.DigestFirst, "deny")
	for i := range r.Members {
		setTrue(&r.Members[i].Enabled)
	}
}

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

func setTrue(b **bool) {
	if *b == nil {
		*b = new(bool)
		**b = true
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

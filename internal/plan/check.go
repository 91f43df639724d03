package plan

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// checker gathers what is wrong with the groups as they are to be.
type checker struct {
	maxMembers int
	instance   []string // roles of the instance, which grants of every group can give
	problems   []Problem
}

func (c *checker) add(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// Texts that say what to write instead.
const (
	wantName     = `want lower-case letters and digits, joined by ".", "_", "__" or "-"`
	wantHost     = `want a host name or address, with ":port" unless that is the default`
	wantDuration = `want a duration such as "30s" or "24h"`
)

// declared checks what only the declaration shows: names that appear twice.
func (c *checker) declared(d desired.Group) {
	path := groupPath(d.Name)
	if !oci.ValidComponent(d.Name) {
		c.add(path+".name", "%q is not a group name: %s", d.Name, wantName)
	}
	twice(c, path+".credentials", d.Credentials, credentialName)
	twice(c, path+".upstreams", d.Upstreams, upstreamName)
	twice(c, path+".registries", d.Registries, registryName)
	twice(c, path+".hosted", d.Hosted, hostedName)
	twice(c, path+".host_bindings", d.HostBindings, bindingName)
	twice(c, path+".roles", d.Roles, roleName)
	twice(c, path+".robots", d.Robots, robotName)
	twice(c, path+".trust_rules", d.TrustRules, trustRuleName)
	twice(c, path+".grants", d.Grants, grantName)
}

// roles lists the roles that grants of a group can give.
func (c *checker) roles(g desired.Group) []string {
	out := []string{string(access.Reader), string(access.Developer), string(access.Maintainer), string(access.Owner)}
	for _, r := range g.Roles {
		out = append(out, r.Name)
	}
	return append(out, c.instance...)
}

func wantRole(roles []string) string {
	return "is not a role of the group: want " + strings.Join(roles, ", ")
}

func twice[T any](c *checker, path string, list []T, name func(T) string) {
	seen := map[string]bool{}
	for _, v := range list {
		if seen[name(v)] {
			c.add(at(path, name(v)), "is declared twice: keep one")
		}
		seen[name(v)] = true
	}
}

func groupPath(name string) string { return "groups[" + name + "]" }
func at(path, name string) string  { return path + "[" + name + "]" }

// group checks a group as it is to be.
func (c *checker) group(g desired.Group) {
	path := groupPath(g.Name)
	for _, v := range g.Credentials {
		c.credential(at(path+".credentials", v.Name), g, v)
	}
	for _, v := range g.Upstreams {
		c.upstream(at(path+".upstreams", v.Name), g, v)
	}
	c.samePlaces(path+".upstreams", g)
	for _, v := range g.Registries {
		c.registry(at(path+".registries", v.Name), g, v)
	}
	for _, v := range g.Hosted {
		p := at(path+".hosted", v.Prefix)
		if v.Prefix != "" && !oci.ValidRepository(v.Prefix) {
			c.add(p+".prefix", "%q is not the beginning of a repository name below the group", v.Prefix)
		}
		if name := firstSegment(v.Prefix); hasRegistry(g, name) {
			c.add(p+".prefix", "begins with %q, which is a registry of the group: hosted repositories need another first segment", name)
		}
	}
	for _, v := range g.HostBindings {
		c.binding(at(path+".host_bindings", v.Host), g, v)
	}
	c.accounts(path, g)
	for _, v := range g.Grants {
		p := at(path+".grants", v.User)
		if roles := c.roles(g); !slices.Contains(roles, v.Role) {
			c.add(p+".role", "%s", wantRole(roles))
		}
		if v.Path != "" && !oci.ValidRepository(v.Path) {
			c.add(p+".path", "%q is not the beginning of a repository name below the group", v.Path)
		}
	}
}

func (c *checker) credential(path string, g desired.Group, v desired.Credential) {
	if !oci.ValidComponent(v.Name) {
		c.add(path+".name", "%q is not a name: %s", v.Name, wantName)
	}
	if v.Kind != "static" {
		c.add(path+".kind", "%q is not a kind of credential: want static", v.Kind)
	}
	if v.Username == "" || strings.ContainsFunc(v.Username, func(r rune) bool { return r < ' ' || r == 0x7f || r == ':' }) {
		c.add(path+".username", "want a user name without colons and control characters")
	}
	if v.Password != nil && *v.Password == "" {
		c.add(path+".password", "is empty: give the secret, or leave the field out to keep the present one")
	}
	c.hosts(path+".hosts", v.Hosts)
	if len(v.Hosts) == 0 {
		return
	}
	for _, u := range g.Upstreams {
		if parsed, err := url.Parse(u.URL); err == nil && u.Credential == v.Name && parsed.Host != "" && !hasHost(v.Hosts, parsed.Host) {
			c.add(path+".hosts", "does not hold %s, the host of upstream %s, which uses it: add the host, or leave hosts out", parsed.Host, u.Name)
		}
	}
}

func (c *checker) upstream(path string, g desired.Group, v desired.Upstream) {
	if !oci.ValidComponent(v.Name) {
		c.add(path+".name", "%q is not a name: %s", v.Name, wantName)
	}
	switch {
	case (v.URL == "") == (v.Local == ""):
		c.add(path, "give either url (a remote registry) or local (hosted repositories of the group)")
	case v.URL != "":
		c.url(path+".url", v.URL)
	default:
		c.local(path+".local", g, v)
	}
	if _, known := find(g.Credentials, credentialName, v.Credential); v.Credential != "" && !known {
		c.add(path+".credential", "the group has no credential %q: declare it under credentials", v.Credential)
	}
	c.oneOf(path+".on_unknown", v.OnUnknown, "continue", "stop")
	c.oneOf(path+".on_upstream_delete", v.OnUpstreamDelete, "serve", "refuse")
	c.freshness(path+".freshness.default", v.Freshness.Default)
	for i, class := range v.Freshness.Classes {
		p := fmt.Sprintf("%s.freshness.classes[%d]", path, i)
		c.pattern(p+".pattern", class.Pattern)
		c.freshness(p+".for", class.For)
	}
	for i, r := range v.Rules {
		p := fmt.Sprintf("%s.rules[%d]", path, i)
		c.rule(p, r)
		if r.Upstream != "" {
			c.add(p+".upstream", "only rules of a registry name an upstream: leave it out")
		}
	}
	c.hosts(path+".hosts", v.Hosts)
	c.hosts(path+".realm_hosts", v.RealmHosts)
	if v.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(v.CA)) {
		c.add(path+".ca", "holds no certificate in PEM form")
	}
	for _, d := range []struct{ name, text string }{
		{"revalidate_wait", v.RevalidateWait}, {"timeout", v.Timeout}, {"idle_timeout", v.IdleTimeout},
	} {
		if parsed, err := time.ParseDuration(d.text); d.text != "" && (err != nil || parsed <= 0 || parsed > time.Hour) {
			c.add(path+"."+d.name, "%q is no duration above 0 and up to an hour: %s", d.text, wantDuration)
		}
	}
	if v.Concurrency < 0 || v.Concurrency > 10_000 {
		c.add(path+".concurrency", "%d lies outside 1 to 10000", v.Concurrency)
	}
}

func (c *checker) url(path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || (u.Scheme != "https" && u.Scheme != "http"):
		c.add(path, "want an absolute URL such as https://registry-1.docker.io") // the text may hold a password
	case u.User != nil:
		c.add(path, "holds a user name or password: put them into a credential")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		c.add(path, "must not have a query or fragment")
	case !validHost(u.Host):
		c.add(path, "%q is not a host: %s", u.Host, wantHost)
	case u.Path == "/v2" || strings.HasPrefix(u.Path, "/v2/"):
		c.add(path, "leave out /v2: it is added to every request")
	case u.Path != "" && !oci.ValidRepository(u.Path[1:]):
		c.add(path, "its path %q is not the beginning of a repository name", u.Path)
	}
}

func (c *checker) local(path string, g desired.Group, v desired.Upstream) {
	group, rest, below := strings.Cut(v.Local, "/")
	switch {
	case group != g.Name:
		c.add(path, "leads to group %q: a local upstream serves hosted repositories of its own group, %s/…", group, g.Name)
	case below && !oci.ValidRepository(rest):
		c.add(path, "%q is not the beginning of a repository name", v.Local)
	case hasRegistry(g, firstSegment(rest)):
		c.add(path, "lies below registry %q: a local upstream serves hosted repositories only", firstSegment(rest))
	}
	if v.Credential != "" {
		c.add(strings.TrimSuffix(path, ".local")+".credential", "a local upstream needs none: the caller's own grants count")
	}
}

// samePlaces refuses the same registry twice: two upstreams would fill two caches with the same content.
func (c *checker) samePlaces(path string, g desired.Group) {
	type place struct{ url, local, credential string }
	first := map[place]string{}
	for _, u := range g.Upstreams {
		k := place{placeOf(u.URL), u.Local, u.Credential}
		if k.url+k.local == "" {
			continue
		}
		if other, exists := first[k]; exists {
			c.add(at(path, u.Name), "is the same place with the same credential as upstream %s: use that one in every registry", other)
			continue
		}
		first[k] = u.Name
	}
}

func hasHost(hosts []string, host string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return oci.CanonicalHost(h) == oci.CanonicalHost(host) })
}

// placeOf is a URL with its host in the form in which hosts are compared.
func placeOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	u.Host = oci.CanonicalHost(u.Host)
	return u.String()
}

func (c *checker) registry(path string, g desired.Group, v desired.Registry) {
	if !oci.ValidComponent(v.Name) {
		c.add(path+".name", "%q is not a name: %s", v.Name, wantName)
	}
	c.oneOf(path+".format", v.Format, "container")
	c.oneOf(path+".digest_first", v.DigestFirst, "deny", "allow")
	if desired.IsTrue(v.AnonymousPull) && desired.IsTrue(v.AnonymousPullOnLoopback) {
		c.add(path, "give anonymous_pull or anonymous_pull_on_loopback, not both")
	}
	if len(v.Members) > c.maxMembers {
		c.add(path+".members", "has %d members; the limit is %d (server setting limits.members_per_registry)", len(v.Members), c.maxMembers)
	}
	member, claimed := map[string]int{}, map[string]string{}
	for i, m := range v.Members {
		p := fmt.Sprintf("%s.members[%d]", path, i)
		member[m.Upstream]++
		if _, known := find(g.Upstreams, upstreamName, m.Upstream); !known && member[m.Upstream] == 1 {
			c.add(p+".upstream", "the group has no upstream %q: declare it under upstreams", m.Upstream)
		}
		if member[m.Upstream] == 2 { // once, however often it stands there
			c.add(p+".upstream", "%q is a member already: keep one", m.Upstream)
		}
		for j, claim := range m.Claims {
			c.claim(fmt.Sprintf("%s.claims[%d]", p, j), claim, m.Upstream, claimed)
		}
	}
	for i, r := range v.Rules {
		p := fmt.Sprintf("%s.rules[%d]", path, i)
		c.rule(p, r)
		if r.Upstream != "" && member[r.Upstream] == 0 {
			c.add(p+".upstream", "%q is not a member of the registry", r.Upstream)
		}
	}
}

func (c *checker) claim(path, claim, upstream string, claimed map[string]string) {
	c.pattern(path, claim)
	if p, err := oci.ParsePattern(claim); err == nil && p.HasTag() {
		c.add(path, "%q names a tag: a claim is about whole repositories", claim)
	}
	if other, taken := claimed[claim]; taken && other != upstream {
		c.add(path, "%q is claimed by %s too: only one member can own it", claim, other)
	}
	claimed[claim] = upstream
}

func (c *checker) rule(path string, r desired.Rule) {
	if (r.Allow == "") == (r.Deny == "") {
		c.add(path, "give either allow or deny, with a pattern")
		return
	}
	c.pattern(path, r.Allow+r.Deny)
}

func (c *checker) binding(path string, g desired.Group, v desired.HostBinding) {
	if !validHost(v.Host) {
		c.add(path+".host", "%q is not a host: %s", v.Host, wantHost)
	}
	r, known := find(g.Registries, registryName, v.Registry)
	if !known {
		c.add(path+".registry", "the group has no registry %q", v.Registry)
	}
	if known && desired.IsTrue(v.Mirror) && !desired.IsTrue(r.AnonymousPull) {
		c.add(path+".mirror", "a mirror answers without login: set anonymous_pull in registry %s", r.Name)
	}
	for i, n := range v.Networks {
		if _, err := netip.ParsePrefix(n); err != nil {
			c.add(fmt.Sprintf("%s.networks[%d]", path, i), "%q is not a network: want one such as 10.0.0.0/8", n)
		}
	}
}

func (c *checker) hosts(path string, hosts []string) {
	for i, h := range hosts {
		if !validHost(h) {
			c.add(fmt.Sprintf("%s[%d]", path, i), "%q is not a host: %s", h, wantHost)
		}
	}
}

func (c *checker) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.add(path, "%q: want %s", value, strings.Join(allowed, " or "))
	}
}

func (c *checker) pattern(path, text string) {
	if _, err := oci.ParsePattern(text); err != nil {
		c.add(path, "%q is %v", text, err)
	}
}

func (c *checker) freshness(path, text string) {
	if text == "forever" || text == "always" {
		return
	}
	if d, err := time.ParseDuration(text); err != nil || d <= 0 {
		c.add(path, `%q: want a duration such as "24h", or forever, or always (ask each time)`, text)
	}
}

func hasRegistry(g desired.Group, name string) bool {
	_, ok := find(g.Registries, registryName, name)
	return ok && name != ""
}

func firstSegment(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// validHost reports whether host is a name or an address with an optional port.
func validHost(host string) bool {
	if host == "" || len(host) > 255 || strings.ContainsAny(host, "/@?# \t\r\n%\\") {
		return false
	}
	u, err := url.Parse("//" + host)
	if err != nil || u.Host != host || u.Hostname() == "" || strings.HasSuffix(host, ":") {
		return false
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && err != nil {
		return false
	}
	if strings.HasPrefix(host, "[") {
		_, err := netip.ParseAddr(u.Hostname())
		return err == nil
	}
	return !strings.ContainsFunc(u.Hostname(), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-'
	})
}

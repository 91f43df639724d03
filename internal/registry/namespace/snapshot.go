package namespace

import (
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/weir-registry/weir/internal/registry"
)

// Anonymous says whether a pull needs credentials. Its values are those of the definition.
type Anonymous string

// Values of Anonymous. The zero value counts as no.
const (
	AnonymousNo       Anonymous = "no"
	AnonymousYes      Anonymous = "yes"
	AnonymousLoopback Anonymous = "loopback" // while the server listens on loopback and the request was not forwarded
)

// Group is a tenant in a snapshot.
type Group struct {
	ID         int64
	Name       string
	Enabled    bool              // its virtual registries; hosted repositories answer in any case
	Hosted     registry.Registry // its hosted repositories, by path below the group
	Prefixes   []Prefix
	Registries []Registry
}

// Prefix holds the anonymous pull of hosted repositories under a path of the group; the longest matching one decides.
type Prefix struct {
	Path      string // below the group, empty = all of it
	Anonymous Anonymous
}

// Registry is a virtual registry in a snapshot.
type Registry struct {
	ID        int64
	Name      string
	Format    string // "container" when empty
	Enabled   bool
	Anonymous Anonymous
	Registry  registry.Registry
}

// Binding makes a host a door to a prefix.
type Binding struct {
	Host     string         // with or without a port; without, it stands for every port
	Prefix   string         // "<group>/<registry>", or any other leading part of names
	Mirror   bool           // foreign credentials count as none
	Networks []netip.Prefix // clients that may come in here; empty = any
}

// Snapshot is everything a look-up needs. It is immutable; so are the values it was built from.
type Snapshot struct {
	groups   map[string]*group
	ordered  []Group
	bindings map[string]Binding
	hosts    map[string]bool // of this instance
}

type group struct {
	Group
	registries map[string]*Registry
}

// NewSnapshot builds a snapshot. hosts are the instance's own host names beside those of bindings. Of things with the same
// name the last counts: the layer that writes definitions keeps names unique.
func NewSnapshot(groups []Group, bindings []Binding, hosts []string) *Snapshot {
	s := &Snapshot{groups: map[string]*group{}, ordered: groups, bindings: map[string]Binding{}, hosts: map[string]bool{}}
	for i := range groups {
		g := &group{Group: groups[i], registries: map[string]*Registry{}}
		for j := range g.Registries {
			g.registries[g.Registries[j].Name] = &g.Registries[j]
		}
		s.groups[g.Name] = g
	}
	for _, b := range bindings {
		b.Host, b.Prefix = canonical(b.Host), strings.Trim(b.Prefix, "/")
		s.bindings[b.Host] = b
		s.hosts[withoutPort(b.Host)] = true
	}
	for _, h := range hosts {
		s.hosts[withoutPort(canonical(h))] = true
	}
	return s
}

// Groups returns the groups in the order they were given, for lists such as the catalog. The caller must not change them.
func (s *Snapshot) Groups() []Group { return s.ordered }

// Table holds the current snapshot. The zero value is an empty namespace.
type Table struct {
	current atomic.Pointer[Snapshot]
}

var empty = NewSnapshot(nil, nil, nil)

// Swap makes s the current snapshot. Requests under way keep the one they began with.
func (t *Table) Swap(s *Snapshot) { t.current.Store(s) }

// Current returns the current snapshot, never nil.
func (t *Table) Current() *Snapshot {
	if s := t.current.Load(); s != nil {
		return s
	}
	return empty
}

// canonical is the form in which hosts are compared.
func canonical(host string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(host)), ".")
}

// withoutPort takes the port off a host, an IPv6 address in brackets included.
func withoutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") || strings.Count(host, ":") > 1 && !strings.Contains(host, "]") {
		return host
	}
	return host[:i]
}

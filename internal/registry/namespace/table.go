// Package namespace finds what names lead to: (host, ns, name) → a registry.Registry and the local name in it, with what
// access needs to know before anything is looked up. It is pure: package assemble builds a Snapshot of the definitions, package
// app swaps it into the Table, and the doors in package serve ask it on every request without a lock.
package namespace

import (
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/weir-registry/weir/internal/registry"
)

// Table holds the snapshot in force. The zero Table knows nothing. It is safe for concurrent use.
type Table struct{ current atomic.Pointer[Snapshot] }

// Swap puts another snapshot in force; requests under way go on with the one they have.
func (t *Table) Swap(s *Snapshot) { t.current.Store(s) }

// Snapshot returns the snapshot in force, never nil.
func (t *Table) Snapshot() *Snapshot {
	if s := t.current.Load(); s != nil {
		return s
	}
	return &Snapshot{}
}

// Snapshot is everything that names can lead to at one moment. It must not be changed once it is in a Table.
type Snapshot struct {
	groups   map[string]*Group
	bindings map[string]*Binding // by host
	own      map[string]bool     // hosts of this instance
}

// New makes a snapshot. own are the hosts of this instance (with ports that are not the default), which ?ns= may name in vain.
func New(groups []*Group, bindings []*Binding, own []string) *Snapshot {
	s := &Snapshot{groups: map[string]*Group{}, bindings: map[string]*Binding{}, own: map[string]bool{}}
	for _, g := range groups {
		s.groups[g.Name] = g
	}
	for _, b := range bindings {
		s.bindings[canonical(b.Host)] = b
		s.own[canonical(b.Host)] = true
	}
	for _, h := range own {
		s.own[canonical(h)] = true
	}
	return s
}

// Group is a group as far as names go.
type Group struct {
	ID       int64
	Name     string
	Enabled  bool // its virtual registries
	Hosted   registry.Registry
	Virtual  map[string]*Virtual
	IsPublic func(repository string) bool // whether anyone may pull a hosted repository, named below the group
}

// Virtual is a virtual registry under its name.
type Virtual struct {
	Registry  registry.Registry
	Narrow    func(host string) registry.Registry // to the members that serve host
	Enabled   bool
	Anonymous Anonymous
}

// Anonymous says whether anyone may pull.
type Anonymous uint8

// Values of Anonymous.
const (
	Never    Anonymous = iota
	Always             //
	Loopback           // only while the server is private to its machine
)

// Binding makes a host a door to a prefix.
type Binding struct {
	Host     string
	Prefix   string         // "<group>/<registry>", put before every name
	Mirror   bool           // foreign credentials count as none
	Networks []netip.Prefix // of clients; empty = any
}

// canonical is the form in which hosts are compared: lower case, without the port of HTTPS.
func canonical(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(host), ":443"), ".")
}

// Binding returns the binding of a host for a client, or nil. A host with a port that no binding names falls back to the
// host alone.
func (s *Snapshot) Binding(host string, client netip.Addr) *Binding {
	if len(s.bindings) == 0 {
		return nil
	}
	b, ok := s.bindings[canonical(host)]
	if !ok {
		b, ok = s.bindings[withoutPort(canonical(host))]
	}
	if !ok || !b.serves(client) {
		return nil
	}
	return b
}

func (b *Binding) serves(client netip.Addr) bool {
	for _, n := range b.Networks {
		if n.Contains(client) {
			return true
		}
	}
	return len(b.Networks) == 0
}

func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}

// IsOwn reports whether host is one of this instance: configured, or bound.
func (s *Snapshot) IsOwn(host string) bool {
	return s.own[canonical(host)] || s.own[withoutPort(canonical(host))]
}

// Groups yields the groups by name.
func (s *Snapshot) Groups() map[string]*Group { return s.groups }

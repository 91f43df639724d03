package namespace

import (
	"net/netip"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Request is what a look-up goes by.
type Request struct {
	Host   string     // of the request, behind trusted proxies the one the client used; with or without port
	NS     string     // the ns parameter, empty if there is none
	Name   string     // repository name as it stands in the URL
	Client netip.Addr // for bindings with networks
}

// Kind is what a target is.
type Kind string

// Kinds of target.
const (
	KindNone    Kind = "none" // nothing can be there: its Registry says why
	KindVirtual Kind = "virtual"
	KindHosted  Kind = "hosted"
)

// Target is where a request leads. Registry is never nil.
type Target struct {
	Kind       Kind
	Registry   registry.Registry
	Local      string // the repository's name in Registry
	Path       string // "<group>/<registry>/<local>" or "<group>/<path>", for access checks
	GroupID    int64  // 0 for KindNone
	Group      string // first segment of Path
	RegistryID int64  // virtual registry, otherwise 0
	Name       string // of the virtual registry
	Format     string
	Anonymous  Anonymous // whether pulls need credentials
	Mirror     bool      // foreign credentials count as none
	Bound      string    // the binding's prefix when the host is bound: Path = Bound + "/" + the request's name
	NS         string    // host to narrow to, empty if none
	Off        bool      // turned off: Registry refuses everything and says so
}

// Lookup finds the target in the current snapshot; see Snapshot.Lookup.
func (t *Table) Lookup(req Request) (Target, error) { return t.Current().Lookup(req) }

// Lookup leads a request to its target. The error is NAME_INVALID for what is no name, and DENIED for a client that a bound
// host does not let in; neither depends on what exists.
func (s *Snapshot) Lookup(req Request) (Target, error) {
	path, bound := req.Name, ""
	mirror := false
	if b, ok := s.Binding(req.Host); ok {
		if !b.Admits(req.Client) {
			return Target{}, oci.NewError(oci.CodeDenied, "this host does not serve your network: ask its operator")
		}
		path, bound, mirror = b.Prefix+"/"+req.Name, b.Prefix, b.Mirror
	}
	if !oci.ValidRepository(req.Name) || bound != "" && !oci.ValidRepository(path) {
		return Target{}, oci.NewError(oci.CodeNameInvalid,
			"not a repository name: want lower-case letters, digits and separators in parts joined by \"/\", at most 255 bytes in all")
	}
	t := s.target(path)
	t.Bound, t.Mirror, t.NS = bound, mirror, s.foreign(req)
	if t.Kind == KindHosted && t.NS != "" && !t.Off {
		// The client wants what another registry calls by this name. Hosted repositories are nobody else's.
		t.Registry = nowhere("hosted repositories are not images of the host that ns names")
	}
	return t, nil
}

// Own reports whether host is one of this instance's: its own, or bound.
func (s *Snapshot) Own(host string) bool { return s.hosts[withoutPort(canonical(host))] }

// Binding finds the binding of a host: with its port first, then without.
func (s *Snapshot) Binding(host string) (Binding, bool) {
	host = canonical(host)
	b, ok := s.bindings[host]
	if !ok {
		b, ok = s.bindings[withoutPort(host)]
	}
	return b, ok
}

// Admits reports whether a client may come in through the binding.
func (b *Binding) Admits(client netip.Addr) bool {
	if len(b.Networks) == 0 {
		return true
	}
	for _, n := range b.Networks {
		if n.Contains(client.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// foreign is the ns of the request, unless it means this instance.
func (s *Snapshot) foreign(req Request) string {
	ns := withoutPort(canonical(req.NS))
	if ns == "" || s.Own(ns) || ns == withoutPort(canonical(req.Host)) {
		return ""
	}
	return canonical(req.NS)
}

// target resolves a full path.
func (s *Snapshot) target(path string) Target {
	name, rest, _ := strings.Cut(path, "/")
	t := Target{Kind: KindNone, Path: path, Local: rest, Group: name, Format: "container", Anonymous: AnonymousNo}
	g, ok := s.groups[name]
	if !ok {
		t.Registry = nowhere("there is no group " + name + ": a name begins with one, as <group>/<path>")
		return t
	}
	if rest == "" {
		t.Registry = nowhere("a name has the form <group>/<registry>/<image> or <group>/<path>: " + path + " is a group alone")
		return t
	}
	t.GroupID = g.ID
	first, image, _ := strings.Cut(rest, "/")
	if r, ok := g.registries[first]; ok {
		g.virtual(&t, r, image)
	} else {
		g.hosted(&t)
	}
	return t
}

func (g *group) virtual(t *Target, r *Registry, image string) {
	t.Name, t.RegistryID, t.Local, t.Anonymous = r.Name, r.ID, image, anonymous(r.Anonymous)
	if r.Format != "" {
		t.Format = r.Format
	}
	switch {
	case image == "":
		t.Registry = nowhere(t.Path + " is a virtual registry: name an image in it, as " + t.Path + "/<image>")
	case !g.Enabled:
		t.Kind, t.Off, t.Registry = KindVirtual, true, off("everything virtual in group "+g.Name, "owners")
	case !r.Enabled || r.Registry == nil:
		t.Kind, t.Off, t.Registry = KindVirtual, true, off("registry "+g.Name+"/"+r.Name, "maintainers")
	default:
		t.Kind, t.Registry = KindVirtual, r.Registry
	}
}

func (g *group) hosted(t *Target) {
	t.Kind, t.Registry = KindHosted, g.Hosted
	if g.Hosted == nil {
		t.Kind, t.Registry = KindNone, nowhere("group "+g.Name+" hosts no repositories")
	}
	longest := -1
	for _, p := range g.Prefixes {
		if len(p.Path) > longest && (p.Path == "" || t.Local == p.Path || strings.HasPrefix(t.Local, p.Path+"/")) {
			longest, t.Anonymous = len(p.Path), anonymous(p.Anonymous)
		}
	}
}

// anonymous reads anything unknown as no.
func anonymous(a Anonymous) Anonymous {
	if a == AnonymousYes || a == AnonymousLoopback {
		return a
	}
	return AnonymousNo
}

package namespace

import (
	"net/netip"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Query is a name as a client said it, and where.
type Query struct {
	Host   string     // as the client sees it
	NS     string     // of ?ns=, empty if not given
	Name   string     // repository
	Client netip.Addr // for bindings that serve some networks only
}

// Target is what a name leads to.
type Target struct {
	Path      string // "<group>/<…>", what grants cover; set in any case
	Group     *Group // nil when there is no such group
	Virtual   string // name of the virtual registry; empty for hosted repositories
	Name      string // local name in Registry
	Registry  registry.Registry
	Anonymous Anonymous
	Mirror    bool  // the door is a mirror
	Err       error // why the name leads nowhere; to be told only to callers who have access to Path
}

var errName = oci.NewError(oci.CodeNameUnknown, "there is no such repository")

// Resolve finds what a name leads to. What comes back for a name that leads nowhere looks the same to access as for any
// other: callers without a grant must not learn the difference.
func (s *Snapshot) Resolve(q Query) Target {
	t := Target{Path: q.Name}
	if b := s.Binding(q.Host, q.Client); b != nil {
		t.Path, t.Mirror = b.Prefix+"/"+q.Name, b.Mirror
	}
	if q.NS != "" && s.IsOwn(q.NS) {
		q.NS = ""
	}
	group, rest, ok := strings.Cut(t.Path, "/")
	t.Group = s.groups[group]
	if t.Group == nil || !ok {
		t.Err = errName
		return t
	}
	segment, local, _ := strings.Cut(rest, "/")
	if v := t.Group.Virtual[segment]; v != nil {
		t.virtual(v, segment, local, q.NS)
		return t
	}
	t.Name = rest
	if t.Group.IsPublic != nil && t.Group.IsPublic(rest) {
		t.Anonymous = Always
	}
	if q.NS != "" {
		// The client wants what another registry calls by this name. Hosted repositories are nobody else's.
		t.Err = errName
		return t
	}
	t.Registry = t.Group.Hosted
	return t
}

func (t *Target) virtual(v *Virtual, name, local, ns string) {
	t.Virtual, t.Name = name, local
	path := t.Group.Name + "/" + name
	switch {
	case !t.Group.Enabled:
		t.Err = oci.NewError(oci.CodeNameUnknown, "the virtual registries of group "+t.Group.Name+" are turned off")
	case !v.Enabled:
		t.Err = oci.NewError(oci.CodeNameUnknown, "the virtual registry "+path+" is turned off")
	case local == "":
		t.Err = oci.NewError(oci.CodeNameUnknown, path+" is a virtual registry: put the name of an image behind it")
	case ns != "":
		t.Anonymous, t.Registry = v.Anonymous, v.Narrow(ns)
	default:
		t.Anonymous, t.Registry = v.Anonymous, v.Registry
	}
}

package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// NamedList are the parameters of every list of a group's named things.
type NamedList struct {
	Group string `path:"group" maxLength:"128" doc:"Name of the group"`
	Name  string `query:"name" maxLength:"300" doc:"Only those with this in their name"`
	Sort  string `query:"sort" enum:"name,-name" default:"name" doc:"Order; with - backwards"`
	ListInput
}

func (in *NamedList) named() *NamedList { return in }

// known refuses a filter that names what the group has not: an empty list would look like an answer.
func (*NamedList) known(*desired.Group) error { return nil }

// EnabledFilter is the parameter of lists of what can be turned off.
type EnabledFilter struct {
	Enabled string `query:"enabled" enum:"true,false" doc:"Only those that are turned on, or off"`
}

// isOn passes what has its default, nil, for on.
func (f EnabledFilter) isOn(enabled *bool) bool { return chosen(f.Enabled, enabled == nil || *enabled) }

// chosen reports whether a value is what was asked for: true, false, or nothing.
func chosen(wanted string, value bool) bool { return wanted == "" || wanted == "true" == value }

// filters are the parameters of a list of definitions of type T.
type filters[T, I any] interface {
	*I
	named() *NamedList
	known(g *desired.Group) error
	keeps(g *desired.Group, v T) bool
}

// listed declares the list of a kind with its filters.
func listed[T, I any, P filters[T, I]](a *API, k *kind[T]) {
	operation(a, huma.Operation{
		OperationID: "list-" + k.segment, Method: http.MethodGet, Path: "/groups/{group}/" + k.segment, Tags: []string{k.segment},
		Summary: "List the " + k.many + " of a group",
	}, func(ctx context.Context, i *I) (*page[T], error) {
		p := P(i)
		in := p.named()
		s, err := a.state(ctx, in.Group, k.virtual)
		if err != nil {
			return nil, err
		}
		if err := p.known(&s.Group); err != nil {
			return nil, err
		}
		items := without(*k.list(&s.Group), func(v T) bool { return !strings.Contains(k.key(v), in.Name) || !p.keeps(&s.Group, v) })
		return pageOf(ctx, in.ListInput, in.Sort, items, k.key)
	})
}

type upstreamFilters struct {
	NamedList
	EnabledFilter
	Credential string `query:"credential" maxLength:"128" doc:"Only those that use this credential"`
	Host       string `query:"host" maxLength:"300" doc:"Only those that answer for this host; the names of Docker Hub are one"`
}

func (in *upstreamFilters) known(g *desired.Group) error {
	if in.Credential != "" && credentials.find(g, in.Credential) < 0 {
		return WrongQuery("credential", "the group has no such credential")
	}
	return nil
}

func (in *upstreamFilters) keeps(_ *desired.Group, v desired.Upstream) bool {
	hosts := append([]string{hostOf(v.URL)}, v.Hosts...)
	serves := slices.ContainsFunc(hosts, func(h string) bool { return oci.CanonicalHost(h) == oci.CanonicalHost(in.Host) })
	return (in.Credential == "" || v.Credential == in.Credential) && (in.Host == "" || serves) && in.isOn(v.Enabled)
}

type registryFilters struct {
	NamedList
	EnabledFilter
	Upstream      string `query:"upstream" maxLength:"128" doc:"Only those that have this upstream as a member"`
	AnonymousPull string `query:"anonymous_pull" enum:"true,false" doc:"Only those from which anyone may pull, or not"`
}

func (in *registryFilters) known(g *desired.Group) error {
	if in.Upstream != "" && upstreams.find(g, in.Upstream) < 0 {
		return WrongQuery("upstream", "the group has no such upstream")
	}
	return nil
}

func (in *registryFilters) keeps(_ *desired.Group, v desired.Registry) bool {
	return (in.Upstream == "" || hasMember(v, in.Upstream)) && chosen(in.AnonymousPull, isTrue(v.AnonymousPull)) && in.isOn(v.Enabled)
}

type credentialFilters struct {
	NamedList
	Host string `query:"host" maxLength:"300" doc:"Only those that may be sent to this host; the names of Docker Hub are one"`
}

func (in *credentialFilters) keeps(g *desired.Group, v desired.Credential) bool {
	return in.Host == "" || slices.ContainsFunc(usage(g, v).Hosts, func(h string) bool { return oci.CanonicalHost(h) == oci.CanonicalHost(in.Host) })
}

type hostedFilters struct {
	NamedList
	AnonymousPull string `query:"anonymous_pull" enum:"true,false" doc:"Only those below which anyone may pull, or not"`
}

func (in *hostedFilters) keeps(_ *desired.Group, v desired.Hosted) bool {
	return chosen(in.AnonymousPull, isTrue(v.AnonymousPull))
}

type bindingFilters struct {
	NamedList
	Registry string `query:"registry" maxLength:"128" doc:"Only those that lead to this registry"`
	Mirror   string `query:"mirror" enum:"true,false" doc:"Only mirrors, or the others"`
}

func (in *bindingFilters) known(g *desired.Group) error {
	if in.Registry != "" && registries.find(g, in.Registry) < 0 {
		return WrongQuery("registry", "the group has no such registry")
	}
	return nil
}

func (in *bindingFilters) keeps(_ *desired.Group, v desired.HostBinding) bool {
	return (in.Registry == "" || v.Registry == in.Registry) && chosen(in.Mirror, isTrue(v.Mirror))
}

// ownedFilters are the parameters of a list of what the directory keeps.
type ownedFilters[T, I any] interface {
	*I
	named() *NamedList
	keeps(v T) bool
}

// listedOwned declares the list of an owned kind with its filters.
func listedOwned[T, I any, P ownedFilters[T, I]](a *API, k *owned[T]) {
	operation(a, huma.Operation{
		OperationID: "list-" + k.segment, Method: http.MethodGet, Path: "/groups/{group}/" + k.segment, Tags: []string{k.segment},
		Summary: "List the " + k.many + " of a group",
	}, func(ctx context.Context, i *I) (*page[T], error) {
		p := P(i)
		in := p.named()
		group, err := k.group(ctx, a, in.Group)
		if err != nil {
			return nil, err
		}
		items, err := k.list(ctx, group)
		if err != nil {
			return nil, err
		}
		items = without(items, func(v T) bool { return !strings.Contains(k.key(v), in.Name) || !p.keeps(v) })
		return pageOf(ctx, in.ListInput, in.Sort, items, k.key)
	})
}

type robotFilters struct {
	NamedList
	EnabledFilter
}

func (in *robotFilters) keeps(v Robot) bool { return in.isOn(v.Enabled) }

type trustFilters struct {
	NamedList
	EnabledFilter
	Issuer string `query:"issuer" maxLength:"512" doc:"Only those for tokens of this issuer"`
}

func (in *trustFilters) keeps(v TrustRule) bool {
	return (in.Issuer == "" || v.Issuer == in.Issuer) && in.isOn(v.Enabled)
}

// ActionFilter is the parameter of lists of roles.
type ActionFilter struct {
	Action access.Action `query:"action" enum:"pull,catalog,view,push,delete,configure,audit,own,administer" doc:"Only those that allow it"`
}

func (in *ActionFilter) keeps(v Role) bool {
	return in.Action == "" || slices.Contains(v.Actions, in.Action)
}

type roleFilters struct {
	NamedList
	ActionFilter
}

func isTrue(b *bool) bool { return b != nil && *b }

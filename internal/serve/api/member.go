package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// PlacedMember is an upstream at its position in a registry.
type PlacedMember struct {
	Position int `json:"position,omitempty" minimum:"1" doc:"1 is asked first. Left out, a new member comes last and another stays where it is"`
	desired.Member
}

// MemberInput names a member of a registry.
type MemberInput struct {
	Group    string `path:"group" maxLength:"128" doc:"Name of the group"`
	Name     string `path:"name" maxLength:"128" doc:"Name of the registry"`
	Upstream string `path:"upstream" maxLength:"128" doc:"Name of the upstream"`
	Conditions
}

type putMemberInput struct {
	MemberInput
	Try
	Body PlacedMember
}

type patchMemberInput struct {
	MemberInput
	Try
	RawBody []byte `contentType:"application/merge-patch+json"`
}

type deleteMemberInput struct {
	MemberInput
	Try
}

func (a *API) registerMembers() {
	part[desired.Registry, List[PlacedMember]]{
		kind: registries, segment: "members", what: "the members of a registry, in the order in which they are asked", at: ".members", body: "body.items",
		get:   func(v desired.Registry) List[PlacedMember] { return listOf(placed(v.Members)) },
		set:   func(v *desired.Registry, p List[PlacedMember]) { v.Members = reordered(v.Members, p.Items) },
		check: inPlace,
	}.register(a)
	one := func(id, method, summary, description string) huma.Operation {
		return huma.Operation{
			OperationID: id + "-member", Method: method, Path: "/groups/{group}/registries/{name}/members/{upstream}", Tags: []string{"registries"},
			Summary: summary, Description: description,
		}
	}
	operation(a, one("get", http.MethodGet, "Read a member of a registry", ""), a.getMember)
	operation(a, changes[PlacedMember](a, one("put", http.MethodPut, "Attach an upstream to a registry, or replace what the registry says of it", ""), true), a.putMember)
	operation(a, patches[PlacedMember](a, one("patch", http.MethodPatch, "Move a member, or change what the registry says of it", "A JSON merge patch (RFC 7396).")), a.patchMember)
	operation(a, removes(a, one("delete", http.MethodDelete, "Detach an upstream from a registry", "Members below move up. Rules that were about it alone go with it.")), a.deleteMember)
}

// placed gives members their positions.
func placed(members []desired.Member) []PlacedMember {
	out := make([]PlacedMember, len(members))
	for i, m := range members {
		out[i] = PlacedMember{i + 1, m}
	}
	return out
}

// inPlace refuses a list of members of which one says another position than it has in the list.
func inPlace(p List[PlacedMember]) error {
	for i, m := range p.Items {
		if m.Position != 0 && m.Position != i+1 {
			return missing(fmt.Sprintf("items[%d].position", i), fmt.Sprintf("its place in the list is %d, and that is what counts: leave position out", i+1))
		}
	}
	return nil
}

// reordered keeps of members what a new order does not say: claims keep private names private and must not get lost on the way.
func reordered(now []desired.Member, order []PlacedMember) []desired.Member {
	out := make([]desired.Member, len(order))
	for i := range out {
		out[i] = order[i].Member
		j := slices.IndexFunc(now, func(m desired.Member) bool { return m.Upstream == out[i].Upstream })
		if j < 0 {
			continue
		}
		if out[i].Enabled == nil {
			out[i].Enabled = now[j].Enabled
		}
		if out[i].Claims == nil {
			out[i].Claims = now[j].Claims
		}
	}
	return out
}

// member is a member with its position; false when the registry has no such member.
func member(r desired.Registry, upstream string) (PlacedMember, bool) {
	i := slices.IndexFunc(r.Members, func(m desired.Member) bool { return m.Upstream == upstream })
	if i < 0 {
		return PlacedMember{}, false
	}
	return PlacedMember{i + 1, r.Members[i]}, true
}

// place puts a member where it says.
func place(r *desired.Registry, m PlacedMember) error {
	now, exists := member(*r, m.Upstream)
	r.Members = without(r.Members, func(o desired.Member) bool { return o.Upstream == m.Upstream })
	switch {
	case m.Position == 0 && exists:
		m.Position = now.Position
	case m.Position == 0:
		m.Position = len(r.Members) + 1
	}
	if last := len(r.Members) + 1; m.Position > last {
		return missing("position", fmt.Sprintf("is behind the end: want 1 to %d", last))
	}
	r.Members = slices.Insert(r.Members, m.Position-1, m.Member)
	return nil
}

func (a *API) getMember(ctx context.Context, in *MemberInput) (*tagged[PlacedMember], error) {
	s, err := a.state(ctx, in.Group, true)
	if err != nil {
		return nil, err
	}
	m, err := memberOf(s, in)
	if err != nil {
		return nil, err
	}
	if err := in.read(etag(m)); err != nil {
		return nil, err
	}
	return &tagged[PlacedMember]{etag(m), m}, nil
}

func memberOf(s plan.State, in *MemberInput) (PlacedMember, error) {
	i := registries.find(&s.Group, in.Name)
	if i < 0 {
		return PlacedMember{}, notThere(registries.one)
	}
	m, ok := member(s.Group.Registries[i], in.Upstream)
	if !ok {
		return PlacedMember{}, huma.NewError(http.StatusNotFound, "the registry has no such member")
	}
	return m, nil
}

// editMember changes a registry as to one member, which is now as given; exists is false for a new one.
func (a *API) editMember(ctx context.Context, in *MemberInput, try Try, change func(r *desired.Registry, now PlacedMember, exists bool) error) (*changed, error) {
	if err := a.do(ctx, registries.change, in.Group); err != nil {
		return nil, err
	}
	created, at := false, -1
	p, err := a.edit(ctx, in.Group, true, try.DryRun, registries.at(in.Group, in.Name), registryOfMember, func(s *plan.State) error {
		i := registries.find(&s.Group, in.Name)
		if i < 0 {
			return notThere(registries.one)
		}
		now, exists := member(s.Group.Registries[i], in.Upstream)
		created = !exists
		current := ""
		if exists {
			current = etag(now)
		}
		if err := in.update(current); err != nil {
			return err
		}
		r := &s.Group.Registries[i]
		err := change(r, now, exists)
		at = slices.IndexFunc(r.Members, func(m desired.Member) bool { return m.Upstream == in.Upstream })
		return err
	})
	switch {
	case err != nil:
		return nil, ofMember(err, in, at)
	case try.DryRun:
		return planned(p), nil
	}
	m, err := memberOf(p.After[0], in)
	if err != nil { // it was the change to remove it
		return &changed{Status: http.StatusNoContent}, nil //nolint:nilerr // said above
	}
	out := &changed{Status: http.StatusOK, ETag: etag(m), Body: m}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// registryOfMember stands for the registry where the planner sees problems with it, until ofMember has said what they are about.
const registryOfMember = "registry"

// ofMember makes problems with a registry, whose member at is the one of the request, those of the request; others are elsewhere in
// the registry.
func ofMember(err error, in *MemberInput, at int) error {
	problem, ok := errors.AsType[*huma.ErrorModel](err)
	if !ok {
		return err
	}
	member := fmt.Sprintf("%s.members[%d]", registryOfMember, at)
	for _, detail := range problem.Errors {
		rest, ours := strings.CutPrefix(detail.Location, member)
		switch {
		case detail.Location == registryOfMember+".members", ours && rest == ".upstream":
			detail.Location = "path.upstream"
		case ours:
			detail.Location = "body" + rest
		case strings.HasPrefix(detail.Location, registryOfMember):
			detail.Location = registries.at(in.Group, in.Name) + detail.Location[len(registryOfMember):]
		}
	}
	return err
}

func (a *API) putMember(ctx context.Context, in *putMemberInput) (*changed, error) {
	return a.editMember(ctx, &in.MemberInput, in.Try, func(r *desired.Registry, _ PlacedMember, _ bool) error {
		m := in.Body
		if field := fixed(&m.Upstream, in.Upstream, "upstream"); field != "" {
			return missing(field, "is not the upstream in the path: leave it out")
		}
		return place(r, m)
	})
}

func (a *API) patchMember(ctx context.Context, in *patchMemberInput) (*changed, error) {
	return a.editMember(ctx, &in.MemberInput, in.Try, func(r *desired.Registry, now PlacedMember, exists bool) error {
		if !exists {
			return huma.NewError(http.StatusNotFound, "the registry has no such member")
		}
		m, err := merged(a, now, in.RawBody)
		if err != nil {
			return err
		}
		if field := fixed(&m.Upstream, in.Upstream, "upstream"); field != "" {
			return missing(field, "a member cannot become another upstream: attach that one")
		}
		return place(r, m)
	})
}

func (a *API) deleteMember(ctx context.Context, in *deleteMemberInput) (*changed, error) {
	return a.editMember(ctx, &in.MemberInput, in.Try, func(r *desired.Registry, _ PlacedMember, exists bool) error {
		if !exists {
			return huma.NewError(http.StatusNotFound, "the registry has no such member")
		}
		r.Members = without(r.Members, func(m desired.Member) bool { return m.Upstream == in.Upstream })
		r.Rules = without(r.Rules, func(rule desired.Rule) bool { return rule.Upstream == in.Upstream })
		return nil
	})
}

package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

// GroupSettings is a group with its own settings. What is defined below it are resources of their own.
type GroupSettings struct {
	ID      string `json:"id,omitempty" readOnly:"true"`
	Name    string `json:"name,omitempty"`
	Enabled *bool  `json:"enabled,omitempty" doc:"Whether its virtual registries answer; default true. Off, every pull through them and everything here about its upstreams, registries and host bindings is refused with a message that says so; hosted repositories go on"`
}

type listGroupsInput struct {
	Name string `query:"name" maxLength:"128" doc:"Only those with this in their name"`
	EnabledFilter
	Sort string `query:"sort" enum:"name,-name" default:"name" doc:"Order; with - backwards"`
	ListInput
}

type getGroupInput struct {
	GroupInput
	Conditions
}

type putGroupInput struct {
	GroupInput
	Conditions
	Try
	Body GroupSettings
}

type patchGroupInput struct {
	GroupInput
	Conditions
	Try
	RawBody []byte `contentType:"application/merge-patch+json"`
}

type deleteGroupInput struct {
	GroupInput
	Conditions
	Try
}

func (a *API) registerGroups() {
	one := func(id, method, summary, description string) huma.Operation {
		return huma.Operation{OperationID: id + "-group", Method: method, Path: "/groups/{group}", Tags: []string{"groups"}, Summary: summary, Description: description}
	}
	operation(a, huma.Operation{
		OperationID: "list-groups", Method: http.MethodGet, Path: "/groups", Tags: []string{"groups"},
		Summary: "List the groups that the caller may see, or in which he has a grant",
	}, a.listGroups)
	operation(a, one("get", http.MethodGet, "Read a group's own settings", "For who may see the group, or has a grant below it."), a.getGroup)
	operation(a, changes[GroupSettings](a, one("put", http.MethodPut, "Create a group or replace its own settings", "To create one takes an administrator. What is defined below it stays."), true), a.putGroup)
	operation(a, patches[GroupSettings](a, one("patch", http.MethodPatch, "Change settings of a group", "A JSON merge patch (RFC 7396).")), a.patchGroup)
	operation(a, removes(a, one("delete", http.MethodDelete, "Delete a group with everything that is defined below it",
		"Refused while its repositories hold content, with the names of some that do. Hosted repositories and upstreams have to be deleted first; of upstreams the collector has to take away what is cached.")), a.deleteGroup)
}

const groupBatch = 1000 // groups read at once

func (a *API) listGroups(ctx context.Context, in *listGroupsInput) (*page[GroupSettings], error) {
	start, err := in.start(in.Sort, 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if start != nil {
		after = start[0]
	}
	items := []GroupSettings{}
	for {
		groups, err := a.Definitions.GroupsPage(ctx, after, in.Sort == "-name", groupBatch)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			if len(items) > in.Limit {
				break
			}
			if after = g.Name; !strings.Contains(g.Name, in.Name) || !in.isOn(&g.Enabled) {
				continue
			}
			switch seen := a.knows(ctx, g.Name); {
			case seen == nil:
				items = append(items, describeGroup(plan.State{ID: g.ID, Group: desired.Group{Name: g.Name, Enabled: &g.Enabled}}))
			case !isNotFound(seen):
				return nil, seen
			}
		}
		if len(items) > in.Limit {
			items = items[:in.Limit]
			return newPage(ctx, items, true, in.Sort, items[in.Limit-1].Name), nil
		}
		if len(groups) < groupBatch {
			return newPage(ctx, items, false, in.Sort), nil
		}
	}
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[huma.StatusError](err)
	return ok && e.GetStatus() == http.StatusNotFound
}

func describeGroup(s plan.State) GroupSettings {
	return GroupSettings{ID: id(s.ID), Name: s.Group.Name, Enabled: s.Group.Enabled}
}

func groupTag(s plan.State) string {
	if s.ID == 0 {
		return ""
	}
	return etag(describeGroup(s))
}

func (a *API) getGroup(ctx context.Context, in *getGroupInput) (*tagged[GroupSettings], error) {
	if err := a.knows(ctx, in.Group); err != nil {
		return nil, err
	}
	g, err := a.Definitions.Group(ctx, in.Group)
	if err != nil {
		return nil, orNoGroup(err)
	}
	s := plan.Read(g)
	if err := in.read(groupTag(s)); err != nil {
		return nil, err
	}
	return &tagged[GroupSettings]{groupTag(s), describeGroup(s)}, nil
}

// putGroup lets administrators create groups and, like owners, replace the settings of those that exist.
func (a *API) putGroup(ctx context.Context, in *putGroupInput) (*changed, error) {
	admin := a.may(ctx, access.Administer, "") == nil
	if !admin {
		if err := a.do(ctx, access.Own, in.Group); err != nil {
			return nil, orNew(err)
		}
	}
	created := false
	out, err := a.editGroup(ctx, in.Group, in.DryRun, func(s *plan.State) error {
		if created = s.ID == 0; created && !admin {
			return orNew(noGroup())
		}
		if err := in.update(groupTag(*s)); err != nil {
			return err
		}
		return set(s, in.Group, in.Body)
	})
	if err == nil && created && !in.DryRun {
		out.Status = http.StatusCreated
	}
	return out, err
}

// newGroup is what it takes to make a group, behind noSuchGroup.
const newGroup = "; a new one takes an administrator"

// orNew says beside that there is no such group what it takes to make one, whether there is one or not.
func orNew(err error) error {
	if e, ok := errors.AsType[huma.StatusError](err); ok && e.GetStatus() == http.StatusNotFound {
		return huma.NewError(http.StatusNotFound, noSuchGroup+newGroup)
	}
	return err
}

func (a *API) patchGroup(ctx context.Context, in *patchGroupInput) (*changed, error) {
	if err := a.do(ctx, access.Own, in.Group); err != nil {
		return nil, err
	}
	return a.editGroup(ctx, in.Group, in.DryRun, func(s *plan.State) error {
		if s.ID == 0 {
			return noGroup()
		}
		if err := in.update(groupTag(*s)); err != nil {
			return err
		}
		now := describeGroup(*s)
		now.ID = ""
		g, err := merged(a, now, in.RawBody)
		if err != nil {
			return err
		}
		return set(s, in.Group, g)
	})
}

// set gives a group its settings; nothing else of it changes.
func set(s *plan.State, name string, g GroupSettings) error {
	if field := fixed(&g.Name, name, "name"); field != "" {
		return missing(field, "is not the name in the path: leave it out")
	}
	s.Group.Name, s.Group.Enabled = name, g.Enabled
	return nil
}

func (a *API) deleteGroup(ctx context.Context, in *deleteGroupInput) (*changed, error) {
	if err := a.do(ctx, access.Own, in.Group); err != nil {
		return nil, err
	}
	out, err := a.editGroup(ctx, in.Group, in.DryRun, func(s *plan.State) error {
		if s.ID == 0 {
			return noGroup()
		}
		s.Remove = true
		return in.update(groupTag(*s))
	})
	if e, ok := errors.AsType[*meta.ContentError](err); ok {
		return nil, conflict(inTheWay(e))
	}
	return out, err
}

// inTheWay says what of a group's content keeps it, and how to take it away.
func inTheWay(e *meta.ContentError) string {
	var parts []string
	if len(e.Hosted) > 0 {
		others := ""
		if e.More {
			others = " and others"
		}
		parts = append(parts, "hosted repositories hold content ("+strings.Join(e.Hosted, ", ")+others+"): delete each with `weir repository delete` or DELETE /groups/{group}/repositories/{repository}")
	}
	if e.Cached {
		parts = append(parts, "there is cached content: delete the group's upstreams (`weir upstream delete`), and let the collector take away what is cached from them, which takes some minutes")
	}
	return "the group cannot be deleted yet; " + strings.Join(parts, "; ")
}

func (a *API) editGroup(ctx context.Context, group string, dryRun bool, change func(*plan.State) error) (*changed, error) {
	p, err := a.Planner.Edit(ctx, group, change, a.options(ctx, dryRun))
	if err != nil {
		return nil, located(err, "groups["+group+"]", "body")
	}
	switch s := p.After[0]; {
	case dryRun:
		return planned(p), nil
	case s.Remove:
		return &changed{Status: http.StatusNoContent}, nil
	default:
		return &changed{Status: http.StatusOK, ETag: groupTag(s), Body: describeGroup(s)}, nil
	}
}

package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

const maxDeclaration = 8 << 20 // bytes

// ApplyRequest is the body of POST /apply.
type ApplyRequest struct {
	desired.Document
	Prune  bool `json:"prune,omitempty" doc:"Remove what the named groups have beyond the declaration"`
	DryRun bool `json:"dry_run,omitempty" doc:"Check and plan only"`
}

// ApplyResponse is what an apply did, or would do.
type ApplyResponse struct {
	Applied bool          `json:"applied" doc:"False after a dry run and when there was nothing to do"`
	Changes []plan.Change `json:"changes"`
	Text    string        `json:"text" doc:"The changes, for people"`
}

// Version is the body of GET /version.
type Version struct {
	Version string `json:"version"`
}

// GroupSummary is a group in a list.
type GroupSummary struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

// GroupDetail is a group in the form in which it would be declared.
type GroupDetail struct {
	ID         string `json:"id"`
	Generation int64  `json:"generation" doc:"Grows with every change of the group's definitions"`
	desired.Group
}

type body[T any] struct{ Body T }

type groupInput struct {
	Group string `path:"group" doc:"Name of the group"`
}

func (a *API) registerDefinitions() {
	operation(a, huma.Operation{
		OperationID: "apply", Method: http.MethodPost, Path: "/apply", MaxBodyBytes: maxDeclaration, Tags: []string{"definitions"},
		Summary: "Make the definitions as declared, or show what that would change",
	}, a.apply)
	operation(a, huma.Operation{
		OperationID: "list-groups", Method: http.MethodGet, Path: "/groups", Tags: []string{"definitions"},
		Summary: "List the groups that the caller may configure",
	}, a.listGroups)
	operation(a, huma.Operation{
		OperationID: "get-group", Method: http.MethodGet, Path: "/groups/{group}", Tags: []string{"definitions"},
		Summary: "Read a group with everything below it, without secrets",
	}, a.getGroup)
	operation(a, huma.Operation{
		OperationID: "list-registries", Method: http.MethodGet, Path: "/groups/{group}/registries", Tags: []string{"definitions"},
		Summary: "List the virtual registries of a group",
	}, section(a, func(g desired.Group) []desired.Registry { return g.Registries }))
	operation(a, huma.Operation{
		OperationID: "list-upstreams", Method: http.MethodGet, Path: "/groups/{group}/upstreams", Tags: []string{"definitions"},
		Summary: "List the upstreams of a group",
	}, section(a, func(g desired.Group) []desired.Upstream { return g.Upstreams }))
	operation(a, huma.Operation{
		OperationID: "list-credentials", Method: http.MethodGet, Path: "/groups/{group}/credentials", Tags: []string{"definitions"},
		Summary: "List the credentials of a group, without their secrets",
	}, section(a, func(g desired.Group) []desired.Credential { return g.Credentials }))
	operation(a, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/version", Tags: []string{"server"},
		Summary: "Read the version of the server",
	}, func(context.Context, *struct{}) (*body[Version], error) {
		return &body[Version]{Version{a.Version}}, nil
	})
}

func (a *API) apply(ctx context.Context, in *body[ApplyRequest]) (*body[ApplyResponse], error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	caller := callerFrom(ctx)
	p, err := a.Planner.Apply(ctx, in.Body.Document, plan.Options{
		Prune: in.Body.Prune, DryRun: in.Body.DryRun, ActorID: caller.ID, RequestID: caller.RequestID,
	})
	if err != nil {
		return nil, err
	}
	out := ApplyResponse{Applied: !in.Body.DryRun && !p.Empty(), Changes: p.Changes, Text: p.Text()}
	if out.Changes == nil {
		out.Changes = []plan.Change{}
	}
	return &body[ApplyResponse]{out}, nil
}

func (a *API) listGroups(ctx context.Context, _ *struct{}) (*body[List[GroupSummary]], error) {
	groups, err := a.Definitions.Groups(ctx)
	if err != nil {
		return nil, err
	}
	out := List[GroupSummary]{Items: []GroupSummary{}}
	for _, g := range groups {
		if a.may(ctx, access.Configure, g.Name) == nil {
			out.Items = append(out.Items, GroupSummary{ID: strconv.FormatInt(g.ID, 10), Name: g.Name, Enabled: g.Enabled})
		}
	}
	return &body[List[GroupSummary]]{out}, nil
}

// group reads a group for a caller who may configure it. That comes first: others must not learn whether it exists.
func (a *API) group(ctx context.Context, name string) (meta.Group, error) {
	if err := a.may(ctx, access.Configure, name); err != nil {
		return meta.Group{}, err
	}
	return a.Definitions.Group(ctx, name)
}

func (a *API) getGroup(ctx context.Context, in *groupInput) (*body[GroupDetail], error) {
	g, err := a.group(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	out := plan.Describe(g)
	grants, err := a.Directory.Grants(ctx, g.ID)
	if err != nil {
		return nil, err
	}
	for _, r := range grants {
		out.Grants = append(out.Grants, desired.Grant{User: r.User, Path: r.Path, Role: string(r.Role)})
	}
	return &body[GroupDetail]{GroupDetail{ID: strconv.FormatInt(g.ID, 10), Generation: g.Generation, Group: out}}, nil
}

// section reads out one list of a group.
func section[T any](a *API, pick func(desired.Group) []T) func(context.Context, *groupInput) (*body[List[T]], error) {
	return func(ctx context.Context, in *groupInput) (*body[List[T]], error) {
		g, err := a.group(ctx, in.Group)
		if err != nil {
			return nil, err
		}
		items := pick(plan.Describe(g))
		if items == nil {
			items = []T{}
		}
		return &body[List[T]]{List[T]{items}}, nil
	}
}

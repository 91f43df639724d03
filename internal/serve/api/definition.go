package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
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

// Declaration is a group with everything below it, in the form in which it would be declared.
type Declaration struct {
	ID         string `json:"id"`
	Generation int64  `json:"generation" doc:"Grows with every change of the group's definitions"`
	desired.Group
}

type body[T any] struct{ Body T }

// GroupInput names a group.
type GroupInput struct {
	Group string `path:"group" maxLength:"128" doc:"Name of the group"`
}

func (a *API) registerDefinitions() {
	operation(a, huma.Operation{
		OperationID: "apply", Method: http.MethodPost, Path: "/apply", MaxBodyBytes: maxDeclaration, Tags: []string{"groups"},
		Summary:     "Make the definitions as declared, or show what that would change",
		Description: "Each part takes what it takes by itself: to configure the group, for credentials, grants, roles, robots, trust rules, the group's own settings and `prune` to own it, for a new group to administer the instance.",
	}, a.apply)
	a.registerGroups()
	operation(a, huma.Operation{
		OperationID: "get-declaration", Method: http.MethodGet, Path: "/groups/{group}/declaration", Tags: []string{"groups"},
		Summary: "Read a group with everything below it as it would be declared, without secrets",
	}, a.declaration)
	a.registerUpstreams()
	a.registerRegistries()
	a.registerCredentials()
	a.registerHosted()
}

// apply lets a caller change of each group what he may change of it by other requests: package plan knows what each part takes. A group
// that he may not see is none.
func (a *API) apply(ctx context.Context, in *body[ApplyRequest]) (*body[ApplyResponse], error) {
	admin := a.may(ctx, access.Administer, "") == nil
	for _, g := range in.Body.Groups {
		if admin {
			break
		}
		if err := a.see(ctx, g.Name); isNotFound(err) {
			return nil, unseen(g.Name)
		} else if err != nil {
			return nil, err
		}
	}
	o := a.options(ctx, in.Body.DryRun)
	o.Prune = in.Body.Prune
	p, err := a.Planner.Apply(ctx, in.Body.Document, o)
	if err != nil {
		return nil, err
	}
	out := ApplyResponse{Applied: !in.Body.DryRun && !p.Empty(), Changes: p.Changes, Text: p.Text()}
	if out.Changes == nil {
		out.Changes = []plan.Change{}
	}
	return &body[ApplyResponse]{out}, nil
}

// unseen answers for a group of a declaration as noGroup does for that of a path: which one of them, and what it takes if it is to be new.
func unseen(group string) error {
	const text = noSuchGroup + newGroup
	return huma.NewError(http.StatusNotFound, text, &huma.ErrorDetail{Location: "groups[" + group + "]", Message: text})
}

// declaration shows who may what too, and so takes an owner.
func (a *API) declaration(ctx context.Context, in *GroupInput) (*body[Declaration], error) {
	if err := a.do(ctx, access.Own, in.Group); err != nil {
		return nil, err
	}
	g, err := a.Definitions.Group(ctx, in.Group)
	if err != nil {
		return nil, orNoGroup(err)
	}
	out := plan.Describe(g)
	if err := a.declareAccounts(ctx, g.ID, &out); err != nil {
		return nil, err
	}
	return &body[Declaration]{Declaration{ID: id(g.ID), Generation: g.Generation, Group: out}}, nil
}

// declareAccounts adds what the directory has of a group.
func (a *API) declareAccounts(ctx context.Context, group int64, out *desired.Group) error {
	roles, err := a.Directory.Roles(ctx, group)
	if err != nil {
		return err
	}
	robots, err := a.Directory.Robots(ctx, group)
	if err != nil {
		return err
	}
	rules, err := a.Directory.TrustRules(ctx, group)
	if err != nil {
		return err
	}
	plan.DescribeAccounts(out, group, roles, robots, rules)
	grants, err := a.Directory.Grants(ctx, group)
	if err != nil {
		return err
	}
	for _, r := range grants {
		if r.Kind != access.User || r.Origin != "" { // not declared, but part of a robot or trust rule, or mapped by a sign-in
			continue
		}
		out.Grants = append(out.Grants, desired.Grant{User: r.User, Path: r.Path, Role: string(r.Role)})
	}
	return nil
}

package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
)

type permissionsInput struct {
	Path string `query:"path" maxLength:"255" doc:"Where: a group, or a group and a path below it; empty: the instance"`
	As   string `query:"as" maxLength:"300" doc:"Who: a user, <group>/<name> for a robot or trust rule, or anonymous; default: the caller. Others take an owner of the group, or an administrator"`
}

// Permissions is what a principal may do at a path, and why.
type Permissions struct {
	Path    string       `json:"path"`
	As      string       `json:"as"`
	Kind    access.Kind  `json:"kind" enum:"anonymous,user,robot,workload,operator"`
	Actions []Permission `json:"actions"`
}

// Permission is the decision about one action: the same that is made when it is tried.
type Permission struct {
	Action  access.Action `json:"action" enum:"pull,catalog,view,push,delete,configure,audit,own,administer"`
	Allowed bool          `json:"allowed"`
	Cause   access.Cause  `json:"cause" enum:"granted,public,login,ungranted,limited,disabled" doc:"limited: a grant covers it, and the token in use does not; disabled: the account may do nothing"`
	Role    access.Role   `json:"role,omitempty" doc:"Of the grant that covers it"`
	Scope   string        `json:"scope,omitempty" doc:"Where that grant is: a path, or the instance"`
	Why     string        `json:"why"`
}

func (a *API) registerPermissions() {
	operation(a, huma.Operation{
		OperationID: "get-permissions", Method: http.MethodGet, Path: "/permissions", Tags: []string{"users"},
		Summary:     "Tell what somebody may do at a path, and by which grant",
		Description: "Where nothing is granted the answer does not depend on what exists.",
	}, a.permissions)
}

func (a *API) permissions(ctx context.Context, in *permissionsInput) (*body[Permissions], error) {
	caller := callerFrom(ctx)
	p := caller.Principal
	if caller.Local {
		p = access.Local()
	}
	if in.As != "" && in.As != caller.Name {
		if err := a.mayAskAbout(ctx, in.Path); err != nil {
			return nil, err
		}
		var err error
		if p, err = a.Directory.As(ctx, caller.Principal, in.As); err != nil {
			return nil, err
		}
	}
	public := a.Public != nil && in.Path != "" && a.Public(ctx, in.Path)
	list, err := a.Directory.Permissions(ctx, p, in.Path, public)
	if err != nil {
		return nil, err
	}
	out := Permissions{Path: in.Path, As: p.Name, Kind: p.Kind, Actions: make([]Permission, len(list))}
	for i, v := range list {
		out.Actions[i] = Permission{Action: v.Action, Allowed: v.Allowed, Cause: v.Cause, Role: v.Role, Scope: v.Scope, Why: v.Why}
	}
	return &body[Permissions]{out}, nil
}

// mayAskAbout is for questions about others: what they may in a group is the business of its owners.
func (a *API) mayAskAbout(ctx context.Context, path string) error {
	group, _, _ := strings.Cut(path, "/")
	if group == "" {
		return a.may(ctx, access.Administer, "")
	}
	return a.do(ctx, access.Own, group)
}

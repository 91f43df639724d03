package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
)

// Role is a named set of actions.
type Role struct {
	Name      string          `json:"name,omitempty" doc:"Lower-case letters and digits with single separators; none of the built-in ones"`
	Actions   []access.Action `json:"actions,omitempty" doc:"What it allows, at the place of the grant and below: any of pull, catalog, view, push, delete, configure, audit and own. The built-in role admin alone has administer too"`
	Builtin   bool            `json:"builtin,omitempty" readOnly:"true"`
	Instance  bool            `json:"instance,omitempty" readOnly:"true" doc:"Of the instance: every group's grants can give it"`
	CreatedAt *time.Time      `json:"created_at,omitempty" readOnly:"true"`
	UpdatedAt *time.Time      `json:"updated_at,omitempty" readOnly:"true"`
}

func describeRole(r access.RoleSet) Role {
	return Role{
		Name: string(r.Role), Actions: r.Actions, Builtin: r.Builtin, Instance: r.Builtin || r.GroupID == 0,
		CreatedAt: optional(r.CreatedAt), UpdatedAt: optional(r.UpdatedAt),
	}
}

func (a *API) roles() *owned[Role] {
	k := &owned[Role]{
		one: "role", many: "roles", segment: "roles", kind: plan.KindRole, see: access.View, key: func(v Role) string { return v.Name },
		named: func(v *Role, name string) string { return fixed(&v.Name, name, "name") },
		strip: func(v *Role) { v.Builtin, v.Instance, v.CreatedAt, v.UpdatedAt = false, false, nil, nil },
		list: func(ctx context.Context, group int64) ([]Role, error) {
			sets, err := a.Directory.Roles(ctx, group)
			out := make([]Role, len(sets))
			for i, r := range sets {
				out[i] = describeRole(r)
			}
			return out, err
		},
		put: func(ctx context.Context, by access.Actor, group int64, v Role, check func(*Role) error) (Role, error) {
			r, err := a.Directory.PutRole(ctx, by, access.RoleSet{GroupID: group, Role: access.Role(v.Name), Actions: v.Actions}, adapt(check, describeRole))
			return describeRole(r), err
		},
		remove: func(ctx context.Context, by access.Actor, group int64, name string, check func(*Role) error) error {
			err := a.Directory.DeleteRole(ctx, by, group, access.Role(name), adapt(check, describeRole))
			return a.whoHas(ctx, group, access.Role(name), err)
		},
		gives: func(ctx context.Context, group string, v Role) error {
			return plan.Allow(a.asks(ctx), access.ToGive("body.actions", group, v.Actions))
		},
	}
	k.get = func(ctx context.Context, group int64, name string) (Role, error) {
		all, err := k.list(ctx, group)
		if err != nil {
			return Role{}, err
		}
		for _, r := range all {
			if r.Name == name {
				return r, nil
			}
		}
		return Role{}, access.ErrNotFound
	}
	return k
}

const namedAccounts = 5 // that a conflict names

// whoHas adds to the error of a role in use who loses something when it goes.
func (a *API) whoHas(ctx context.Context, group int64, role access.Role, err error) error {
	if !errors.Is(err, access.ErrRoleInUse) || group == 0 {
		return err
	}
	grants, listErr := a.Directory.Grants(ctx, group)
	if listErr != nil {
		return listErr
	}
	var have []string
	for _, g := range grants {
		if g.Role == role && !slices.Contains(have, g.User) {
			have = append(have, g.User)
		}
	}
	if len(have) > namedAccounts {
		have = append(have[:namedAccounts], "others")
	}
	return conflict("grants give the role to " + strings.Join(have, ", ") + ": give them another, or none, first")
}

// adapt turns a condition on what the API shows into one on what the directory has.
func adapt[A, B any](check func(*B) error, show func(A) B) func(*A) error {
	return func(now *A) error {
		if now == nil {
			return check(nil)
		}
		v := show(*now)
		return check(&v)
	}
}

// InstanceRoleInput names a role of the instance.
type InstanceRoleInput struct {
	Name string `path:"name" maxLength:"128"`
	Conditions
}

type putInstanceRoleInput struct {
	InstanceRoleInput
	Body Role
}

type patchInstanceRoleInput struct {
	InstanceRoleInput
	RawBody []byte `contentType:"application/merge-patch+json"`
}

type deleteInstanceRoleInput struct {
	Name string `path:"name" maxLength:"128"`
	Conditions
	Try
}

type listRolesInput struct {
	Name string `query:"name" maxLength:"128" doc:"Only those with this in their name"`
	Sort string `query:"sort" enum:"name,-name" default:"name" doc:"Order; with - backwards"`
	ActionFilter
	ListInput
}

// registerRoles declares the roles of groups, and those of the instance, which administrators make.
func (a *API) registerRoles() {
	k := a.roles()
	listedOwned[Role, roleFilters](a, k)
	k.register(a)
	tags := []string{"roles"}
	operation(a, huma.Operation{
		OperationID: "list-instance-roles", Method: http.MethodGet, Path: "/roles", Tags: tags, Summary: "List the roles that every group's grants can give",
	}, func(ctx context.Context, in *listRolesInput) (*page[Role], error) {
		items, err := k.list(ctx, 0)
		if err != nil {
			return nil, err
		}
		return pageOf(ctx, in.ListInput, in.Sort, without(containing(items, k.key, in.Name), func(v Role) bool { return !in.keeps(v) }), k.key)
	})
	operation(a, huma.Operation{
		OperationID: "get-instance-role", Method: http.MethodGet, Path: "/roles/{name}", Tags: tags, Summary: "Read a role of the instance",
	}, func(ctx context.Context, in *InstanceRoleInput) (*tagged[Role], error) {
		return k.read(ctx, 0, in.Name, in.Conditions)
	})
	operation(a, changes[Role](a, huma.Operation{
		OperationID: "put-instance-role", Method: http.MethodPut, Path: "/roles/{name}", Tags: tags, Summary: "Create or replace a role of the instance",
	}, true), func(ctx context.Context, in *putInstanceRoleInput) (*changed, error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return k.replace(ctx, a, "", 0, in.Name, in.Conditions, in.Body)
	})
	operation(a, patches[Role](a, huma.Operation{
		OperationID: "patch-instance-role", Method: http.MethodPatch, Path: "/roles/{name}", Tags: tags, Summary: "Change fields of a role of the instance",
		Description: "A JSON merge patch (RFC 7396).",
	}), func(ctx context.Context, in *patchInstanceRoleInput) (*changed, error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return k.patch(ctx, a, 0, &patchOwnedInput{OneInput: OneInput{Name: in.Name}, Conditions: in.Conditions, RawBody: in.RawBody})
	})
	operation(a, removes(a, huma.Operation{
		OperationID: "delete-instance-role", Method: http.MethodDelete, Path: "/roles/{name}", Tags: tags, Summary: "Delete a role of the instance",
	}), func(ctx context.Context, in *deleteInstanceRoleInput) (*changed, error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return k.delete(ctx, a, "", 0, &DeleteInput{OneInput: OneInput{Name: in.Name}, Conditions: in.Conditions, Try: in.Try})
	})
}

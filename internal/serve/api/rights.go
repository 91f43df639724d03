package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
)

// noGroup answers for a group that does not exist and for one that the caller may not see, with the same bytes.
func noGroup() error {
	return huma.NewError(http.StatusNotFound, noSuchGroup)
}

// notThere answers for something in a group that the caller may see.
func notThere(what string) error {
	return huma.NewError(http.StatusNotFound, "the group has no such "+what)
}

// may returns nil if the caller may act at path, else the error that says so: 403 with what it takes.
func (a *API) may(ctx context.Context, action access.Action, path string) error {
	caller := callerFrom(ctx)
	if caller.Local {
		return nil
	}
	d, err := a.Directory.Check(ctx, caller.Principal, access.Request{Action: action, Path: path})
	if err != nil {
		return err
	}
	return d.Err()
}

// asks is may of a caller, for package plan.
func (a *API) asks(ctx context.Context) access.May {
	return func(action access.Action, path string) error { return a.may(ctx, action, path) }
}

// gives refuses grants that give more than the caller has, before it tells which of them cannot be.
func (a *API) gives(ctx context.Context, group string, grants []Given) error {
	number, err := a.groupID(ctx, group)
	if err != nil {
		return err
	}
	var takes []access.Right
	var wrong error // the first
	for i, g := range grants {
		at := fmt.Sprintf("grants[%d]", i)
		actions, err := a.Directory.RoleActions(ctx, number, access.Role(g.Role))
		if errors.Is(err, access.ErrRole) {
			wrong = cmp.Or(wrong, missing(at+".role", access.ErrRole.Error()))
		} else if err != nil {
			return err
		}
		if g.Path != "" && !oci.ValidRepository(g.Path) {
			wrong = cmp.Or(wrong, missing(at+".path", access.ErrPath.Error()))
		}
		takes = append(takes, access.ToGive("body."+at+".role", plan.Below(group, g.Path), actions)...)
	}
	return cmp.Or(plan.Allow(a.asks(ctx), takes), wrong)
}

// see returns nil if the caller may know what is defined in group, else the problem of a group that does not exist; who has a grant
// below it knows that it does, and gets 403 with what it takes.
func (a *API) see(ctx context.Context, group string) error {
	caller := callerFrom(ctx)
	if caller.Local {
		return nil
	}
	d, err := a.Directory.Check(ctx, caller.Principal, access.Request{Action: access.View, Path: group})
	if err != nil || d.Allowed {
		return err
	}
	below, err := a.grantedBelow(ctx, group)
	if err != nil {
		return err
	}
	if below {
		return d.Err()
	}
	return noGroup()
}

// grantedBelow reports whether the caller has a grant below the group that his token lets him use.
func (a *API) grantedBelow(ctx context.Context, group string) (bool, error) {
	caller := callerFrom(ctx)
	if caller.ID == 0 {
		return false, nil
	}
	grants, err := a.Directory.GrantsOf(ctx, caller.ID)
	if err != nil {
		return false, err
	}
	for _, g := range grants {
		if g.Group != group || g.Path == "" {
			continue
		}
		for _, action := range []access.Action{access.View, access.Pull} {
			d, err := a.Directory.Check(ctx, caller.Principal, access.Request{Action: action, Path: group + "/" + g.Path})
			if err != nil || d.Allowed {
				return d.Allowed, err
			}
		}
	}
	return false, nil
}

// knows returns nil if the caller may know that there is such a group: he sees it, or has a grant below it.
func (a *API) knows(ctx context.Context, group string) error {
	err := a.see(ctx, group)
	if err == nil || isNotFound(err) {
		return err
	}
	below, failed := a.grantedBelow(ctx, group)
	if failed != nil || below {
		return failed
	}
	return err
}

// do returns nil if the caller may act at path, which begins with a group: 404 unless the group is known, then 403.
func (a *API) do(ctx context.Context, action access.Action, path string) error {
	group, _, _ := strings.Cut(path, "/")
	err := a.see(ctx, group)
	if err == nil {
		return a.may(ctx, action, path)
	}
	if oci.ErrorCode(err) == oci.CodeDenied { // by a grant below: what the action takes is more than what seeing does
		return cmp.Or(a.may(ctx, action, path), err)
	}
	return err
}

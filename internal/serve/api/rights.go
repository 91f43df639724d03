package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
)

// noGroup answers for a group that does not exist and for one that the caller may not see, with the same bytes.
func noGroup() error {
	return huma.NewError(http.StatusNotFound, "there is no such group, or you may not see it")
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

// see returns nil if the caller may know what is defined in group, else the problem of a group that does not exist.
func (a *API) see(ctx context.Context, group string) error {
	caller := callerFrom(ctx)
	if caller.Local {
		return nil
	}
	d, err := a.Directory.Check(ctx, caller.Principal, access.Request{Action: access.View, Path: group})
	if err != nil {
		return err
	}
	if !d.Allowed {
		return noGroup()
	}
	return nil
}

// do returns nil if the caller may act at path, which begins with a group: 404 unless the group can be seen, then 403.
func (a *API) do(ctx context.Context, action access.Action, path string) error {
	group, _, _ := strings.Cut(path, "/")
	if err := a.see(ctx, group); err != nil {
		return err
	}
	return a.may(ctx, action, path)
}

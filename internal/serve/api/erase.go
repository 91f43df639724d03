package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event/audit"
)

type eraseInput struct {
	Name string `path:"name" maxLength:"128" doc:"Name of a user, also of one that was deleted, or an id"`
}

func (a *API) registerErase() {
	operation(a, huma.Operation{
		OperationID: "erase-user", Method: http.MethodPost, Path: "/users/{name}/erase", Tags: []string{"users"}, DefaultStatus: http.StatusNoContent,
		Summary:     "Erase who a user is",
		Description: "Deletes the account, if it is still there, its name and the addresses it came from. Events stay as they are: they have its id alone.",
	}, func(ctx context.Context, in *eraseInput) (*struct{}, error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return nil, a.Directory.EraseUser(ctx, a.actor(ctx), in.Name, audit.Forget)
	})
}

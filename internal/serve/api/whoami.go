package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
)

// Identity is who a request comes from, and what it came with.
type Identity struct {
	Name    string          `json:"name"`
	Kind    access.Kind     `json:"kind" enum:"user,robot,workload,operator" doc:"workload: let in by a trust rule; operator: through the socket in the data folder; may do everything"`
	UserID  string          `json:"user_id,omitempty"`
	TokenID string          `json:"token_id,omitempty" doc:"Absent: a password or the socket"`
	Token   string          `json:"token,omitempty" doc:"Name of the token"`
	Limit   *access.Ceiling `json:"limit,omitempty" doc:"What the token is limited to"`
}

func (a *API) registerIdentity() {
	operation(a, huma.Operation{
		OperationID: "whoami", Method: http.MethodGet, Path: "/whoami", Tags: []string{"users"},
		Summary: "Tell who is asking, and with what",
	}, a.whoami)
}

func (a *API) whoami(ctx context.Context, _ *struct{}) (*body[Identity], error) {
	caller := callerFrom(ctx)
	if caller.Local {
		return &body[Identity]{Identity{Name: access.Local().Name, Kind: access.Operator}}, nil
	}
	out := Identity{Name: caller.Name, Kind: caller.Kind, UserID: strconv.FormatInt(caller.ID, 10), Token: caller.Token, Limit: caller.Ceiling}
	if caller.TokenID != 0 {
		out.TokenID = strconv.FormatInt(caller.TokenID, 10)
	}
	return &body[Identity]{out}, nil
}

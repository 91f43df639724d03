package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
)

// adminUser is whose tokens the unix socket makes unless it is told.
const adminUser = "admin"

// TokenRequest is the body of POST /tokens.
type TokenRequest struct {
	Name      string          `json:"name,omitempty"`
	User      string          `json:"user,omitempty" doc:"Whose; default: the caller's. Others' take an administrator"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty" doc:"Default: never"`
	Limit     *access.Ceiling `json:"limit,omitempty" doc:"What the token is limited to; default: everything that its user may"`
}

// Token is a personal token.
type Token struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	User       string          `json:"user"`
	Limit      *access.Ceiling `json:"limit,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	ExpiresAt  *time.Time      `json:"expires_at,omitempty" doc:"Absent: never"`
	LastUsedAt *time.Time      `json:"last_used_at,omitempty" doc:"Exact to a few minutes"`
	RevokedAt  *time.Time      `json:"revoked_at,omitempty"`
}

// NewToken is a token with its text.
type NewToken struct {
	Token
	Text string `json:"token" doc:"Shown this once"`
}

type tokenListInput struct {
	User string `query:"user" doc:"Whose; default: the caller's. Others' take an administrator"`
}

type tokenInput struct {
	User string `query:"user" doc:"Whose; default: the caller's. Others' take an administrator"`
	ID   string `path:"id"`
}

func (a *API) registerTokens() {
	operation(a, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: "/tokens", DefaultStatus: http.StatusCreated, Tags: []string{"tokens"},
		Summary: "Make a personal token",
	}, a.createToken)
	operation(a, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: "/tokens", Tags: []string{"tokens"},
		Summary: "List personal tokens, revoked and expired ones included",
	}, a.listTokens)
	operation(a, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: "/tokens/{id}", Tags: []string{"tokens"},
		Summary: "Revoke a personal token",
	}, a.revokeToken)
}

// owner finds whose tokens an operation is about. A caller's own need no grant, unless the token in use is limited: a
// limited token must not make an unlimited one.
func (a *API) owner(ctx context.Context, name string) (access.Account, error) {
	caller := callerFrom(ctx)
	if name == "" && caller.ID == 0 {
		name = adminUser
	}
	own := name == "" || name == caller.Name && caller.ID != 0
	if !own || caller.Ceiling != nil {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return access.Account{}, err
		}
	}
	if own {
		return access.Account{ID: caller.ID, Name: caller.Name}, nil
	}
	return a.Directory.Account(ctx, name)
}

func (a *API) actor(ctx context.Context) access.Actor {
	caller := callerFrom(ctx)
	return access.Actor{ID: caller.ID, RequestID: caller.RequestID}
}

func (a *API) createToken(ctx context.Context, in *body[TokenRequest]) (*body[NewToken], error) {
	owner, err := a.owner(ctx, in.Body.User)
	if err != nil {
		return nil, err
	}
	var expires time.Time
	if in.Body.ExpiresAt != nil {
		expires = *in.Body.ExpiresAt
	}
	text, t, err := a.Directory.CreateToken(ctx, a.actor(ctx), owner.ID, in.Body.Name, expires, in.Body.Limit)
	if err != nil {
		return nil, err
	}
	return &body[NewToken]{NewToken{Token: token(owner, t), Text: text}}, nil
}

func (a *API) listTokens(ctx context.Context, in *tokenListInput) (*body[List[Token]], error) {
	owner, err := a.owner(ctx, in.User)
	if err != nil {
		return nil, err
	}
	tokens, err := a.Directory.Tokens(ctx, owner.ID)
	if err != nil {
		return nil, err
	}
	out := List[Token]{Items: []Token{}}
	for _, t := range tokens {
		out.Items = append(out.Items, token(owner, t))
	}
	return &body[List[Token]]{out}, nil
}

func (a *API) revokeToken(ctx context.Context, in *tokenInput) (*struct{}, error) {
	owner, err := a.owner(ctx, in.User)
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil {
		return nil, access.ErrNotFound
	}
	return nil, a.Directory.RevokeToken(ctx, a.actor(ctx), owner.ID, id)
}

func token(owner access.Account, t access.Token) Token {
	return Token{
		ID: strconv.FormatInt(t.ID, 10), Name: t.Name, User: owner.Name, Limit: t.Ceiling, CreatedAt: t.CreatedAt,
		ExpiresAt: optional(t.ExpiresAt), LastUsedAt: optional(t.LastUsedAt), RevokedAt: optional(t.RevokedAt),
	}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

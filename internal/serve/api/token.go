package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
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
	TokenState
	ListInput
}

// TokenState is the parameter of lists of tokens.
type TokenState struct {
	State string `query:"state" enum:"active,expired,revoked" doc:"Only those that log in, whose time is over, or that were revoked"`
}

// stateOf tells whether a token logs in.
func stateOf(t access.Token, now time.Time) string {
	switch {
	case !t.RevokedAt.IsZero() && !t.RevokedAt.After(now):
		return "revoked"
	case !t.ExpiresAt.IsZero() && !t.ExpiresAt.After(now):
		return "expired"
	}
	return "active"
}

// TokenInput names a personal token.
type TokenInput struct {
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
	operation(a, huma.Operation{
		OperationID: "rotate-token", Method: http.MethodPost, Path: "/tokens/{id}/rotate", DefaultStatus: http.StatusCreated, Tags: []string{"tokens"},
		Summary: "Make the token that follows a personal token", Description: rotationText,
	}, a.rotate)
}

// owner finds whose tokens an operation is about. A caller's own need no grant, unless the token in use is limited: a
// limited token must not make an unlimited one.
func (a *API) owner(ctx context.Context, name string) (access.Account, error) {
	caller := callerFrom(ctx)
	if name == "" && caller.ID == 0 {
		name = adminUser
	}
	own := name == "" || name == caller.Name && caller.ID != 0
	if err := a.mayAbout(ctx, own); err != nil {
		return access.Account{}, err
	}
	if own {
		if caller.Kind != access.User { // robots' tokens are their group's business, and workloads have none
			return access.Account{}, huma.NewError(http.StatusForbidden, "personal tokens are for users; those of robots are made by owners of their group")
		}
		return access.Account{ID: caller.ID, Name: caller.Name}, nil
	}
	return a.Directory.Account(ctx, name)
}

// mayAbout lets everybody see to the own account, with a login that is not limited; otherwise it takes an administrator.
func (a *API) mayAbout(ctx context.Context, own bool) error {
	if own && callerFrom(ctx).Ceiling == nil {
		return nil
	}
	err := a.may(ctx, access.Administer, "")
	if own && oci.ErrorCode(err) == oci.CodeDenied {
		return huma.NewError(http.StatusForbidden, "the token in use is limited, and this is not: it takes the password, or a token without a limit")
	}
	return err
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
	return a.makeToken(ctx, owner, in.Body.Name, in.Body.ExpiresAt, in.Body.Limit)
}

func (a *API) makeToken(ctx context.Context, owner access.Account, name string, expires *time.Time, limit *access.Ceiling) (*body[NewToken], error) {
	text, t, err := a.Directory.CreateToken(ctx, a.actor(ctx), owner.ID, name, deref(expires), limit)
	if err != nil {
		return nil, err
	}
	return &body[NewToken]{NewToken{Token: token(owner, t), Text: text}}, nil
}

func (a *API) listTokens(ctx context.Context, in *tokenListInput) (*page[Token], error) {
	owner, err := a.owner(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return a.tokenPage(ctx, owner, in.State, in.ListInput)
}

// tokenPage is in the order in which tokens were made: ids grow, and have as many digits for centuries.
func (a *API) tokenPage(ctx context.Context, owner access.Account, state string, in ListInput) (*page[Token], error) {
	tokens, err := a.Directory.Tokens(ctx, owner.ID)
	if err != nil {
		return nil, err
	}
	items, now := []Token{}, time.Now()
	for _, t := range tokens {
		if state == "" || stateOf(t, now) == state {
			items = append(items, token(owner, t))
		}
	}
	return pageOf(ctx, in, "created", items, func(t Token) string { return fmt.Sprintf("%020s", t.ID) })
}

func (a *API) revokeToken(ctx context.Context, in *TokenInput) (*struct{}, error) {
	owner, err := a.owner(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return nil, a.endToken(ctx, owner, in.ID)
}

func (a *API) endToken(ctx context.Context, owner access.Account, number string) error {
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return access.ErrNotFound
	}
	return a.Directory.RevokeToken(ctx, a.actor(ctx), owner.ID, id)
}

// Rotation is how one token follows another.
type Rotation struct {
	ExpiresAt      *time.Time `json:"expires_at,omitempty" doc:"Of the new one; default: it lives as long as the old one was to live"`
	OverlapSeconds int64      `json:"overlap_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"How long the old one goes on working; default: not at all"`
}

const rotationText = "The new token has the name, limit and life of the old one, which ends after the overlap, with the bearer tokens that it gave."

type rotateTokenInput struct {
	TokenInput
	Body Rotation
}

func (a *API) rotate(ctx context.Context, in *rotateTokenInput) (*body[NewToken], error) {
	owner, err := a.owner(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return a.rotateToken(ctx, owner, in.ID, in.Body)
}

func (a *API) rotateToken(ctx context.Context, owner access.Account, number string, r Rotation) (*body[NewToken], error) {
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return nil, access.ErrNotFound
	}
	overlap := time.Duration(r.OverlapSeconds) * time.Second
	text, t, err := a.Directory.RotateToken(ctx, a.actor(ctx), owner.ID, id, deref(r.ExpiresAt), overlap)
	if err != nil {
		return nil, err
	}
	return &body[NewToken]{NewToken{Token: token(owner, t), Text: text}}, nil
}

func deref(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
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

package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve/session"
)

// Sessions keeps browsers logged in; *session.Manager is one.
type Sessions interface {
	SameOrigin(r *http.Request) error
	Start(ctx context.Context, p access.Principal, method, userAgent string) (*http.Cookie, session.Session, error)
	List(ctx context.Context, account int64) ([]session.Session, error)
	Revoke(ctx context.Context, by access.Actor, account, id int64) error
	Forget(ctx context.Context) *http.Cookie
}

// Session is a browser's login.
type Session struct {
	ID         string    `json:"id"`
	User       string    `json:"user"`
	Method     string    `json:"method" doc:"password, or the name of the sign-in provider"`
	Address    string    `json:"address,omitempty" doc:"Of the client that logged in"`
	UserAgent  string    `json:"user_agent,omitempty"`
	Current    bool      `json:"current,omitempty" doc:"The one of this request"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at" doc:"Exact to a minute"`
	ExpiresAt  time.Time `json:"expires_at" doc:"Unless it is used before"`
}

type loginInput struct {
	UserAgent string `header:"User-Agent" maxLength:"4096"`
	Body      struct {
		User     string `json:"user" maxLength:"128"`
		Password string `json:"password" maxLength:"1024"`
	}
}

type loginOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      Session
}

type logoutOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

type sessionInput struct {
	ID string `path:"id" maxLength:"20"`
}

// anyone marks operations that take no login.
const anyone = "anyone"

func (a *API) registerSessions() {
	tags := []string{"sessions"}
	operation(a, huma.Operation{
		OperationID: "create-session", Method: http.MethodPost, Path: "/session", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Log a browser in with a password; its session is in a cookie", Security: []map[string][]string{}, Metadata: map[string]any{anyone: true},
	}, a.logIn)
	operation(a, huma.Operation{
		OperationID: "delete-session", Method: http.MethodDelete, Path: "/session", Tags: tags, Summary: "Log this browser out",
	}, a.logOut)
	operation(a, huma.Operation{
		OperationID: "list-sign-in-providers", Method: http.MethodGet, Path: "/session/providers", Tags: tags,
		Summary: "List the names of the identity providers that people sign in with", Security: []map[string][]string{}, Metadata: map[string]any{anyone: true},
	}, a.signInProviders)
	operation(a, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/sessions", Tags: tags, Summary: "List the browsers that the caller is logged in with",
	}, a.listSessions)
	operation(a, huma.Operation{
		OperationID: "revoke-session", Method: http.MethodDelete, Path: "/sessions/{id}", Tags: tags, Summary: "Log one of the caller's browsers out",
	}, a.revokeSession)
}

// SignInProvider is a way to sign in beside a password.
type SignInProvider struct {
	Name string `json:"name" doc:"A browser begins at /auth/<name>/login"`
}

// signInProviders is for login pages, and so for everybody: it tells names, which the login page shows anyway, and nothing else.
func (a *API) signInProviders(ctx context.Context, in *struct{ ListInput }) (*page[SignInProvider], error) {
	items := make([]SignInProvider, len(a.SignIn))
	for i, name := range a.SignIn {
		items[i].Name = name
	}
	return pageOf(ctx, in.ListInput, "name", items, func(p SignInProvider) string { return p.Name })
}

func (a *API) logIn(ctx context.Context, in *loginInput) (*loginOutput, error) {
	caller := callerFrom(ctx)
	p, err := a.Directory.Login(ctx, in.Body.User, in.Body.Password, access.Credentials{Address: caller.Address, RequestID: caller.RequestID})
	if err != nil {
		return nil, err
	}
	if p.Kind != access.User || p.TokenID != 0 {
		return nil, oci.NewError(oci.CodeUnauthorized, "a session takes a user's password; send tokens as they are, in Authorization")
	}
	cookie, s, err := a.Sessions.Start(ctx, p, "password", in.UserAgent)
	if err != nil {
		return nil, err
	}
	out := describeSession(s, p)
	out.Current = true
	return &loginOutput{*cookie, out}, nil
}

func (a *API) logOut(ctx context.Context, _ *struct{}) (*logoutOutput, error) {
	caller := callerFrom(ctx)
	if caller.Session != 0 {
		err := a.Sessions.Revoke(ctx, a.actor(ctx), caller.ID, caller.Session)
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			return nil, err
		}
	}
	return &logoutOutput{*a.Sessions.Forget(ctx)}, nil
}

// ownSessions is for users; a token that is limited must not log its user's browsers out.
func (a *API) ownSessions(ctx context.Context) (Caller, error) {
	caller := callerFrom(ctx)
	if caller.Local {
		return caller, huma.NewError(http.StatusForbidden, "sessions are a user's own, and the server's own socket is no user: log in as one")
	}
	if caller.Kind != access.User || caller.Ceiling != nil {
		return caller, huma.NewError(http.StatusForbidden, "sessions are for users, and not for limited tokens")
	}
	return caller, nil
}

func (a *API) listSessions(ctx context.Context, in *struct{ ListInput }) (*page[Session], error) {
	caller, err := a.ownSessions(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := a.Sessions.List(ctx, caller.ID)
	if err != nil {
		return nil, err
	}
	items := make([]Session, len(sessions))
	for i, s := range sessions {
		items[i] = describeSession(s, caller.Principal)
	}
	return pageOf(ctx, in.ListInput, "created", items, func(s Session) string { return s.ID })
}

func (a *API) revokeSession(ctx context.Context, in *sessionInput) (*struct{}, error) {
	caller, err := a.ownSessions(ctx)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil {
		err = session.ErrNotFound
	} else {
		err = a.Sessions.Revoke(ctx, a.actor(ctx), caller.ID, number)
	}
	if errors.Is(err, session.ErrNotFound) {
		return nil, huma.NewError(http.StatusNotFound, "you have no such session")
	}
	return nil, err
}

func describeSession(s session.Session, p access.Principal) Session {
	return Session{
		ID: id(s.ID), User: p.Name, Method: s.Method, Address: s.Address, UserAgent: s.UserAgent, Current: s.ID == p.Session,
		CreatedAt: s.CreatedAt, LastUsedAt: s.LastUsedAt, ExpiresAt: s.ExpiresAt,
	}
}

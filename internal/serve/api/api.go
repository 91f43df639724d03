// Package api is the REST door for people and tools, /api/v1: everything that Weir can do beside pulls and pushes. It asks access who
// may, plan and access to change what is defined, event/audit about what happened, work about what happens later, and, through interfaces
// of its own, package content about what is kept. The command line is its client.
//
// Operations are declared with huma, so the OpenAPI document (/api/v1/openapi.json, docs/reference/openapi.json) is made from
// the types that are served. Errors are problems as of RFC 9457; they never echo what was sent, which may be a secret.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/event/audit"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Prefix is where the API is mounted.
const Prefix = "/api/v1"

// Caller is who asks.
type Caller struct {
	access.Principal
	Local     bool // came through the unix socket in the data folder, which only the operator can open: may do everything
	RequestID string
	Address   netip.Addr // where the request comes from
}

// Authorizer tells who sent a request. The error is an *oci.Error for bad credentials; no credentials are no error.
type Authorizer func(r *http.Request) (Caller, error)

// Directory knows accounts, tokens and grants; *access.Directory is one.
type Directory interface {
	Check(ctx context.Context, p access.Principal, r access.Request) (access.Decision, error)
	Permissions(ctx context.Context, p access.Principal, path string, public bool) ([]access.Permission, error)
	As(ctx context.Context, asker access.Principal, name string) (access.Principal, error)

	Accounts(ctx context.Context) ([]access.Account, error)
	Account(ctx context.Context, name string) (access.Account, error)
	CreateUser(ctx context.Context, by access.Actor, name, password string) (access.Account, error)
	CheckPassword(ctx context.Context, userID int64, password string, from netip.Addr) error
	SetPassword(ctx context.Context, by access.Actor, userID int64, password string) error
	Login(ctx context.Context, name, password string, c access.Credentials) (access.Principal, error)
	SetDisabled(ctx context.Context, by access.Actor, userID int64, disabled bool, check func(now *access.Account) error) error
	DeleteUser(ctx context.Context, by access.Actor, userID int64, check func(now *access.Account) error) error
	EraseUser(ctx context.Context, by access.Actor, who string, also func(ctx context.Context, tx *meta.Tx, id int64) error) error

	CreateToken(ctx context.Context, by access.Actor, accountID int64, name string, expires time.Time, c *access.Ceiling) (string, access.Token, error)
	RotateToken(ctx context.Context, by access.Actor, accountID, tokenID int64, expires time.Time, overlap time.Duration) (string, access.Token, error)
	Tokens(ctx context.Context, accountID int64) ([]access.Token, error)
	RevokeToken(ctx context.Context, by access.Actor, accountID, tokenID int64) error

	Grants(ctx context.Context, group int64) ([]access.Grant, error)
	GrantsOf(ctx context.Context, account int64) ([]access.Grant, error)
	PutGrant(ctx context.Context, by access.Actor, g access.Grant, check func(now *access.Role) error) error
	DeleteGrant(ctx context.Context, by access.Actor, g access.Grant, check func(now *access.Role) error) error

	Roles(ctx context.Context, group int64) ([]access.RoleSet, error)
	RoleActions(ctx context.Context, group int64, name access.Role) ([]access.Action, error)
	PutRole(ctx context.Context, by access.Actor, r access.RoleSet, check func(*access.RoleSet) error) (access.RoleSet, error)
	DeleteRole(ctx context.Context, by access.Actor, group int64, name access.Role, check func(*access.RoleSet) error) error

	Robots(ctx context.Context, group int64) ([]access.Machine, error)
	Robot(ctx context.Context, group int64, name string) (access.Machine, error)
	PutRobot(ctx context.Context, by access.Actor, m access.Machine, check func(*access.Machine) error) (access.Machine, error)
	DeleteRobot(ctx context.Context, by access.Actor, group int64, name string, check func(*access.Machine) error) error

	TrustRules(ctx context.Context, group int64) ([]access.TrustRule, error)
	TrustRule(ctx context.Context, group int64, name string) (access.TrustRule, error)
	PutTrustRule(ctx context.Context, by access.Actor, r access.TrustRule, check func(*access.TrustRule) error) (access.TrustRule, error)
	DeleteTrustRule(ctx context.Context, by access.Actor, group int64, name string, check func(*access.TrustRule) error) error
}

// Planner applies declarations; *plan.Planner is one.
type Planner interface {
	Apply(ctx context.Context, d desired.Document, o plan.Options) (*plan.Plan, error)
	Edit(ctx context.Context, group string, change func(*plan.State) error, o plan.Options) (*plan.Plan, error)
}

// Definitions reads what is configured; *meta.DB is one.
type Definitions interface {
	// GroupsPage returns up to limit groups, without what is below them, by name after the given one; backwards if so asked.
	GroupsPage(ctx context.Context, after string, backwards bool, limit int) ([]meta.Group, error)
	// Group returns one with everything below it; meta.ErrNotFound.
	Group(ctx context.Context, name string) (meta.Group, error)
}

// Explainer tells how a pull would be answered, as far as q.Caller may know. Errors: *oci.Error, DENIED for a question about
// somebody else from who may not configure the group; access.ErrNotFound for an unknown user.
type Explainer interface {
	Explain(ctx context.Context, q Question) (Explanation, error)
}

// Refresher makes cached references be confirmed anew. progress, if it is not nil, is called about once a second. Errors: *oci.Error.
type Refresher interface {
	Refresh(ctx context.Context, t RefreshTarget, progress func(RefreshProgress)) (Refreshed, error)
}

// Options are what the API works with. All are needed.
type Options struct {
	Authorize   Authorizer
	Directory   Directory
	Definitions Definitions
	Planner     Planner
	Explainer   Explainer
	Refresher   Refresher
	Checker     Checker
	Searcher    Searcher
	Upstreams   Upstreams
	Sessions    Sessions
	Public      func(ctx context.Context, path string) bool // whether anybody may pull there; nil: nowhere
	SignIn      []string                                    // names of the identity providers that people sign in with
	Content     Content
	Trail       Trail
	Jobs        Jobs
	Version     string
	// Capabilities of the server; what the API knows itself, and about the caller, is filled in.
	Capabilities Capabilities
	Log          *slog.Logger
}

// API is the door. Mount it at Prefix.
type API struct {
	Options
	mux  *http.ServeMux
	huma huma.API
	docs docsPage
}

// New declares the operations.
func New(o Options) *API {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{Options: o, mux: http.NewServeMux()}
	config := huma.DefaultConfig("Weir", "v1")
	config.Info.Description = "Weir's API. Ids are strings; times are RFC 3339; errors are problems (RFC 9457)."
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Formats = map[string]huma.Format{"application/json": jsonFormat(), "json": jsonFormat()}
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.RejectUnknownQueryParameters = true
	config.Transformers = append(config.Transformers, withoutValues)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "A personal token, weir_…"},
		"basic":   {Type: "http", Scheme: "basic", Description: "User name and password, or a token as the password"},
		"session": {Type: "apiKey", In: "cookie", Name: "__Host-weir", Description: "A browser's session; without TLS the cookie is called weir"},
	}
	config.Security = []map[string][]string{{"token": {}}, {"basic": {}}, {"session": {}}}
	a.huma = humago.NewWithPrefix(a.mux, Prefix, config)
	a.huma.UseMiddleware(a.authenticate, a.texts, a.media)
	a.registerServer()
	a.registerDefinitions()
	a.registerResolution()
	a.registerIdentity()
	a.registerUsers()
	a.registerErase()
	a.registerEvents()
	a.registerJobs()
	a.registerTokens()
	a.registerRoles()
	a.registerRobots()
	a.registerTrustRules()
	a.registerGrants()
	a.registerPermissions()
	a.registerExchange()
	a.registerSessions()
	a.registerCheck()
	a.registerSearch()
	a.registerContent()
	return a
}

// schemaName keeps apart what a declaration and a resource call the same: a declared robot has no id. So it does for findings.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if t.PkgPath() == reflect.TypeFor[desired.Group]().PkgPath() && slices.Contains([]string{"Role", "Robot", "TrustRule", "Given", "Condition"}, name) {
		return "Declared" + name
	}
	if t == reflect.TypeFor[audit.Finding]() || t == reflect.TypeFor[*audit.Finding]() {
		return "VerifiedSeal"
	}
	return name
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path == docsPath && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		if err := a.docs.serve(w, r, a.huma.OpenAPI()); err != nil {
			a.Log.ErrorContext(r.Context(), "api", "error", err)
			writeProblem(w, http.StatusInternalServerError, "the page cannot be made; the server's log has the reason")
		}
		return
	}
	if !a.has(r, r.Method) {
		a.noOperation(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// has reports whether there is an operation of a method at the path of r.
func (a *API) has(r *http.Request, method string) bool {
	with := *r
	with.Method = method
	_, pattern := a.mux.Handler(&with)
	return pattern != "" || r.URL.Path == docsPath && (method == http.MethodGet || method == http.MethodHead)
}

// noOperation answers a path that leads nowhere, and one that does by other methods.
func (a *API) noOperation(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "<"+docsPath+`>; rel="service-doc"`)
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if a.has(r, method) {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, http.StatusMethodNotAllowed, "this path takes "+strings.Join(allowed, ", "))
		return
	}
	writeProblem(w, http.StatusNotFound, "there is no such operation: "+docsPath+" is the list for people, "+Prefix+"/openapi.json for programs")
}

// OpenAPI is the document that describes the API, as JSON.
func (a *API) OpenAPI() ([]byte, error) { return a.huma.OpenAPI().MarshalJSON() }

type callerKey struct{}

// authenticate puts the caller into the context of every operation. Nothing here is for anonymous callers but what says so.
func (a *API) authenticate(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	caller, err := a.Authorize(r)
	if ctx.Operation().Metadata[anyone] == true {
		err = a.withoutLogin(r, &caller, err)
	} else if err == nil && caller.IsAnonymous() && !caller.Local {
		err = errLogin
	}
	if err != nil {
		p := a.problem(ctx.Context(), err)
		turnedAway(ctx, caller, err, p)
		if p.GetStatus() == http.StatusUnauthorized {
			ctx.SetHeader("WWW-Authenticate", challenge(r))
		}
		if e, ok := errors.AsType[huma.HeadersError](p); ok {
			for name, values := range e.GetHeaders() {
				ctx.SetHeader(name, values[0])
			}
		}
		_ = huma.WriteErr(a.huma, ctx, p.GetStatus(), p.Error())
		return
	}
	identified(ctx, caller)
	ctx = huma.WithValue(ctx, urlKey{}, r.URL)
	ctx = huma.WithContext(ctx, event.WithActor(ctx.Context(), caller.Actor()))
	next(huma.WithValue(ctx, callerKey{}, caller))
}

// withoutLogin lets a login that is wrong or over pass as none, where none is needed. A page of another site may not even do that.
func (a *API) withoutLogin(r *http.Request, caller *Caller, err error) error {
	switch oci.ErrorCode(err) {
	case oci.CodeUnauthorized:
		caller.Principal = access.Nobody()
	case "":
		if err != nil {
			return err
		}
	default:
		return err
	}
	return a.Sessions.SameOrigin(r)
}

// challenge asks programs for Basic; a browser would open its own dialog for that, over a page that has a better one.
func challenge(r *http.Request) string {
	if r.Header.Get("Sec-Fetch-Mode") != "" {
		return `Bearer realm="weir"`
	}
	return `Basic realm="weir"`
}

func callerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// operation declares one operation whose errors become problems; every one says so.
func operation[I, O any](a *API, o huma.Operation, fn func(ctx context.Context, in *I) (*O, error)) {
	huma.Register(a.huma, described[I](a, o), func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if _, ready := errors.AsType[huma.HeadersError](err); ready {
			return nil, err
		}
		if err != nil {
			problem := a.problem(ctx, err)
			a.refused(ctx, &o, err, problem)
			return nil, problem
		}
		return out, nil
	})
}

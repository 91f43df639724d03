// Package distribution is the OCI door: the HTTP side of the OCI Distribution Specification 1.1 and the Docker Registry HTTP
// API V2. It parses each request once, asks access whether the caller may, finds the registry.Registry that the name leads
// to, and speaks HTTP for it; it does not know what kind of registry that is.
//
// The order never changes: who asks, may they, what is there. A refused caller gets the same bytes whether or not the name
// exists.
package distribution

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve"
)

// Action is what a caller wants to do with a path; the words are those of Docker's token scopes.
type Action string

// Actions.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"

	Catalog Action = "catalog" // list names; of all, with the zero Target, means those that may be listed one by one
)

// Door is where and how a client named a repository.
type Door struct {
	Host string // as the client sees it, with port if not the default
	NS   string // of ?ns=, empty if not given
	Name string
}

// Target is what a name leads to.
type Target struct {
	Path      string            // canonical "<group>/<…>" that grants cover; set whether or not there is anything
	Group     string            // empty when the name leads nowhere
	Virtual   string            // name of the virtual registry; empty for hosted repositories
	Name      string            // local name in Registry
	Anonymous bool              // anyone may pull
	Registry  registry.Registry // nil when the name leads nowhere
}

// Namespace finds what names lead to.
type Namespace interface {
	// Resolve must fill Target.Path even when it returns an error (NAME_UNKNOWN).
	Resolve(ctx context.Context, door Door) (Target, error)
	// Repositories lists hosted repositories of all groups by their full names, in byte order.
	Repositories(ctx context.Context, page registry.Page) (*registry.RepositoryList, error)
}

// Access knows who asks and what they may.
type Access interface {
	// Authenticate reads the credentials of r. No credentials are no error: the caller is anonymous, PrincipalID 0. The
	// context it returns carries the principal for Authorize and for guards below.
	Authenticate(r *http.Request) (context.Context, registry.Caller, error)
	// Authorize returns nil, UNAUTHORIZED for an anonymous caller or DENIED. It must not depend on whether content exists.
	Authorize(ctx context.Context, action Action, target Target) error
	// ForPush reports whether the caller's token was asked for in order to push to target: a client that pulls asks for less.
	ForPush(ctx context.Context, target Target) bool
	// Challenge is the WWW-Authenticate value for scope, empty for a bare login. cause is the error behind the 401.
	Challenge(r *http.Request, scope string, cause error) string
}

// Options configure a Handler.
type Options struct {
	Namespace   Namespace
	Access      Access
	Instance    string // our name in Via headers; a request that carries it is refused. Empty turns the check off
	MaxBlob     int64  // bytes of one pushed blob; 0 = no limit
	MaxPage     int    // entries of one page of tags or repositories; default 1000
	AbsoluteURL bool   // Location headers with scheme and host as the client sees them, instead of paths
}

// Handler answers below /v2/.
type Handler struct{ Options }

// New returns a Handler. Mount its Serve at "/v2/" and "/v2" through serve.Front.Handle("distribution", …).
func New(o Options) *Handler {
	if o.MaxPage <= 0 {
		o.MaxPage = 1000
	}
	return &Handler{o}
}

// call is one request on its way to its registry.
type call struct {
	*Handler
	request
	target  Target
	w       http.ResponseWriter
	r       *http.Request
	context context.Context // of r, with the caller
}

// Serve is a serve.Handler. Errors and the answer of /v2/ tell the version of the protocol; nobody looks for it beside content.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	err := h.serve(w, r)
	if err != nil {
		serve.SetHeader(w, versionHeader, version)
	}
	return err
}

// What clients of Docker's first registries tell this protocol by.
const (
	versionHeader = "Docker-Distribution-Api-Version"
	version       = "registry/2.0"
)

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	req, err := parse(r.Method, r.URL)
	info := serve.FromContext(r.Context())
	info.SetOperation(req.kind.String())
	if err != nil {
		if oci.ErrorCode(err) == oci.CodeUnsupported && req.kind != 0 {
			w.Header().Set("Allow", strings.Join(req.kind.methods(), ", "))
		}
		return err
	}
	via := strings.Join(r.Header.Values("Via"), ", ")
	if len(via) > maxVia || viaSelf(via, h.Instance) {
		return errLoop
	}
	c := &call{Handler: h, request: req, w: w, r: r, context: r.Context()}
	if err := c.authenticate(info, via); err != nil {
		return err
	}
	return c.dispatch(info)
}

// authenticate puts the caller into the context. Wrong credentials are challenged like missing ones.
func (c *call) authenticate(info *serve.Info, via string) error {
	ctx, caller, err := c.Access.Authenticate(c.r)
	if err != nil {
		return c.refuse(err)
	}
	info.SetPrincipal(caller.Principal)
	if info != nil {
		caller.RequestID, caller.Address = info.ID, info.Address
	}
	caller.Via = via
	c.context = registry.WithCaller(ctx, caller)
	return nil
}

func (c *call) dispatch(info *serve.Info) error {
	switch c.kind {
	case kindBase:
		return c.base()
	case kindCatalog:
		return c.catalog()
	}
	if err := c.open(info); err != nil {
		return err
	}
	err := c.answer()
	if err == nil {
		return nil
	}
	traceHeaders(c.w, registry.TraceFrom(c.ctx()).Values())
	return c.refuse(translate(c.request, err))
}

// open checks access and finds the registry, in this order as far as the caller can tell.
func (c *call) open(info *serve.Info) error {
	target, err := c.Namespace.Resolve(c.ctx(), c.door(c.name))
	info.SetPath(target.Path)
	switch {
	case !c.reference.IsZero():
		info.SetReference(c.reference.String())
	case c.digest != "":
		info.SetReference(string(c.digest))
	}
	if refused := c.Access.Authorize(c.ctx(), c.action(), target); refused != nil {
		return c.refuse(c.futile(refused, target))
	}
	if err != nil {
		return err
	}
	c.target = target
	registry.TraceFrom(c.ctx()).Update(func(v *registry.TraceValues) {
		v.Group, v.Registry, v.Repository = target.Group, target.Virtual, target.Name
	})
	if target.Virtual != "" && c.action() != Pull {
		return readOnly(c.action(), target)
	}
	return nil
}

// futile adds to the refusal of a change that the right to make it would not help: nobody changes anything through a virtual registry. Only
// who may pull there is told, as pulls tell him as well.
func (c *call) futile(refused error, target Target) error {
	denied, ok := errors.AsType[*oci.Error](refused)
	if !ok || denied.Code != oci.CodeDenied || target.Virtual == "" || c.action() == Pull || c.Access.Authorize(c.ctx(), Pull, target) != nil {
		return refused
	}
	return oci.NewError(oci.CodeDenied, denied.Message+"; and "+readOnly(c.action(), target).Message).WithCause(denied)
}

func (c *call) answer() error {
	switch c.kind {
	case kindManifest:
		return c.manifest()
	case kindBlob:
		return c.blob()
	case kindUploads:
		return c.startUpload()
	case kindUpload:
		return c.session()
	case kindTags:
		return c.listTags()
	case kindReferrers:
		return c.referrers()
	}
	return errNotFound
}

func (c *call) ctx() context.Context { return c.context }

func (c *call) door(name string) Door {
	d := Door{Host: c.r.Host, NS: c.ns, Name: name}
	if info := serve.FromContext(c.ctx()); info != nil {
		d.Host = info.Host
	}
	return d
}

func (c *call) action() Action {
	switch {
	case c.kind == kindUploads || c.kind == kindUpload || c.r.Method == http.MethodPut:
		return Push
	case c.r.Method == http.MethodDelete:
		return Delete
	}
	return Pull
}

// refuse adds the challenge to a 401, our own or a registry's. Its scope speaks of the name as the client knows it, and so
// must a token.
func (c *call) refuse(err error) error {
	if e, ok := errors.AsType[*oci.Error](err); ok && e.Status() == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", c.Access.Challenge(c.r, c.scope(), err))
	}
	return err
}

func (c *call) scope() string {
	switch c.kind {
	case kindBase:
		return ""
	case kindCatalog:
		return "registry:catalog:*"
	}
	actions := string(c.action())
	if c.action() == Push {
		actions = "pull,push"
	}
	scope := "repository:" + c.name + ":" + actions
	if c.mount != "" && oci.ValidRepository(c.from) {
		scope += " repository:" + c.from + ":pull"
	}
	return scope
}

// base answers /v2/: clients learn from it how to log in, so it must challenge everybody who has not, and let everybody pass
// who shows what the token endpoint gave out, be it an anonymous token.
func (c *call) base() error {
	if !registry.CallerFrom(c.ctx()).Accepted {
		return c.refuse(oci.NewError(oci.CodeUnauthorized, "log in, or ask for an anonymous token"))
	}
	serve.SetHeader(c.w, versionHeader, version)
	serve.SetHeader(c.w, "Content-Type", "application/json")
	_, err := c.w.Write([]byte("{}"))
	return err
}

// location is the path of a resource of name as the client addresses it, absolute if configured.
func (c *call) location(parts ...string) string {
	path := "/v2/" + c.name + "/" + strings.Join(parts, "/")
	if c.ns != "" {
		path += "?ns=" + url.QueryEscape(c.ns)
	}
	info := serve.FromContext(c.ctx())
	if !c.AbsoluteURL || info == nil {
		return path
	}
	return info.Scheme + "://" + info.Host + path
}

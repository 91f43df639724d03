// Package signin takes browsers to an identity provider and back, and leaves them with a session: /auth/{provider}/login, …/callback
// and …/logout. /auth/ is a page that says who is signed in, and makes personal tokens for docker. What is between the two steps stays in the browser, in a cookie that is sealed and good for ten minutes.
package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/session"
)

// Prefix is where the door is mounted.
const Prefix = "/auth/"

// Provider is a way to prove who somebody is at another place, where the browser is sent and from where it comes back; *oidc.Provider is
// one. Adding another kind, such as SAML, is a package beside access/oidc and a line in package app that makes it of its settings.
type Provider interface {
	// Name is how the operator calls it: a part of paths, lower case.
	Name() string
	// Begin returns where to send the browser, and what Finish needs to know again, which only that browser brings back. redirect
	// is where it comes back to. access.ErrUnreachable while the provider does not answer.
	Begin(ctx context.Context, redirect string) (address, pending string, err error)
	// Finish is who has come back with an answer, the query of a GET. access.ErrSignIn for nobody who may sign in, with a text for
	// that person; access.ErrUnreachable.
	Finish(ctx context.Context, redirect string, answer url.Values, pending string) (access.Identity, error)
	// Logout is where to send a browser that has logged out here, so that the provider forgets it too, and then back; empty for
	// nowhere.
	Logout(ctx context.Context, back string) string
}

// Directory knows the user behind an identity; *access.Directory is one.
type Directory interface {
	SignIn(ctx context.Context, i access.Identity, requestID string) (access.Principal, error)
	CreateToken(ctx context.Context, by access.Actor, account int64, name string, expires time.Time, limit *access.Ceiling) (text string, t access.Token, err error)
}

// Sealer keeps what the browser holds between the steps from being read and made up; *seal.Sealer is one.
type Sealer interface {
	Seal(place seal.Place, secret []byte) ([]byte, error)
	Open(place seal.Place, sealed []byte) ([]byte, error)
}

// Options configure a Door. All are needed.
type Options struct {
	Providers    []Provider
	Directory    Directory
	Sessions     *session.Manager
	Sealer       Sealer
	ExternalURLs []string // the first is where browsers come back to, unless they use another of them
	Now          func() time.Time
}

// Door answers /auth/.
type Door struct {
	Options
	providers map[string]Provider
}

const (
	cookieName = "weir-signin"
	maxPending = 10 * time.Minute
)

// pending is the content of the cookie.
type pending struct {
	Provider string `json:"provider"`
	Return   string `json:"return"`
	Until    int64  `json:"until"` // Unix seconds
	State    string `json:"state"` // the provider's own
}

var place = seal.Place{Table: "signin", Field: "pending", Version: 1}

// New returns a Door.
func New(o Options) *Door {
	d := &Door{Options: o, providers: map[string]Provider{}}
	for _, p := range o.Providers {
		d.providers[p.Name()] = p
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return d
}

// Names are those of the providers, in order.
func (d *Door) Names() []string { return slices.Sorted(maps.Keys(d.providers)) }

// Serve is a serve.Handler for everything below Prefix. People are told on a page what went wrong.
func (d *Door) Serve(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	err := d.serve(w, r)
	if err == nil || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return err
	}
	return failed(w, r, err)
}

func (d *Door) serve(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path == Prefix && len(d.providers) > 0 {
		return d.page(w, r)
	}
	name, step, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix), "/")
	p := d.providers[name]
	if p == nil {
		return oci.NewError(oci.CodeUnsupported, "there is no such sign-in provider").WithStatus(http.StatusNotFound)
	}
	switch {
	case r.Method != http.MethodGet:
		return oci.NewError(oci.CodeUnsupported, "signing in is a GET").WithStatus(http.StatusMethodNotAllowed)
	case step == "login":
		return d.begin(w, r, p)
	case step == "callback":
		return d.finish(w, r, p)
	case step == "logout":
		return d.logout(w, r, p)
	}
	return oci.NewError(oci.CodeUnsupported, "there is no such step of signing in").WithStatus(http.StatusNotFound)
}

func (d *Door) begin(w http.ResponseWriter, r *http.Request, p Provider) error {
	address, state, err := p.Begin(r.Context(), d.redirect(r, p))
	if err != nil {
		return unreachable(err)
	}
	text, err := json.Marshal(pending{Provider: p.Name(), Return: local(r.URL.Query().Get("return")), Until: d.Now().Add(maxPending).Unix(), State: state})
	if err != nil {
		return err
	}
	sealed, err := d.Sealer.Seal(place, text)
	if err != nil {
		return fmt.Errorf("seal a sign-in: %w", err)
	}
	http.SetCookie(w, d.cookie(r, base64.RawURLEncoding.EncodeToString(sealed), int(maxPending/time.Second)))
	http.Redirect(w, r, address, http.StatusFound)
	return nil
}

// finish takes the provider's answer. A refusal is one of a login.
func (d *Door) finish(w http.ResponseWriter, r *http.Request, p Provider) error {
	err := d.signIn(w, r, p)
	if denied, ok := errors.AsType[*oci.Error](err); ok && denied.Code == oci.CodeDenied {
		serve.FromContext(r.Context()).Refuse(event.Refusal{Kind: event.LoginRefused, Operation: p.Name(), Reason: denied.Message})
	}
	return err
}

func (d *Door) signIn(w http.ResponseWriter, r *http.Request, p Provider) error {
	at, err := d.read(r, p)
	http.SetCookie(w, d.cookie(r, "", -1)) // good for one answer, whatever that is
	if err != nil {
		return err
	}
	who, err := p.Finish(r.Context(), d.redirect(r, p), r.URL.Query(), at.State)
	if err != nil {
		return unreachable(err)
	}
	ctx := by(r, access.Nobody())
	user, err := d.Directory.SignIn(ctx, who, event.ActorFrom(ctx).RequestID)
	if err != nil {
		return unreachable(err)
	}
	serve.FromContext(ctx).SetPrincipal(user.Name)
	cookie, _, err := d.Sessions.Start(ctx, user, p.Name(), r.UserAgent())
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie)
	http.Redirect(w, r, at.Return, http.StatusFound)
	return nil
}

// logout ends the session and lets the provider do the same. Only the own pages may lead here: it changes something.
func (d *Door) logout(w http.ResponseWriter, r *http.Request, p Provider) error {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return oci.NewError(oci.CodeDenied, "the request comes from a page of another site")
	}
	user, err := d.Sessions.Principal(r)
	if err != nil {
		return err
	}
	if user.Session != 0 {
		if err := d.Sessions.Revoke(by(r, user), access.Actor{ID: user.ID}, user.ID, user.Session); err != nil && !errors.Is(err, session.ErrNotFound) {
			return err
		}
	}
	http.SetCookie(w, d.Sessions.Forget(r.Context()))
	back := d.base(r) + Prefix
	if there := p.Logout(r.Context(), back); there != "" {
		back = there
	}
	http.Redirect(w, r, back, http.StatusFound)
	return nil
}

// by is the context of what a user does by a request.
func by(r *http.Request, user access.Principal) context.Context {
	by := event.Actor{ID: user.ID, Kind: string(user.Kind)}
	if info := serve.FromContext(r.Context()); info != nil {
		by.Address, by.RequestID = info.Address, info.ID
	}
	return event.WithActor(r.Context(), by)
}

// read opens the cookie of the sign-in that a browser has begun here.
func (d *Door) read(r *http.Request, p Provider) (pending, error) {
	stale := oci.NewError(oci.CodeDenied, "the sign-in was not begun in this browser, or more than ten minutes ago: begin again")
	c, err := r.Cookie(d.name(r))
	if err != nil {
		return pending{}, stale
	}
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return pending{}, stale
	}
	text, err := d.Sealer.Open(place, sealed)
	if err != nil {
		return pending{}, stale
	}
	var at pending
	if err := json.Unmarshal(text, &at); err != nil || at.Provider != p.Name() || d.Now().Unix() > at.Until {
		return pending{}, stale
	}
	return at, nil
}

func unreachable(err error) error {
	switch {
	case errors.Is(err, access.ErrSignIn):
		return oci.NewError(oci.CodeDenied, err.Error()).WithCause(err)
	case errors.Is(err, access.ErrUnreachable):
		return oci.NewError(oci.CodeUnavailable, "the identity provider does not answer; try again soon").WithRetryAfter(5 * time.Second).WithCause(err)
	}
	return err
}

// base is the external URL that the browser uses, else the first.
func (d *Door) base(r *http.Request) string {
	info := serve.FromContext(r.Context())
	for _, text := range d.ExternalURLs {
		if u, err := url.Parse(text); err == nil && info != nil && strings.EqualFold(u.Host, info.Host) {
			return strings.TrimRight(text, "/")
		}
	}
	return strings.TrimRight(d.ExternalURLs[0], "/")
}

func (d *Door) redirect(r *http.Request, p Provider) string {
	return d.base(r) + Prefix + p.Name() + "/callback"
}

func (d *Door) name(r *http.Request) string {
	if strings.HasPrefix(d.base(r), "https://") {
		return "__Host-" + cookieName
	}
	return cookieName
}

func (d *Door) cookie(r *http.Request, value string, age int) *http.Cookie {
	name := d.name(r)
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age, Secure: strings.HasPrefix(name, "__Host-"), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// local is where to go afterwards: a path of ours, never another site; the page unless it is told.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return Prefix
	}
	return path
}

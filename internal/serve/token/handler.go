package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve"
)

// maxForm bounds the body of a POST in bytes.
const maxForm = 64 << 10

// answer is the body of a successful response. Older clients read token, OAuth2 ones access_token.
type answer struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"` // seconds
	IssuedAt     string `json:"issued_at"`  // RFC 3339
	RefreshToken string `json:"refresh_token,omitempty"`
}

// ask is one request for a token, GET or POST.
type ask struct {
	host      string // of the door that the scopes are for
	scopes    []scope
	offline   bool // a refresh token is wanted
	principal access.Principal
}

// Serve is a serve.Handler for /token.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request) error {
	info := serve.FromContext(r.Context())
	info.SetOperation("token")
	var a ask
	var err error
	switch r.Method {
	case http.MethodGet:
		a, err = g.get(r)
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		a, err = g.post(r)
	default:
		w.Header().Set("Allow", "GET, POST")
		return oci.NewError(oci.CodeUnsupported, "the token endpoint answers GET and POST")
	}
	if err != nil {
		if oci.ErrorCode(err) == oci.CodeUnauthorized {
			w.Header().Set("WWW-Authenticate", basicChallenge)
		}
		return err
	}
	info.SetPrincipal(a.principal.Name)
	info.SetAccount(a.principal.ID, string(a.principal.Kind), a.principal.TokenID)
	return g.grant(w, r, a)
}

// get is Docker's form: credentials in the header, everything else in the query.
func (g *Gate) get(r *http.Request) (ask, error) {
	q := r.URL.Query()
	a, c, err := g.ask(r, q.Get("service"), q["scope"])
	if err != nil {
		return ask{}, err
	}
	a.offline = q.Get("offline_token") == "true"
	c.Authorization = r.Header.Get("Authorization")
	a.principal, err = g.access.Authenticate(r.Context(), c)
	if err == nil && a.principal.Bearer {
		// A bearer token must not get another one, or it would never end.
		a.principal, err = foreign(c, "log in with a password or a personal token, not with a bearer token")
	}
	return a, err
}

// post is the OAuth2 form (RFC 6749): grant_type password or refresh_token.
func (g *Gate) post(r *http.Request) (ask, error) {
	if err := r.ParseForm(); err != nil {
		return ask{}, oci.NewError(oci.CodeUnsupported, "the body is not a form, or too long").WithStatus(http.StatusBadRequest).WithCause(err)
	}
	form := r.PostForm
	a, c, err := g.ask(r, form.Get("service"), form["scope"])
	if err != nil {
		return ask{}, err
	}
	a.offline = form.Get("access_type") == "offline"
	switch form.Get("grant_type") {
	case "password":
		a.principal, err = g.access.Login(r.Context(), form.Get("username"), form.Get("password"), c)
	case "refresh_token":
		a.principal, err = g.access.Refresh(r.Context(), form.Get("refresh_token"))
		if oci.ErrorCode(err) == oci.CodeUnauthorized && c.Mirror {
			a.principal, err = access.Nobody(), nil
		}
	default:
		err = oci.NewError(oci.CodeUnsupported, "grant_type must be password or refresh_token").WithStatus(http.StatusBadRequest)
	}
	return a, err
}

// ask reads what both forms share. service is what our challenge named: the host of the door, which differs from the
// host of this request when the realm does.
func (g *Gate) ask(r *http.Request, service string, scopes []string) (ask, access.Credentials, error) {
	host, client := origin(r)
	if err := g.rates.Address(client, time.Now()); err != nil {
		return ask{}, access.Credentials{}, err
	}
	if service = lowerHost(service); validHost(service) {
		host = service
	}
	parsed, err := parseScopes(scopes)
	if err != nil {
		return ask{}, access.Credentials{}, err
	}
	door, err := g.doors.Door(r.Context(), host, client)
	if err != nil {
		return ask{}, access.Credentials{}, err
	}
	c := credentials(r)
	c.Mirror = door.Mirror
	return ask{host: host, scopes: parsed}, c, nil
}

func foreign(c access.Credentials, message string) (access.Principal, error) {
	if c.Mirror {
		return access.Nobody(), nil
	}
	return access.Principal{}, oci.NewError(oci.CodeUnauthorized, message)
}

func (g *Gate) grant(w http.ResponseWriter, r *http.Request, a ask) error {
	scopes, err := g.grantable(r.Context(), a)
	if err != nil {
		return err
	}
	issued, err := g.access.IssueBearer(r.Context(), a.principal, scopes)
	if err != nil {
		return err
	}
	out := answer{
		Token: issued.Text, AccessToken: issued.Text, ExpiresIn: int(issued.Life / time.Second),
		IssuedAt: issued.IssuedAt.UTC().Format(time.RFC3339),
	}
	if a.offline && !a.principal.IsAnonymous() && a.principal.Kind != access.Workload {
		refresh, err := g.access.IssueRefresh(r.Context(), a.principal)
		if err != nil {
			return err
		}
		out.RefreshToken = refresh.Text
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(out)
}

// grantable turns names into paths and keeps what the principal may do there now. Grants are checked again on every use.
func (g *Gate) grantable(ctx context.Context, a ask) ([]access.Scope, error) {
	var out []access.Scope
	for _, s := range a.scopes {
		place := Place{}
		if !s.catalog {
			var err error
			if place, err = g.doors.Place(ctx, a.host, s.name); err != nil {
				return nil, err
			}
			if place.Path == "" {
				continue
			}
		}
		var actions []access.Action
		for _, action := range s.actions {
			d, err := g.access.Check(ctx, a.principal, access.Request{Action: action, Path: place.Path, Public: place.Public})
			if err != nil {
				return nil, err
			}
			if d.Allowed {
				actions = append(actions, action)
			}
		}
		if len(actions) > 0 {
			out = append(out, access.Scope{Path: place.Path, Exact: !s.catalog, Actions: actions})
		}
	}
	return out, nil
}

// challengeError is the "error" parameter of a challenge.
func challengeError(err error) string {
	for _, cause := range []error{access.ErrInvalidToken, access.ErrInsufficientScope} {
		if errors.Is(err, cause) {
			return cause.Error()
		}
	}
	return ""
}

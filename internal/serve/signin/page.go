package signin

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve"
)

//go:embed page.html
var files embed.FS

var pages = template.Must(template.ParseFS(files, "page.html"))

// view is what the page shows.
type view struct {
	Host      string   // as docker calls the server
	User      string   // who is signed in; empty for nobody
	Method    string   // the provider that the session is by; empty for none that signs out
	Providers []string // ways to sign in
	Name      string   // of the token that the form would make
	Lives     []int    // days that it may live
	Token     string   // that was made
	Until     string
	Error     string
}

// maxForm bounds what the form sends, in bytes.
const maxForm = 4 << 10

// page says who is signed in, and makes a personal token for who asks with the form. Another site's page cannot: Sessions.Principal
// refuses its requests.
func (d *Door) page(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, HEAD, POST")
		return oci.NewError(oci.CodeUnsupported, "the page is read with GET, and makes a token with POST").WithStatus(http.StatusMethodNotAllowed)
	}
	user, err := d.Sessions.Principal(r)
	if err != nil {
		return err
	}
	v := view{Host: d.host(r), Providers: d.Names(), Name: "docker", Lives: []int{90, 30, 7, 365}}
	status := http.StatusOK
	switch {
	case user.Session == 0 && r.Method == http.MethodPost:
		status, v.Error = http.StatusForbidden, "The session has ended: sign in again."
	case user.Session != 0:
		info := serve.FromContext(r.Context())
		info.SetPrincipal(user.Name)
		info.SetAccount(user.ID, string(user.Kind), 0)
		v.User = user.Name
		if v.Method, err = d.method(r, user); err != nil {
			return err
		}
		if r.Method == http.MethodPost {
			if status, err = d.makeToken(w, r, user, &v); err != nil {
				return err
			}
		}
	}
	return show(w, r, status, v)
}

// method is the provider that the session is by, which is where it signs out; empty for none.
func (d *Door) method(r *http.Request, user access.Principal) (string, error) {
	sessions, err := d.Sessions.List(r.Context(), user.ID)
	for _, s := range sessions {
		if s.ID == user.Session && d.providers[s.Method] != nil {
			return s.Method, nil
		}
	}
	return "", err
}

// makeToken makes the token that the form asks for, and shows it this once. What is wrong with the form is said beside it.
func (d *Door) makeToken(w http.ResponseWriter, r *http.Request, user access.Principal, v *view) (status int, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return 0, oci.NewError(oci.CodeUnsupported, "the body is not a form, or too long").WithStatus(http.StatusBadRequest).WithCause(err)
	}
	v.Name = r.PostForm.Get("name")
	days, _ := strconv.Atoi(r.PostForm.Get("days")) // 0 for what is no number
	if days < 1 || days > 365 {
		v.Error = "A token of this page lives from 1 to 365 days."
		return http.StatusUnprocessableEntity, nil
	}
	ctx := by(r, user)
	text, t, err := d.Directory.CreateToken(ctx, access.Actor{ID: user.ID, RequestID: serve.FromContext(ctx).ID}, user.ID, v.Name, d.Now().AddDate(0, 0, days), nil)
	switch {
	case errors.Is(err, access.ErrExists):
		v.Error = "You have a token of this name: give this one another."
		return http.StatusConflict, nil
	case errors.Is(err, access.ErrTokenName):
		v.Error = "A token needs a name, without line breaks and not too long."
		return http.StatusUnprocessableEntity, nil
	case err != nil:
		return 0, err
	}
	v.Token, v.Until = text, t.ExpiresAt.UTC().Format("2006-01-02")
	return http.StatusCreated, nil
}

// host is how docker calls the server.
func (d *Door) host(r *http.Request) string {
	u, err := url.Parse(d.base(r))
	if err != nil {
		return ""
	}
	return u.Host
}

// failed shows people why something did not work. It returns nil: the client has its answer.
func failed(w http.ResponseWriter, r *http.Request, err error) error {
	v, status := view{Error: "Internal error; the server's log has the details under the request id " + w.Header().Get("X-Request-Id") + "."}, http.StatusInternalServerError
	if e, ok := errors.AsType[*oci.Error](err); ok {
		v.Error, status = e.Message, e.Status()
		if e.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
		}
	}
	serve.FromContext(r.Context()).Fail(err)
	return show(w, r, status, v)
}

// show writes the page. It loads nothing, runs nothing and stands in no frame.
func show(w http.ResponseWriter, r *http.Request, status int, v view) error {
	var b bytes.Buffer
	if err := pages.Execute(&b, v); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // a client that left does not need it
	}
	return nil
}

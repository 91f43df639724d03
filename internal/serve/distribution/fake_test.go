package distribution_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/distribution"
)

// world is a namespace of one group "g" with hosted repositories, a virtual registry "g/v" and a private tree "g/private",
// and access by user name: "admin" may everything, "reader" pulls outside "g/private", nobody pulls "g/public".
type world struct {
	hosted  registry.Registry
	virtual registry.Registry
	opts    distribution.Options
	front   serve.Options
}

func (w *world) Resolve(_ context.Context, d distribution.Door) (distribution.Target, error) {
	name := d.Name
	if d.Host == "bound.test" {
		name = "g/v/" + name
	}
	t := distribution.Target{Path: name, Anonymous: strings.HasPrefix(name, "g/public")}
	switch group, rest, _ := strings.Cut(name, "/"); {
	case group != "g" || rest == "":
		return t, oci.NewError(oci.CodeNameUnknown, "no such group")
	case strings.HasPrefix(rest, "v/"):
		t.Group, t.Virtual, t.Name, t.Registry = "g", "v", strings.TrimPrefix(rest, "v/"), w.virtual
	default:
		t.Group, t.Name, t.Registry = "g", rest, w.hosted
	}
	return t, nil
}

func (w *world) Repositories(ctx context.Context, page registry.Page) (*registry.RepositoryList, error) {
	page.Last = strings.TrimPrefix(page.Last, "g/")
	list, err := w.hosted.Repositories(ctx, page)
	if err != nil {
		return nil, err
	}
	out := &registry.RepositoryList{More: list.More}
	for _, name := range list.Repositories {
		out.Repositories = append(out.Repositories, "g/"+name)
	}
	return out, nil
}

func (w *world) Authenticate(r *http.Request) (context.Context, registry.Caller, error) {
	user, password, ok := r.BasicAuth()
	switch {
	case r.Header.Get("Authorization") == "Bearer anonymous":
		return r.Context(), registry.Caller{Principal: "anonymous", Accepted: true}, nil
	case !ok:
		return r.Context(), registry.Caller{Principal: "anonymous"}, nil
	case password != "secret":
		return r.Context(), registry.Caller{}, oci.NewError(oci.CodeUnauthorized, "wrong password")
	}
	caller := registry.Caller{PrincipalID: 1, Principal: user, Accepted: true}
	return registry.WithCaller(r.Context(), caller), caller, nil
}

// ForPush implements distribution.Access: these callers have no tokens.
func (w *world) ForPush(context.Context, distribution.Target) bool { return false }

func (w *world) Authorize(ctx context.Context, a distribution.Action, t distribution.Target) error {
	switch who := registry.CallerFrom(ctx).Principal; {
	case who == "admin", t.Anonymous && a == distribution.Pull:
		return nil
	case who == "reader" && (a == distribution.Pull || a == distribution.Catalog) && !strings.HasPrefix(t.Path, "g/private"):
		return nil
	case who == "" || who == "anonymous":
		return oci.NewError(oci.CodeUnauthorized, "log in to "+string(a)+" "+t.Path)
	}
	return oci.NewError(oci.CodeDenied, "you may not "+string(a)+" "+t.Path)
}

func (w *world) Challenge(_ *http.Request, scope string, _ error) string {
	c := `Bearer realm="https://weir.test/token",service="weir.test"`
	if scope != "" {
		c += `,scope="` + scope + `"`
	}
	return c
}

// open starts a server in front of the world.
func (w *world) open(t *testing.T) *httptest.Server {
	t.Helper()
	if w.hosted == nil {
		w.hosted = registrytest.NewMemory()
	}
	if w.virtual == nil {
		w.virtual = registrytest.NewMemory()
	}
	w.opts.Namespace, w.opts.Access = w, w
	h := serve.NewFront(w.front).Handle("distribution", distribution.New(w.opts).Serve)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// basic lets a client log in by adding credentials to each request.
type basic struct{ user string }

func (b basic) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.user != "" {
		r = r.Clone(r.Context())
		r.SetBasicAuth(b.user, "secret")
	}
	return http.DefaultTransport.RoundTrip(r)
}

func as(user string) *http.Client {
	return &http.Client{
		Transport:     basic{user},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

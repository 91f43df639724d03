package signin_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/session"
	"github.com/weir-registry/weir/internal/serve/signin"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// provider vouches for whoever comes back with ?who=.
type provider struct{}

func (provider) Name() string { return "corp" }

func (provider) Begin(_ context.Context, redirect string) (string, string, error) {
	return redirect + "?who=ann", "pending", nil
}

func (provider) Finish(_ context.Context, _ string, answer url.Values, _ string) (access.Identity, error) {
	if answer.Get("who") == "" {
		return access.Identity{}, access.ErrUnreachable
	}
	return access.Identity{Provider: "corp", Issuer: "https://login.test", Subject: answer.Get("who"), Name: answer.Get("who")}, nil
}

func (provider) Logout(context.Context, string) string { return "" }

// world is a server, and a person's browser.
type world struct {
	*httptest.Server
	t       *testing.T
	dir     *access.Directory
	browser *http.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := metatest.Open(t, meta.SQLite)
	sealer, _, err := seal.OpenFile(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	if w.dir, err = access.Open(t.Context(), access.Options{DB: db, Sealer: sealer, Hashing: access.Hashing{MemoryKiB: 64, Passes: 1}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.dir.Close() })
	sessions, err := session.New(session.Options{DB: db, Directory: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	door := signin.New(signin.Options{
		Providers: []signin.Provider{provider{}}, Directory: w.dir, Sessions: sessions, Sealer: sealer, ExternalURLs: []string{w.URL},
	})
	mux.Handle(signin.Prefix, serve.NewFront(serve.Options{}).Handle("signin", door.Serve))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.browser = &http.Client{Jar: jar}
	return w
}

// visit follows redirects, as a browser that shows pages, and returns where that ends and what it shows.
func (w *world) visit(method, path string, form url.Values, header ...string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := w.browser.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(text)
}

func (w *world) want(resp *http.Response, page string, status int, parts ...string) {
	w.t.Helper()
	if resp.StatusCode != status || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || resp.Header.Get("Cache-Control") != "no-store" ||
		!strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		w.t.Errorf("%s, want %d: %v", resp.Status, status, resp.Header)
	}
	for _, part := range parts {
		if !strings.Contains(page, part) {
			w.t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
}

var tokenText = regexp.MustCompile(`weir_[0-9a-f]{64}`)

// Whoever has signed in finds a page that makes a token, with which docker logs in.
func TestPage(t *testing.T) {
	w := newWorld(t)
	resp, page := w.visit("GET", "/auth/", nil)
	w.want(resp, page, 200, "You are not signed in", `href="/auth/corp/login"`)
	resp, page = w.visit("POST", "/auth/", url.Values{"name": {"docker"}, "days": {"90"}})
	w.want(resp, page, 403, "sign in again")

	resp, page = w.visit("GET", "/auth/corp/login", nil)
	w.want(resp, page, 200, "signed in as <strong>ann</strong>", `action="/auth/"`, `href="/auth/corp/logout"`)
	if resp.Request.URL.Path != "/auth/" {
		t.Errorf("the sign-in ends at %s", resp.Request.URL)
	}
	form := url.Values{"name": {"docker"}, "days": {"30"}}
	resp, page = w.visit("POST", "/auth/", form)
	w.want(resp, page, 201, "docker login -u ann "+strings.TrimPrefix(w.URL, "http://"))
	token := tokenText.FindString(page)
	p, err := w.dir.Login(t.Context(), "ann", token, access.Credentials{})
	if err != nil || p.Name != "ann" || p.Token != "docker" || p.Ceiling != nil {
		t.Errorf("the token is of %+v, %v", p, err)
	}
	tokens, err := w.dir.Tokens(t.Context(), p.ID)
	if err != nil || len(tokens) != 1 || tokens[0].ExpiresAt.Sub(tokens[0].CreatedAt).Hours() < 29*24 || tokens[0].ExpiresAt.Sub(tokens[0].CreatedAt).Hours() > 31*24 {
		t.Errorf("%+v, %v", tokens, err)
	}

	resp, page = w.visit("POST", "/auth/", form)
	w.want(resp, page, 409, "another", "signed in as")
	for _, wrong := range []url.Values{{"name": {""}, "days": {"30"}}, {"name": {"a\nb"}, "days": {"30"}}, {"name": {"x"}, "days": {"366"}}, {"name": {"x"}, "days": {"-1"}}, {"name": {"x"}}} {
		resp, page = w.visit("POST", "/auth/", wrong)
		w.want(resp, page, 422, `role="alert"`)
	}
	resp, page = w.visit("POST", "/auth/", url.Values{"name": {strings.Repeat("x", 5000)}})
	w.want(resp, page, 400, "too long")
	resp, page = w.visit("POST", "/auth/", url.Values{"name": {"<script>"}, "days": {"0"}})
	if w.want(resp, page, 422); strings.Contains(page, "<script>") {
		t.Errorf("what was sent stands in the page as it is:\n%s", page)
	}
	resp, page = w.visit("PUT", "/auth/", nil)
	w.want(resp, page, 405, "GET")

	// No other site makes a token, nor sees one.
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.test"}} {
		resp, page = w.visit("POST", "/auth/", url.Values{"name": {"evil"}, "days": {"30"}}, header...)
		if w.want(resp, page, 403, "another site"); tokenText.MatchString(page) {
			t.Error("another site's page makes tokens")
		}
	}
	if tokens, err := w.dir.Tokens(t.Context(), p.ID); err != nil || len(tokens) != 1 {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}

	resp, page = w.visit("GET", "/auth/corp/logout", nil)
	w.want(resp, page, 200, "You are not signed in")
}

// People are told on a page what went wrong, and programs as they always are.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	resp, page := w.visit("GET", "/auth/corp/callback?who=eve", nil)
	w.want(resp, page, 403, "not begun in this browser", `href="/auth/"`)
	resp, page = w.visit("GET", "/auth/none/login", nil)
	w.want(resp, page, 404, "no such sign-in provider")
	resp, page = w.visit("GET", "/auth/none/login", nil, "Accept", "application/json")
	if resp.StatusCode != 404 || !strings.Contains(page, `"errors"`) {
		t.Errorf("%s %s", resp.Status, page)
	}
}

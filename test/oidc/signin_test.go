// Package oidc signs people in by a real identity provider: npm's oidc-provider, in a process of its own on loopback.
package oidc

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/access/oidc"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/serve/session"
	"github.com/weir-registry/weir/internal/serve/signin"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// startProvider runs the identity provider until the test ends, and returns its issuer.
func startProvider(t *testing.T, redirect, loggedOut string, groups map[string][]string) string {
	t.Helper()
	module, err := filepath.Abs("../../.tools/oidc/node_modules/oidc-provider/lib/index.js")
	if err != nil {
		t.Fatal(err)
	}
	_, missing := os.Stat(module)
	node, err := exec.LookPath("node")
	if missing != nil || err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no identity provider: test/deps.sh installs it")
		}
		t.Skip("SKIPPED, signing in is not tested: test/deps.sh installs the identity provider (node and npm are needed)")
	}
	text, err := json.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "provider.mjs")
	cmd.Env = append(os.Environ(), "MODULE=file://"+module, "REDIRECT="+redirect, "LOGGED_OUT="+loggedOut, "GROUPS="+string(text), "NODE_ENV=test", "NODE_NO_WARNINGS=1")
	if testing.Verbose() {
		cmd.Stderr = os.Stderr // it warns of what is right in a test
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "http://") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
			return lines.Text()
		}
	}
	t.Fatal("the identity provider has not started")
	return ""
}

// world is a server that people sign in to.
type world struct {
	*httptest.Server
	t      *testing.T
	dir    *access.Directory
	issuer string // of corp
	others map[string]string
	trail  trail
}

// trail takes what the audit trail would.
type trail chan event.Request

func (c trail) Record(_ context.Context, r event.Request) { c <- r }

// refused is the next sign-in in the trail, which must be a refused one, by the provider and from here.
func (w *world) refused(provider, reason string, account int64) {
	w.t.Helper()
	select {
	case e := <-w.trail:
		subject := ""
		if account != 0 {
			subject = fmt.Sprintf("account %d", account)
		}
		if e.Kind != event.LoginRefused || e.Operation != provider || !strings.Contains(e.Reason, reason) || e.Path != subject || e.Actor.Address != "127.0.0.1" || e.Actor.ID != 0 {
			w.t.Errorf("in the trail is %+v; want %q", e, reason)
		}
	case <-time.After(time.Minute):
		w.t.Errorf("a refused sign-in is not in the trail: %s", reason)
	}
}

// newWorld has the provider corp, and others, who know nobody's groups.
func newWorld(t *testing.T, groups map[string][]string, change func(*oidc.ProviderOptions), others ...string) *world {
	t.Helper()
	db := metatest.Open(t, meta.SQLite)
	sealer, _, err := seal.OpenFile(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, others: map[string]string{}, trail: make(trail, 1000)}
	if w.dir, err = access.Open(t.Context(), access.Options{DB: db, Sealer: sealer, Hashing: access.Hashing{MemoryKiB: 64, Passes: 1}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.dir.Close() })
	err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		id := tx.ID()
		if err := tx.InsertGroup(ctx, query.InsertGroupParams{ID: id, Name: "acme", Enabled: true}); err != nil {
			return err
		}
		return tx.Change(ctx, id, meta.ChangeDefinition, "group")
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	w.issuer = startProvider(t, w.URL+"/auth/corp/callback", w.URL+"/auth/", groups)
	o := oidc.ProviderOptions{
		Name: "corp", Issuer: w.issuer, ClientID: "weir", ClientSecret: "weir-client-secret", Scopes: []string{"profile", "email", "groups"}, Client: http.DefaultClient,
		Mapping: []oidc.Mapping{{Claim: "groups", Value: "platform-*", Grant: access.Mapped{Group: "acme", Role: access.Owner}}},
	}
	if change != nil {
		change(&o)
	}
	sessions, err := session.New(session.Options{DB: db, Directory: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	providers := []signin.Provider{oidc.NewProvider(o)}
	for _, name := range others {
		other := o
		w.others[name] = startProvider(t, w.URL+"/auth/"+name+"/callback", w.URL+"/auth/", nil)
		other.Name, other.Issuer = name, w.others[name]
		providers = append(providers, oidc.NewProvider(other))
	}
	front := serve.NewFront(serve.Options{Recorder: w.trail})
	door := signin.New(signin.Options{
		Providers: providers, Directory: w.dir, Sessions: sessions, Sealer: sealer, ExternalURLs: []string{w.URL},
	})
	mux.Handle(signin.Prefix, front.Handle("signin", door.Serve))
	mux.Handle(api.Prefix+"/", front.Wrap("api", api.New(api.Options{Directory: w.dir, Sessions: sessions, Definitions: db, Authorize: func(r *http.Request) (api.Caller, error) {
		p, err := sessions.Principal(r)
		return api.Caller{Principal: p}, err
	}})))
	return w
}

// browser is a person's browser, with its cookies.
type browser struct {
	*http.Client
	t *testing.T
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{&http.Client{Jar: jar}, w.t}
}

// visit follows redirects to the end and returns where that is and what it shows.
func (b *browser) visit(method, address string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(text)
}

var action = regexp.MustCompile(`action="([^"]+)"`)

// signIn goes through the provider's pages as somebody, to where it ends.
func (b *browser) signIn(start, name string) (*http.Response, string) {
	b.t.Helper()
	resp, page := b.visit(http.MethodGet, start, nil)
	for range 4 {
		found := action.FindStringSubmatch(page)
		if found == nil {
			break
		}
		prompt := "login"
		if strings.Contains(page, `value="consent"`) {
			prompt = "consent"
		}
		target, err := resp.Request.URL.Parse(found[1])
		if err != nil {
			b.t.Fatal(err)
		}
		resp, page = b.visit(http.MethodPost, target.String(), url.Values{"prompt": {prompt}, "login": {name}, "password": {"any"}})
	}
	return resp, page
}

func (w *world) whoami(b *browser) string {
	w.t.Helper()
	_, text := b.visit(http.MethodGet, w.URL+"/api/v1/whoami", nil)
	return text
}

func (w *world) may(name string, a access.Action, path string) bool {
	w.t.Helper()
	p, err := w.dir.As(w.t.Context(), access.Local(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := w.dir.Check(w.t.Context(), p, access.Request{Action: a, Path: path})
	if err != nil {
		w.t.Fatal(err)
	}
	return d.Allowed
}

func TestSignIn(t *testing.T) {
	w := newWorld(t, map[string][]string{"id-ann": {"staff", "platform-eu"}}, nil)
	// Somebody here has her name: she is not that user.
	if _, err := w.dir.CreateUser(t.Context(), access.Actor{}, "ann", "pw-12345"); err != nil {
		t.Fatal(err)
	}
	ann := w.browser()
	resp, _ := ann.signIn(w.URL+"/auth/corp/login?return=/api/v1/whoami", "id-ann")
	if resp.Request.URL.Path != "/api/v1/whoami" || !strings.Contains(w.whoami(ann), `"name":"ann-2"`) {
		t.Fatal(resp.Request.URL, w.whoami(ann))
	}
	if !w.may("ann-2", access.Own, "acme/app") || w.may("ann", access.Pull, "acme/app") {
		t.Error("the provider's groups are not mapped, or to another")
	}
	_, list := ann.visit(http.MethodGet, w.URL+"/api/v1/sessions", nil)
	if !strings.Contains(list, `"method":"corp"`) {
		t.Error(list)
	}

	again := w.browser()
	again.signIn(w.URL+"/auth/corp/login", "id-ann")
	if !strings.Contains(w.whoami(again), `"name":"ann-2"`) {
		t.Error("the same person is another user: ", w.whoami(again))
	}

	bob := w.browser()
	bob.signIn(w.URL+"/auth/corp/login", "id-bob")
	if !strings.Contains(w.whoami(bob), `"name":"bob"`) || w.may("bob", access.Pull, "acme/app") {
		t.Error(w.whoami(bob))
	}
	account, err := w.dir.Account(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.dir.SetDisabled(t.Context(), access.Actor{}, account.ID, true, nil); err != nil {
		t.Fatal(err)
	}
	late := w.browser()
	if resp, text := late.signIn(w.URL+"/auth/corp/login", "id-bob"); resp.StatusCode != 403 || !strings.Contains(text, "disabled") || strings.Contains(w.whoami(late), `"name"`) {
		t.Error("a disabled user signs in: ", resp.StatusCode, text)
	}
	w.refused("corp", "the account is disabled", account.ID)

	resp, page := ann.visit(http.MethodGet, w.URL+"/auth/corp/logout", nil)
	if !strings.HasPrefix(resp.Request.URL.String(), w.issuer) || !strings.Contains(page, "logout") || strings.Contains(w.whoami(ann), `"name"`) {
		t.Error("logged out here, or there, but not both: ", resp.Request.URL, w.whoami(ann))
	}
}

// Several providers stand side by side: who one calls by a name is not who another calls so, what one maps is not the other's to take
// away, and an answer of one is none of the other's.
func TestSeveralProviders(t *testing.T) {
	w := newWorld(t, map[string][]string{"id-ann": {"platform-eu"}}, nil, "lab")
	corp, lab := w.browser(), w.browser()
	corp.signIn(w.URL+"/auth/corp/login", "id-ann")
	lab.signIn(w.URL+"/auth/lab/login", "id-ann")
	if !strings.Contains(w.whoami(corp), `"name":"ann"`) || !strings.Contains(w.whoami(lab), `"name":"ann-2"`) {
		t.Fatalf("the same subject of two issuers: %s %s", w.whoami(corp), w.whoami(lab))
	}
	if !w.may("ann", access.Own, "acme/app") || w.may("ann-2", access.Pull, "acme/app") {
		t.Error("what one provider says of groups counts for the other's people, or not for its own")
	}
	for b, method := range map[*browser]string{corp: "corp", lab: "lab"} {
		if _, list := b.visit(http.MethodGet, w.URL+"/api/v1/sessions", nil); !strings.Contains(list, `"method":"`+method+`"`) {
			t.Errorf("%s: %s", method, list)
		}
	}
	again := w.browser()
	again.signIn(w.URL+"/auth/lab/login", "id-ann")
	if !strings.Contains(w.whoami(again), `"name":"ann-2"`) || !w.may("ann", access.Own, "acme/app") {
		t.Error("a second sign-in by the other provider: ", w.whoami(again))
	}

	mixed := w.browser()
	mixed.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/callback") {
			return http.ErrUseLastResponse
		}
		return nil
	}
	resp, _ := mixed.signIn(w.URL+"/auth/lab/login", "id-ann")
	answer := resp.Header.Get("Location")
	if !strings.Contains(answer, "/auth/lab/callback?") {
		t.Fatal("no answer to mix up: ", resp.Request.URL, resp.StatusCode)
	}
	if resp, _ := mixed.visit(http.MethodGet, strings.Replace(answer, "/auth/lab/", "/auth/corp/", 1), nil); resp.StatusCode != 403 || strings.Contains(w.whoami(mixed), `"name"`) {
		t.Error("one provider's answer at the other's door: ", resp.StatusCode, w.whoami(mixed))
	}
	w.refused("corp", "not begun in this browser", 0)

	if resp, _ := lab.visit(http.MethodGet, w.URL+"/auth/lab/logout", nil); !strings.HasPrefix(resp.Request.URL.String(), w.others["lab"]) {
		t.Error("logged out elsewhere: ", resp.Request.URL)
	}
	if strings.Contains(w.whoami(lab), `"name"`) || !strings.Contains(w.whoami(corp), `"name":"ann"`) {
		t.Error("logged out by one, and: ", w.whoami(lab), w.whoami(corp))
	}
}

func TestDomains(t *testing.T) {
	w := newWorld(t, nil, func(o *oidc.ProviderOptions) { o.Domains = []string{"Example.test"} })
	good, bad := w.browser(), w.browser()
	good.signIn(w.URL+"/auth/corp/login", "id-ann")
	resp, text := bad.signIn(w.URL+"/auth/corp/login", "id-unverified")
	if !strings.Contains(w.whoami(good), `"name":"ann"`) || resp.StatusCode != 403 || strings.Contains(w.whoami(bad), `"name"`) {
		t.Error(w.whoami(good), resp.StatusCode, text)
	}
	w.refused("corp", "not of a domain that may, or not verified", 0)
	other := newWorld(t, nil, func(o *oidc.ProviderOptions) { o.Domains = []string{"corp.test"} })
	b := other.browser()
	if resp, text := b.signIn(other.URL+"/auth/corp/login", "id-ann"); resp.StatusCode != 403 || !strings.Contains(text, "domain") {
		t.Error(resp.StatusCode, text)
	}
	other.refused("corp", "not of a domain that may, or not verified", 0)
}

// What comes back must belong to what this browser has begun.
func TestForgedAnswers(t *testing.T) {
	w := newWorld(t, nil, nil)
	stop := w.browser()
	stop.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/auth/corp/callback") {
			return http.ErrUseLastResponse
		}
		return nil
	}
	resp, _ := stop.signIn(w.URL+"/auth/corp/login", "id-ann")
	answer := resp.Header.Get("Location")
	if !strings.Contains(answer, "code=") {
		t.Fatal("no answer to steal: ", resp.Request.URL, resp.StatusCode)
	}
	victim := w.browser()
	if resp, _ := victim.visit(http.MethodGet, answer, nil); resp.StatusCode != 403 {
		t.Error("an answer in a browser that has begun nothing: ", resp.StatusCode)
	}
	w.refused("corp", "not begun in this browser", 0)
	begun := w.browser()
	begun.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	begun.visit(http.MethodGet, w.URL+"/auth/corp/login", nil)
	if resp, _ := begun.visit(http.MethodGet, answer, nil); resp.StatusCode != 403 || strings.Contains(w.whoami(begun), `"name"`) {
		t.Error("somebody else's answer: ", resp.StatusCode)
	}
	w.refused("corp", "belongs to another sign-in", 0)
	u, err := url.Parse(answer)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("code", "made-up")
	u.RawQuery = q.Encode()
	stop.CheckRedirect = nil
	if resp, _ := stop.visit(http.MethodGet, u.String(), nil); resp.StatusCode != 403 {
		t.Error("a code that the provider does not know: ", resp.StatusCode)
	}
	w.refused("corp", "does not accept the code", 0)
	if resp, _ := stop.visit(http.MethodGet, answer, nil); resp.StatusCode != 403 {
		t.Error("a second answer to one sign-in: ", resp.StatusCode)
	}
	w.refused("corp", "not begun in this browser", 0)
	for _, path := range []string{"//evil.test", "https://evil.test/", "/\\evil.test", "evil"} {
		b := w.browser()
		if resp, _ := b.signIn(w.URL+"/auth/corp/login?return="+url.QueryEscape(path), "id-ann"); resp.Request.URL.String() != w.URL+"/auth/" {
			t.Errorf("return=%s leads to %s", path, resp.Request.URL)
		}
	}
	for _, path := range []string{"/auth/none/login", "/auth/corp/", "/auth/corp/other"} {
		if resp, _ := w.browser().visit(http.MethodGet, w.URL+path, nil); resp.StatusCode != 404 {
			t.Error(path, resp.StatusCode)
		}
	}
}

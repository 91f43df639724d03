package upstream_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

func bearer(b *registrytest.Behavior) {
	b.Auth, b.Username, b.Password, b.ExpiresIn = registrytest.AuthBearer, "ci", "s3cret", 300
}

// stat asks for the manifest of app:v1 and returns the error.
func stat(t *testing.T, r *upstream.Registry) error {
	t.Helper()
	_, err := r.StatManifest(t.Context(), app, v1())
	return err
}

// mustStat asks n times.
func mustStat(t *testing.T, r *upstream.Registry, n int) {
	t.Helper()
	for range n {
		if err := stat(t, r); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTokenLife: a scope costs one extra pair of requests at first, one token request per lifetime after that, and no ping.
func TestTokenLife(t *testing.T) {
	u, _ := fake(t, bearer)
	c := newClock()
	r := connect(t, u, login("ci", "s3cret"), func(o *upstream.Options) { o.Now = c.now })
	mustStat(t, r, 5)
	if m, k := u.Count("", registrytest.KindManifest), u.Count("", registrytest.KindToken); m != 6 || k != 1 {
		t.Errorf("five questions took %d manifest and %d token requests, want 6 and 1", m, k)
	}
	c.advance(281 * time.Second) // 300 s less the margin
	mustStat(t, r, 2)
	if m, k := u.Count("", registrytest.KindManifest), u.Count("", registrytest.KindToken); m != 8 || k != 2 {
		t.Errorf("after expiry: %d manifest and %d token requests, want 8 and 2", m, k)
	}
	u.Put("team/other", []string{"v1"}, registrytest.RandomImage(2, 1, 10))
	if _, err := r.StatManifest(t.Context(), "team/other", v1()); err != nil {
		t.Fatal(err)
	}
	if m, k := u.Count("", registrytest.KindManifest), u.Count("", registrytest.KindToken); m != 9 || k != 3 {
		t.Errorf("another scope: %d manifest and %d token requests, want 9 and 3", m, k)
	}
	if u.Count("", registrytest.KindPing) != 0 {
		t.Error("it pinged")
	}
}

// TestTokenDefaultLife: without expires_in a token is good for 60 seconds.
func TestTokenDefaultLife(t *testing.T) {
	u, _ := fake(t, bearer, func(b *registrytest.Behavior) { b.ExpiresIn = 0 })
	c := newClock()
	r := connect(t, u, login("ci", "s3cret"), func(o *upstream.Options) { o.Now = c.now })
	for _, step := range []struct {
		advance time.Duration
		tokens  int
	}{{0, 1}, {44 * time.Second, 1}, {2 * time.Second, 2}} {
		c.advance(step.advance)
		mustStat(t, r, 1)
		if got := u.Count("", registrytest.KindToken); got != step.tokens {
			t.Errorf("after %s: %d token requests, want %d", step.advance, got, step.tokens)
		}
	}
}

// TestTokenRevoked: a token that the registry no longer takes is renewed once.
func TestTokenRevoked(t *testing.T) {
	u, _ := fake(t, bearer)
	r := connect(t, u, login("ci", "s3cret"))
	mustStat(t, r, 1)
	u.ExpireTokens()
	mustStat(t, r, 3)
	if m, k := u.Count("", registrytest.KindManifest), u.Count("", registrytest.KindToken); m != 6 || k != 2 {
		t.Errorf("%d manifest and %d token requests, want 6 and 2", m, k)
	}
}

// TestLoginLoop: a registry that refuses every token it issued does not send us in circles.
func TestLoginLoop(t *testing.T) {
	u, _ := fake(t, bearer, func(b *registrytest.Behavior) { b.RejectTokens = true })
	r := connect(t, u, login("ci", "s3cret"))
	want(t, stat(t, r), registry.Denied, "401")
	if n := u.Count("", ""); n != 3 {
		t.Errorf("the first question took %d requests, want 3", n)
	}
	for range 10 {
		want(t, stat(t, r), registry.Denied, "401")
	}
	if n := u.Count("", ""); n > 3+10+2 {
		t.Errorf("ten more questions took %d requests", n-3)
	}
}

// TestDenied: Docker Hub's way of saying that an image is missing or private, and 403.
func TestDenied(t *testing.T) {
	u, image := fake(t, bearer, func(b *registrytest.Behavior) {
		b.Denied, b.Forbidden = []string{"library/missing"}, []string{"team/secret"}
	})
	r := connect(t, u, login("ci", "s3cret"))
	for range 3 {
		for _, repository := range []string{"library/missing", "team/secret"} {
			_, err := r.Manifest(t.Context(), repository, v1())
			want(t, err, registry.Denied, "40")
			_, err = r.StatBlob(t.Context(), repository, image.Config().Digest)
			want(t, err, registry.Denied, "40")
		}
	}
	if n := u.Count("", registrytest.KindToken); n != 2 {
		t.Errorf("%d token requests for two repositories", n)
	}
	mustStat(t, r, 1)
}

// TestBadCredentials: the upstream's refusal of the login says nothing about images; and it is not repeated with each pull,
// which would lock the account.
func TestBadCredentials(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthBearer} {
		u, _ := fake(t, bearer, func(b *registrytest.Behavior) { b.Auth = auth })
		c := newClock()
		r := connect(t, u, login("ci", "wrong"), func(o *upstream.Options) { o.Now = c.now })
		want(t, stat(t, r), registry.Unknown, "the credentials were refused")
		u.Forget()
		for range 5 {
			o := want(t, stat(t, r), registry.Unknown, "the credentials were refused")
			if o.RetryAfter != time.Second {
				t.Errorf("retry after %s", o.RetryAfter)
			}
		}
		if n := u.Count("", ""); n != 0 {
			t.Errorf("auth %d: %d requests with a login known to be bad", auth, n)
		}
		u.Set(func(b *registrytest.Behavior) { b.Password = "wrong" }) // now it is right
		c.advance(time.Second)
		mustStat(t, r, 2)
	}
}

// TestAnonymous: without a credential, a registry that wants one tells nothing, and a realm that issues none tells that this
// repository is not open.
func TestAnonymous(t *testing.T) {
	u, _ := fake(t, bearer)
	want(t, stat(t, connect(t, u)), registry.Denied, "a login is needed")
	u.Set(func(b *registrytest.Behavior) { b.Auth = registrytest.AuthBasic })
	want(t, stat(t, connect(t, u)), registry.Unknown, "a login is needed")
	for _, q := range u.Requests() {
		if q.Header.Get("Authorization") != "" {
			t.Error("an anonymous upstream was sent a login")
		}
	}
}

// TestTokenFlight: many that want a token at once cost one request, and it goes on when the first of them leaves.
func TestTokenFlight(t *testing.T) {
	u, _ := fake(t, bearer)
	gate := make(chan struct{})
	u.Fail(registrytest.Rule{Kind: registrytest.KindToken, Fault: registrytest.Fault{Gate: gate}})
	r := connect(t, u, login("ci", "s3cret"))

	first, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := r.StatManifest(first, app, v1()); left <- err }()
	await(t, func() bool { return u.Count("", registrytest.KindToken) == 1 })
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 20 {
		wg.Go(func() {
			if _, err := r.StatManifest(t.Context(), app, v1()); err != nil {
				failed.Add(1)
			}
		})
	}
	leave()
	want(t, <-left, registry.Unknown, "given up")
	close(gate)
	wg.Wait()
	if n := u.Count("", registrytest.KindToken); n != 1 || failed.Load() != 0 {
		t.Errorf("%d token requests, %d of 20 failed", n, failed.Load())
	}
}

// await polls for what another goroutine brings about.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen")
		}
	}
}

// TestRealm: whoever can answer for the registry chooses the realm; the login must not follow it anywhere.
func TestRealm(t *testing.T) {
	thief := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	thiefHost := thief.Host()
	for _, c := range []struct {
		name, realm, part string
		options           func(*upstream.Options)
	}{
		{"other host", thief.URL() + "/token", "on another host", nil},
		{"user in it", "http://ci:x@" + thiefHost + "/token", "not a usable URL", nil},
		{"other scheme", "ftp://" + thiefHost + "/token", "not https", nil},
		{"nonsense", "%zz", "not a usable URL", nil},
		{"relative", "/token", "not a usable URL", nil},
		{"listed, but not for this credential", thief.URL() + "/token", "may not be sent to", func(o *upstream.Options) {
			o.RealmHosts = []string{thiefHost}
			o.CredentialHosts = []string{hostOf(t, o.URL)}
		}},
	} {
		u, _ := fake(t, bearer, func(b *registrytest.Behavior) { b.Realm = c.realm })
		options := []func(*upstream.Options){login("ci", "s3cret")}
		if c.options != nil {
			options = append(options, c.options)
		}
		if want(t, stat(t, connect(t, u, options...)), registry.Unknown, c.part); thief.Count("", "") != 0 {
			t.Errorf("%s: the other host was asked", c.name)
		}
	}
	u, _ := fake(t, bearer, func(b *registrytest.Behavior) { b.Realm = thief.URL() + "/token" })
	thief.Set(bearer)
	r := connect(t, u, login("ci", "s3cret"), func(o *upstream.Options) { o.RealmHosts = []string{thiefHost} })
	want(t, stat(t, r), registry.Denied, "401") // its tokens are worth nothing here, but it was asked
	if thief.Count("GET", registrytest.KindToken) != 1 {
		t.Error("a listed realm was not asked")
	}
}

func hostOf(t *testing.T, text string) string {
	t.Helper()
	parsed, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Host
}

// TestCredentialHosts: a credential that may not go to the upstream is not replaced by an anonymous request.
func TestCredentialHosts(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthBearer} {
		u, _ := fake(t, bearer, func(b *registrytest.Behavior) { b.Auth = auth })
		r := connect(t, u, login("ci", "s3cret"), func(o *upstream.Options) { o.CredentialHosts = []string{"registry.test"} })
		want(t, stat(t, r), registry.Unknown, "may not be sent to")
		for _, q := range u.Requests() {
			if q.Header.Get("Authorization") != "" {
				t.Error("the login was sent")
			}
		}
	}
}

// TestTokenEndpoint: what a token endpoint can do wrong.
func TestTokenEndpoint(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html"}}
	for _, c := range []struct {
		name    string
		fault   registrytest.Fault
		outcome registry.Outcome
		part    string
	}{
		{"forbidden", registrytest.Status(403), registry.Denied, "403"},
		{"down", registrytest.Status(503), registry.Unknown, "503"},
		{"missing", registrytest.Status(404), registry.Unknown, "404"},
		{"limited", registrytest.TooManyRequests("9"), registry.Unknown, "429"},
		{"redirects", registrytest.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, registry.Unknown, "redirects"},
		{"page", registrytest.Fault{Status: 200, Body: "<html>log in</html>", Header: html}, registry.Unknown, "makes no sense"},
		{"no token", registrytest.Fault{Status: 200, Body: `{"expires_in": 5}`}, registry.Unknown, "no token"},
		{"bad token", registrytest.Fault{Status: 200, Body: `{"token": "a\r\nb"}`}, registry.Unknown, "no token"},
		{"huge", registrytest.Fault{Status: 200, Body: `{"token": "` + strings.Repeat("a", 1<<20) + `"}`}, registry.Unknown, "makes no sense"},
		{"cut", registrytest.Fault{Status: 0, Reset: true}, registry.Unknown, "connection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, _ := fake(t, bearer)
			u.Fail(registrytest.Rule{Kind: registrytest.KindToken, Fault: c.fault})
			o := want(t, stat(t, connect(t, u, login("ci", "s3cret"))), c.outcome, c.part)
			if c.name == "limited" && (!o.Limited || o.RetryAfter != 9*time.Second) {
				t.Errorf("limited: %+v", o)
			}
		})
	}
}

// TestTokenPOST: some realms know only the OAuth form.
func TestTokenPOST(t *testing.T) {
	u, _ := fake(t, bearer)
	u.Fail(registrytest.Rule{Method: "GET", Kind: registrytest.KindToken, Fault: registrytest.Status(405)})
	mustStat(t, connect(t, u, login("ci", "s3cret")), 2)
	if u.Count("POST", registrytest.KindToken) != 1 {
		t.Error("no POST")
	}
}

// rotating is a Source whose login was changed behind our back.
type rotating struct{ used atomic.Int32 }

func (s *rotating) Login(context.Context, credential.Target) (credential.Login, error) {
	password := "old"
	if s.used.Load() > 0 {
		password = "s3cret"
	}
	return credential.Login{Username: "ci", Password: credential.NewSecret(password)}, nil
}

func (s *rotating) Rejected(context.Context, credential.Target, credential.Login) bool {
	return s.used.Add(1) == 1
}

func (s *rotating) Fingerprint() string { return "rotating" }

// TestRejected: a Source that has a newer login is asked for it once.
func TestRejected(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthBearer} {
		u, _ := fake(t, bearer, func(b *registrytest.Behavior) { b.Auth = auth })
		mustStat(t, connect(t, u, func(o *upstream.Options) { o.Credential = &rotating{} }), 2)
	}
}

// TestSchemeChanges: a registry may begin to ask for another kind of login at any time.
func TestSchemeChanges(t *testing.T) {
	u, _ := fake(t, bearer)
	r := connect(t, u, login("ci", "s3cret"))
	for _, auth := range []registrytest.Auth{registrytest.AuthBearer, registrytest.AuthBasic, registrytest.AuthBearer, registrytest.AuthNone, registrytest.AuthBasic} {
		u.Set(func(b *registrytest.Behavior) { b.Auth = auth })
		u.ExpireTokens()
		mustStat(t, r, 2)
	}
}

// TestUseAfterClose: a transfer outlives the configuration that it began under.
func TestUseAfterClose(t *testing.T) {
	u, _ := fake(t, bearer)
	c := newClock()
	r := connect(t, u, login("ci", "s3cret"), func(o *upstream.Options) { o.Now = c.now })
	mustStat(t, r, 1)
	r.Close()
	mustStat(t, r, 1)
	c.advance(time.Hour)
	mustStat(t, r, 2)
	if k := u.Count("", registrytest.KindToken); k != 2 {
		t.Errorf("%d token requests, want 2", k)
	}
}

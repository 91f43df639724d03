package upstream_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/credential/static"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is the repository of these tests.
const app = "team/app"

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func login(user, password string) func(*upstream.Options) {
	return func(o *upstream.Options) { o.Credential = static.New(user, credential.NewSecret(password)) }
}

// connect makes a Registry for the fake upstream.
func connect(t *testing.T, u *registrytest.Upstream, change ...func(*upstream.Options)) *upstream.Registry {
	t.Helper()
	return open(t, u.URL(), change...)
}

func open(t *testing.T, url string, change ...func(*upstream.Options)) *upstream.Registry {
	t.Helper()
	o := upstream.Options{URL: url, AllowPrivateNetworks: true, Version: "test", Timeout: 5 * time.Second}
	for _, f := range change {
		f(&o)
	}
	r, err := upstream.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// fake is an upstream with one image, app:v1.
func fake(t *testing.T, change ...func(*registrytest.Behavior)) (*registrytest.Upstream, registrytest.Image) {
	t.Helper()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	image := registrytest.RandomImage(1, 1, 200_000)
	u.Put(app, []string{"v1"}, image)
	for _, f := range change {
		u.Set(f)
	}
	return u, image
}

func v1() oci.Reference { return oci.ByTag("v1") }

// want checks an outcome, and that its reason holds part and no secrets.
func want(t *testing.T, err error, outcome registry.Outcome, part string) *registry.OutcomeError {
	t.Helper()
	o, ok := errors.AsType[*registry.OutcomeError](err)
	if !ok {
		t.Fatalf("%v is no outcome, want %s", err, outcome)
	}
	if o.Outcome != outcome || !strings.Contains(o.Reason, part) {
		t.Errorf("%s (%s), want %s with %q", o.Outcome, o.Reason, outcome, part)
	}
	for _, secret := range []string{"s3cret", "X-Signature", "token-"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells %q: %v", secret, err)
		}
	}
	return o
}

// TestSuite runs the suite over every way of logging in and of answering.
func TestSuite(t *testing.T) {
	for _, c := range []struct {
		name    string
		fake    registrytest.UpstreamOptions
		behave  func(*registrytest.Behavior)
		options []func(*upstream.Options)
	}{
		{name: "open", behave: func(*registrytest.Behavior) {}},
		{name: "basic", behave: func(b *registrytest.Behavior) {
			b.Auth, b.Username, b.Password = registrytest.AuthBasic, "ci", "s3cret"
		},
			options: []func(*upstream.Options){login("ci", "s3cret")}},
		{name: "bearer", behave: func(b *registrytest.Behavior) {
			b.Auth, b.Username, b.Password = registrytest.AuthBearer, "ci", "s3cret"
		},
			options: []func(*upstream.Options){login("ci", "s3cret")}},
		{name: "anonymous bearer", behave: func(b *registrytest.Behavior) {
			b.Auth, b.NoScope, b.AccessTokenField = registrytest.AuthBearer, true, true
		}},
		{name: "identity token", behave: func(b *registrytest.Behavior) {
			b.Auth, b.Username, b.IdentityToken = registrytest.AuthBearer, "x", "s3cret"
		},
			options: []func(*upstream.Options){login("<token>", "s3cret")}},
		{name: "redirects", behave: func(b *registrytest.Behavior) { b.Auth, b.Redirect = registrytest.AuthBearer, true }},
		{name: "defects", behave: func(b *registrytest.Behavior) {
			b.NoDigestHeader, b.NoReferrers, b.IgnoreRange, b.PageCap, b.Link = true, true, true, 3, registrytest.LinkAbsolute
		}},
		{name: "tls", fake: registrytest.UpstreamOptions{TLS: true}, behave: func(b *registrytest.Behavior) { b.Auth = registrytest.AuthBearer }},
		{name: "http2", fake: registrytest.UpstreamOptions{TLS: true, HTTP2: true}, behave: func(b *registrytest.Behavior) { b.Auth, b.Redirect = registrytest.AuthBearer, true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Without the API there is no list of referrers unless a client keeps the tag; see TestReferrersByTag.
			o := registrytest.Options{Tags: true, Referrers: c.name != "defects"}
			registrytest.Run(t, o, func(t *testing.T, f registrytest.Fixture) registry.Registry {
				u := registrytest.NewUpstream(t, c.fake)
				u.PutFixture(f)
				u.Set(c.behave)
				options := c.options
				if c.fake.TLS {
					options = append(options, func(o *upstream.Options) { o.CA = u.CA() })
				}
				return connect(t, u, options...)
			})
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for url, part := range map[string]string{
		"":                            "must begin with https",
		"ftp://registry.test":         "must begin with https",
		"https://":                    "host is missing",
		"https://ci:s3cret@host.test": "must not hold a user name",
		"https://host.test/?x=1":      "query",
		"https://host.test/UPPER":     "cannot begin a repository name",
		"https://ho st.test":          "not a URL",
	} {
		_, err := upstream.New(upstream.Options{URL: url})
		if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, want %q", url, err, part)
		}
	}
	if _, err := upstream.New(upstream.Options{URL: "https://host.test", CA: "nonsense"}); err == nil {
		t.Error("a CA that is none was accepted")
	}
}

func TestHosts(t *testing.T) {
	for url, host := range map[string]string{
		"https://docker.io":                 "registry-1.docker.io",
		"https://index.docker.io/v1/":       "registry-1.docker.io",
		"https://registry-1.docker.io:443/": "registry-1.docker.io",
		"https://GHCR.io/v2/":               "ghcr.io",
		"http://127.0.0.1:5000":             "127.0.0.1:5000",
	} {
		if got := open(t, url).Host(); got != host {
			t.Errorf("%s: host %s, want %s", url, got, host)
		}
	}
}

// TestPrefix: the path of the URL goes before every name, in paths and in scopes.
func TestPrefix(t *testing.T) {
	u, image := fake(t, func(b *registrytest.Behavior) { b.Auth = registrytest.AuthBearer })
	u.Put("proxy/hub/"+app, []string{"v1"}, image)
	r := open(t, u.URL()+"/proxy/hub/")
	if m, err := r.Manifest(t.Context(), app, v1()); err != nil || m.Digest != image.Manifest.Digest {
		t.Errorf("%+v, %v", m, err)
	}
	for _, q := range u.Requests() {
		if q.Kind == registrytest.KindManifest && q.Repository != "proxy/hub/"+app {
			t.Errorf("asked for %s", q.Repository)
		}
	}
}

// TestVia: requests name us, after those through whose hands the client's request came.
func TestVia(t *testing.T) {
	u, _ := fake(t)
	r := connect(t, u, func(o *upstream.Options) { o.InstanceID = "weir-b" })
	for via, want := range map[string]string{"": "1.1 weir-b", "1.1 weir-a, 1.1 proxy": "1.1 weir-a, 1.1 proxy, 1.1 weir-b"} {
		u.Forget()
		ctx := registry.WithCaller(t.Context(), registry.Caller{Via: via})
		if _, err := r.StatManifest(ctx, app, v1()); err != nil {
			t.Fatal(err)
		}
		if got := u.Requests()[0].Header.Get("Via"); got != want {
			t.Errorf("Via: %s, want %s", got, want)
		}
	}
}

// TestHTTP2: it is spoken where it is offered, with one connection for everything.
func TestHTTP2(t *testing.T) {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{TLS: true, HTTP2: true})
	u.Put(app, []string{"v1"}, registrytest.RandomImage(1, 1, 10))
	r := connect(t, u, func(o *upstream.Options) { o.CA = u.CA() })
	mustStat(t, r, 3)
	for _, q := range u.Requests() {
		if q.Proto != "HTTP/2.0" {
			t.Errorf("%s %s", q.Method, q.Proto)
		}
	}
}

package upstream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/credential/static"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

// summary is the steps of a probe as "name+ connect- …".
func summary(steps []upstream.Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, s.Name+map[bool]string{true: "+", false: "-"}[s.OK])
	}
	return strings.Join(out, " ")
}

func TestProbe(t *testing.T) {
	bearer := func(b *registrytest.Behavior) {
		b.Auth, b.Username, b.Password = registrytest.AuthBearer, "ci", "s3cret"
	}
	basic := func(b *registrytest.Behavior) {
		b.Auth, b.Username, b.Password = registrytest.AuthBasic, "ci", "s3cret"
	}
	private := func(o *upstream.Options) { o.AllowPrivateNetworks = false }
	for _, c := range []struct {
		name    string
		behave  func(*registrytest.Behavior)
		options []func(*upstream.Options)
		repo    string
		want    string
		last    string // part of the last step
	}{
		{name: "open", behave: func(*registrytest.Behavior) {}, repo: app, want: "name+ connect+ registry+ login+ repository+", last: "can be read"},
		{name: "no such repository", behave: func(*registrytest.Behavior) {}, repo: "none", want: "name+ connect+ registry+ login+ repository-", last: "404"},
		{name: "bearer", behave: bearer, options: []func(*upstream.Options){login("ci", "s3cret")}, repo: app, want: "name+ connect+ registry+ login+ repository+"},
		{name: "bearer, no repository", behave: bearer, options: []func(*upstream.Options){login("ci", "s3cret")}, want: "name+ connect+ registry+ login+", last: "accepted"},
		{name: "wrong bearer", behave: bearer, options: []func(*upstream.Options){login("ci", "s3cret-wrong")}, want: "name+ connect+ registry+ login-", last: "refused"},
		{name: "basic", behave: basic, options: []func(*upstream.Options){login("ci", "s3cret")}, want: "name+ connect+ registry+ login+", last: "accepted"},
		{name: "wrong basic", behave: basic, options: []func(*upstream.Options){login("ci", "s3cret-wrong")}, want: "name+ connect+ registry+ login-", last: "refused"},
		{name: "basic without a credential", behave: basic, want: "name+ connect+ registry+ login-", last: "no credential"},
		{name: "private address", behave: bearer, options: []func(*upstream.Options){private}, want: "name+ connect-", last: "private"},
		{name: "credential of another host", behave: bearer, options: []func(*upstream.Options){login("ci", "s3cret"), func(o *upstream.Options) { o.CredentialHosts = []string{"other.test"} }}, want: "name+ connect+ registry+ login-", last: "may not be sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, _ := fake(t, c.behave)
			steps := connect(t, u, c.options...).Probe(t.Context(), c.repo)
			if got := summary(steps); got != c.want {
				t.Errorf("%s, want %s: %+v", got, c.want, steps)
			}
			last := steps[len(steps)-1]
			if !strings.Contains(last.Detail, c.last) || last.OK == (last.Advice != "") {
				t.Errorf("last step %+v, want %q", last, c.last)
			}
			for _, s := range steps {
				if strings.Contains(s.Detail+s.Advice, "s3cret") {
					t.Errorf("step tells a secret: %+v", s)
				}
			}
		})
	}
}

// What does not answer says at which step; TLS is told from no TLS.
func TestProbeUnreachable(t *testing.T) {
	short := func(o *upstream.Options) { o.Timeout = time.Second }
	if s := summary(open(t, "https://nowhere.invalid", short).Probe(t.Context(), "")); s != "name-" {
		t.Errorf("no such host: %s", s)
	}
	u, _ := fake(t)
	address := strings.Replace(u.URL(), "http://", "https://", 1)
	if s := summary(open(t, address, short).Probe(t.Context(), "")); s != "name+ connect+ tls-" {
		t.Errorf("no TLS: %s", s)
	}
	secure := registrytest.NewUpstream(t, registrytest.UpstreamOptions{TLS: true})
	r := open(t, secure.URL(), short)
	if s := r.Probe(t.Context(), ""); summary(s) != "name+ connect+ tls-" || !strings.Contains(s[2].Advice, "ca") {
		t.Errorf("unknown authority: %+v", s)
	}
	r = open(t, secure.URL(), func(o *upstream.Options) { o.CA = secure.CA() })
	if s := r.Probe(t.Context(), ""); summary(s) != "name+ connect+ tls+ registry+ login+" || !strings.Contains(s[2].Detail, "valid until") {
		t.Errorf("TLS: %+v", s)
	}
}

// Health tells of exchanges that were made anyway.
func TestHealth(t *testing.T) {
	clock := newClock()
	u, _ := fake(t)
	r := connect(t, u, func(o *upstream.Options) { o.Now = clock.now })
	if h := r.Health(); !h.Answered.IsZero() || !h.Failed.IsZero() || h.Open {
		t.Errorf("before anything: %+v", h)
	}
	if _, err := r.StatManifest(t.Context(), app, v1()); err != nil {
		t.Fatal(err)
	}
	answered := clock.now()
	clock.advance(time.Minute)
	u.Close()
	for range 3 {
		if _, err := r.StatManifest(t.Context(), app, v1()); err == nil {
			t.Fatal("a closed upstream answers")
		}
	}
	h := r.Health()
	if !h.Answered.Equal(answered) || !h.Failed.Equal(clock.now()) || h.Failure == "" || !h.Open {
		t.Errorf("after it is gone: %+v", h)
	}
}

// A new secret that is wrong does not stop pulls while the one before it is good.
func TestOverlap(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBearer, registrytest.AuthBasic} {
		u, _ := fake(t, func(b *registrytest.Behavior) { b.Auth, b.Username, b.Password = auth, "ci", "s3cret-old" })
		source := static.Rotated("ci", credential.NewSecret("s3cret-new"), credential.NewSecret("s3cret-old"), time.Now().Add(time.Hour), nil)
		r := connect(t, u, func(o *upstream.Options) { o.Credential = source })
		if _, err := r.StatManifest(t.Context(), app, v1()); err != nil {
			t.Errorf("%v: %v", auth, err)
		}
		if h := r.Health(); !h.PreviousSecret || h.LoginRefused || r.SecretAccepted() {
			t.Errorf("%v: %+v", auth, h)
		}
	}
}

// When both secrets are refused, neither is said to work, and the refusal is the failure that is shown, with when it is tried again.
func TestOverlapRefused(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBearer, registrytest.AuthBasic} {
		clock := newClock()
		u, _ := fake(t, func(b *registrytest.Behavior) { b.Auth, b.Username, b.Password = auth, "ci", "s3cret-old" })
		source := static.Rotated("ci", credential.NewSecret("s3cret-new"), credential.NewSecret("s3cret-old"), clock.now().Add(time.Hour), clock.now)
		r := connect(t, u, func(o *upstream.Options) { o.Credential, o.Now = source, clock.now })
		u.Fail(registrytest.Rule{Fault: registrytest.Status(503)})
		_, _ = r.StatManifest(t.Context(), app, v1())
		u.Heal()
		u.Set(func(b *registrytest.Behavior) { b.Password = "s3cret-other" })
		clock.advance(time.Minute)
		for range 3 {
			clock.advance(10 * time.Second)
			if _, err := r.StatManifest(t.Context(), app, v1()); err == nil {
				t.Fatalf("%v: refused secrets do", auth)
			}
		}
		h := r.Health()
		if !h.LoginRefused || h.PreviousSecret || r.SecretAccepted() || !h.Failed.Equal(clock.now()) || !strings.Contains(h.Failure, "credentials were refused") || !h.TriedAgain.After(clock.now()) {
			t.Errorf("%v: %+v", auth, h)
		}
		u.Set(func(b *registrytest.Behavior) { b.Password = "s3cret-new" })
		clock.advance(time.Minute)
		if _, err := r.StatManifest(t.Context(), app, v1()); err != nil || !r.SecretAccepted() {
			t.Errorf("%v: %v, accepted %v", auth, err, r.SecretAccepted())
		}
		if h := r.Health(); h.LoginRefused || !h.TriedAgain.IsZero() {
			t.Errorf("%v: once the new one is accepted: %+v", auth, h)
		}
	}
}

// As soon as the provider has the new secret, and so refuses the one before it, the new one is used.
func TestOverlapEnds(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBearer, registrytest.AuthBasic} {
		clock := newClock()
		u, _ := fake(t, func(b *registrytest.Behavior) { b.Auth, b.Username, b.Password = auth, "ci", "s3cret-old" })
		source := static.Rotated("ci", credential.NewSecret("s3cret-new"), credential.NewSecret("s3cret-old"), clock.now().Add(time.Hour), clock.now)
		r := connect(t, u, func(o *upstream.Options) { o.Credential, o.Now = source, clock.now })
		if _, err := r.StatManifest(t.Context(), app, v1()); err != nil || !r.Health().PreviousSecret {
			t.Errorf("%v: %v, %+v", auth, err, r.Health())
		}
		u.Set(func(b *registrytest.Behavior) { b.Password = "s3cret-new" })
		clock.advance(15 * time.Second)
		for range 2 {
			if _, err := r.StatManifest(t.Context(), "team/"+app, v1()); registry.AsOutcome(err) != nil && registry.AsOutcome(err).Outcome != registry.Absent {
				t.Errorf("%v, with the new secret: %v", auth, err)
			}
		}
		if h := r.Health(); h.PreviousSecret || h.LoginRefused {
			t.Errorf("%v: %+v", auth, h)
		}
	}
}

// A probe tries the present secret, and says when it took the one before it.
func TestProbeOverlap(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBearer, registrytest.AuthBasic} {
		right := "s3cret-old"
		u, _ := fake(t, func(b *registrytest.Behavior) { b.Auth, b.Username, b.Password = auth, "ci", right })
		source := static.Rotated("ci", credential.NewSecret("s3cret-new"), credential.NewSecret("s3cret-old"), time.Now().Add(time.Hour), nil)
		r := connect(t, u, func(o *upstream.Options) { o.Credential = source })
		for range 2 {
			steps := r.Probe(t.Context(), app)
			last := steps[len(steps)-1]
			if last.Name != "login" || last.OK || !strings.Contains(last.Detail, "new secret is refused; the one before it is accepted") || last.Advice == "" {
				t.Errorf("%v: %+v", auth, last)
			}
		}
		u.Set(func(b *registrytest.Behavior) { b.Password = "s3cret-new" })
		if s := summary(r.Probe(t.Context(), app)); s != "name+ connect+ registry+ login+ repository+" || r.Health().PreviousSecret {
			t.Errorf("%v: after the provider has the new secret: %s, %+v", auth, s, r.Health())
		}
	}
}

// What an upstream cannot do now is no reason to change its login.
func TestProbeTrouble(t *testing.T) {
	for _, c := range []struct {
		kind   registrytest.Kind
		fault  registrytest.Fault
		auth   registrytest.Auth
		step   string
		advice string
	}{
		{registrytest.KindPing, registrytest.TooManyRequests("30"), registrytest.AuthNone, "registry", "wait"},
		{registrytest.KindPing, registrytest.Status(503), registrytest.AuthNone, "registry", "trouble of its own"},
		{registrytest.KindPing, registrytest.Fault{Hang: true}, registrytest.AuthNone, "registry", "nothing comes back"},
		{registrytest.KindToken, registrytest.TooManyRequests("30"), registrytest.AuthBearer, "login", "wait"},
		{registrytest.KindToken, registrytest.Status(500), registrytest.AuthBearer, "login", "trouble of its own"},
		{registrytest.KindToken, registrytest.Fault{Hang: true}, registrytest.AuthBearer, "login", "nothing comes back"},
		{registrytest.KindPing, registrytest.TooManyRequests("30"), registrytest.AuthBasic, "login", "wait"},
		{registrytest.KindTags, registrytest.TooManyRequests("30"), registrytest.AuthNone, "repository", "wait"},
		{registrytest.KindTags, registrytest.Fault{Hang: true}, registrytest.AuthNone, "repository", "nothing comes back"},
	} {
		u, _ := fake(t, func(b *registrytest.Behavior) { b.Auth, b.Username, b.Password = c.auth, "ci", "s3cret" })
		u.Fail(registrytest.Rule{Kind: c.kind, Fault: c.fault})
		steps := connect(t, u, quick, login("ci", "s3cret")).Probe(t.Context(), app)
		last := steps[len(steps)-1]
		if last.Name != c.step || last.OK || !strings.Contains(last.Advice, c.advice) || strings.Contains(last.Advice, "replace") {
			t.Errorf("%s %+v: %+v", c.kind, c.fault, steps)
		}
	}
}

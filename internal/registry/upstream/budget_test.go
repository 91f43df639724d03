package upstream_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

// metrics keeps what it is told.
type metrics struct {
	mu       sync.Mutex
	requests int
	budget   [2]int
	breaker  []bool
}

func (m *metrics) Request(upstream.Kind, string, int, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
}

func (m *metrics) Budget(limit, remaining int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.budget = [2]int{limit, remaining}
}

func (m *metrics) Breaker(_ string, open bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.breaker = append(m.breaker, open)
}

// TestBudget: misses use the budget up, revalidation leaves the reserve, and what is used up is not asked for.
func TestBudget(t *testing.T) {
	u, image := fake(t, func(b *registrytest.Behavior) { b.RateLimit, b.RateRemaining, b.RateWindow = 100, 11, 3600 })
	c, m := newClock(), &metrics{}
	r := connect(t, u, func(o *upstream.Options) { o.Now, o.Metrics = c.now, m })
	get := func() error { _, err := r.Manifest(t.Context(), app, v1()); return err }
	revalidate := func() error {
		_, err := r.StatManifest(registry.WithRevalidation(t.Context()), app, v1())
		return err
	}
	if err := revalidate(); err != nil {
		t.Fatal(err)
	}
	if b := r.Budget(); b.Limit != 100 || b.Remaining != 11 || b.Window != time.Hour || !b.Until.IsZero() || m.budget != [2]int{100, 11} {
		t.Errorf("budget %+v, metrics %v", b, m.budget)
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	if o := want(t, revalidate(), registry.Unknown, "is kept for"); !o.Limited || o.Status != 0 {
		t.Errorf("revalidation below the reserve: %+v", o)
	}
	for range 10 {
		if err := get(); err != nil {
			t.Fatal(err)
		}
	}
	asked := u.Count("", registrytest.KindManifest)
	if o := want(t, get(), registry.Unknown, "used up"); !o.Limited || o.RetryAfter != time.Minute {
		t.Errorf("exhausted: %+v", o)
	}
	if u.Count("", registrytest.KindManifest) != asked || r.Budget().Until.IsZero() {
		t.Errorf("an exhausted upstream was asked, or does not look so: %+v", r.Budget())
	}
	registrytest.ReadBlob(t, r, app, image.Config().Digest, registry.Range{}) // blobs are not counted

	c.advance(time.Minute)
	if o := want(t, get(), registry.Unknown, "429"); !o.Limited {
		t.Errorf("the try after a minute: %+v", o)
	}
	u.Set(func(b *registrytest.Behavior) { b.RateRemaining = 50 })
	c.advance(time.Minute)
	if err := get(); err != nil || revalidate() != nil {
		t.Errorf("after the window slid: %v", err)
	}
}

// TestRetryAfter: seconds and dates are respected, and a refused blob holds back everything.
func TestRetryAfter(t *testing.T) {
	for _, header := range []string{"30", newClock().now().Add(30 * time.Second).Format(http.TimeFormat)} {
		u, image := fake(t)
		c := newClock()
		r := connect(t, u, func(o *upstream.Options) { o.Now = c.now })
		u.Fail(registrytest.Rule{Kind: registrytest.KindManifest, Times: 1, Fault: registrytest.TooManyRequests(header)})
		o := want(t, stat(t, r), registry.Unknown, "429")
		if !o.Limited || o.RetryAfter != 30*time.Second || o.Status != 429 {
			t.Errorf("%s: %+v", header, o)
		}
		u.Forget()
		want(t, stat(t, r), registry.Unknown, "used up")
		if u.Count("", "") != 0 {
			t.Error("it was asked all the same")
		}
		registrytest.ReadBlob(t, r, app, image.Config().Digest, registry.Range{})
		c.advance(30 * time.Second)
		mustStat(t, r, 1)
	}
	u, image := fake(t)
	r := connect(t, u)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Times: 1, Fault: registrytest.TooManyRequests("30")})
	_, err := r.Blob(t.Context(), app, image.Config().Digest, registry.Range{})
	want(t, err, registry.Unknown, "429")
	want(t, stat(t, r), registry.Unknown, "used up")
}

// TestLimitWithoutRetryAfter: the first pull after half a second is tried.
func TestLimitWithoutRetryAfter(t *testing.T) {
	u, _ := fake(t)
	c := newClock()
	r := connect(t, u, func(o *upstream.Options) { o.Now = c.now })
	u.Fail(registrytest.Rule{Times: 1, Fault: registrytest.TooManyRequests("")})
	want(t, stat(t, r), registry.Unknown, "429")
	want(t, stat(t, r), registry.Unknown, "used up")
	c.advance(500 * time.Millisecond)
	mustStat(t, r, 1)
}

// TestBreaker: three failures in a row open it, a miss tries the host each half second, revalidation when the pause is over,
// and the first answer closes it.
func TestBreaker(t *testing.T) {
	u, _ := fake(t)
	c, m := newClock(), &metrics{}
	r := connect(t, u, func(o *upstream.Options) { o.Now, o.Metrics = c.now, m })
	u.Stop()
	for range 3 {
		want(t, stat(t, r), registry.Unknown, "connection refused")
	}
	if !r.Open() {
		t.Fatal("it is not open")
	}
	opened := c.now()
	// resting wants a refusal without a request: it tells what failed last, when, and for how long that keeps others away.
	resting := func(err error, at time.Time, wait time.Duration) {
		t.Helper()
		if o := want(t, err, registry.Unknown, "connection refused"); !o.At.Equal(at) || o.RetryAfter != wait || o.Limited {
			t.Errorf("open: %+v, want one of %s for %s", o, at, wait)
		}
	}
	resting(stat(t, r), opened, 500*time.Millisecond)
	revalidate := func() error {
		_, err := r.StatManifest(registry.WithRevalidation(t.Context()), app, v1())
		return err
	}
	tried := func(err error) time.Time {
		t.Helper()
		if o := want(t, err, registry.Unknown, "connection refused"); !o.At.IsZero() {
			t.Errorf("not tried: %+v", o)
		}
		return c.now()
	}
	c.advance(500 * time.Millisecond)
	resting(revalidate(), opened, 500*time.Millisecond)
	last := tried(stat(t, r))
	c.advance(time.Second)
	resting(revalidate(), last, time.Second) // the pause has grown to two seconds
	if h := r.Health(); !h.Failing || !strings.Contains(h.Failure, "connection refused") || !h.TriedAgain.Equal(last.Add(2*time.Second)) {
		t.Errorf("health: %+v", h)
	}
	c.advance(time.Second)
	last = tried(revalidate())
	resting(stat(t, r), last, 500*time.Millisecond)

	u.Restart()
	c.advance(500 * time.Millisecond)
	mustStat(t, r, 1)
	if err := revalidate(); err != nil || r.Open() {
		t.Errorf("after recovery: %v", err)
	}
	if len(m.breaker) != 2 || !m.breaker[0] || m.breaker[1] {
		t.Errorf("metrics: %v", m.breaker)
	}
}

// TestRecovery: an upstream that hung is found to be back soon: within half a second by the clock of TestBreaker, here with
// room for a busy machine.
func TestRecovery(t *testing.T) {
	u, _ := fake(t)
	r := connect(t, u, quick)
	u.Fail(registrytest.Rule{Fault: registrytest.Fault{Hang: true}})
	for range 3 {
		want(t, stat(t, r), registry.Unknown, "no answer in time")
	}
	start := time.Now()
	if o := want(t, stat(t, r), registry.Unknown, "no answer in time"); o.At.IsZero() {
		t.Errorf("it was asked: %+v", o)
	}
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Errorf("an open breaker took %s to refuse", took)
	}
	u.Heal()
	start = time.Now()
	await(t, func() bool { return stat(t, r) == nil })
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the first answer came %s after recovery", took)
	}
}

// TestBreakerStatus: an upstream that answers, whatever it answers, is there.
func TestBreakerStatus(t *testing.T) {
	u, _ := fake(t)
	u.Fail(registrytest.Rule{Fault: registrytest.Status(503)})
	r := connect(t, u)
	for range 10 {
		want(t, stat(t, r), registry.Unknown, "503")
	}
	if h := r.Health(); !h.Failing || h.Open || !strings.Contains(h.Failure, "503") || h.Failed.IsZero() {
		t.Errorf("health: %+v", h)
	}
	u.Heal()
	mustStat(t, r, 1)
}

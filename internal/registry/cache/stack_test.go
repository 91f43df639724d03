package cache_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// newStack is a cache of the real upstream client, which talks to the fake upstream.
func newStack(t *testing.T, change ...func(*cache.Options)) (*world, *registrytest.Upstream) {
	t.Helper()
	fake := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	client, err := upstream.New(upstream.Options{
		URL: fake.URL(), AllowPrivateNetworks: true, Timeout: time.Second, IdleTimeout: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return newWorld(t, append([]func(*cache.Options){func(o *cache.Options) {
		o.Remote = client
		o.RevalidateWait = 50 * time.Millisecond
	}}, change...)...), fake
}

// troubles are ways of an upstream to give no authoritative answer.
func troubles() map[string]registrytest.Fault {
	return map[string]registrytest.Fault{
		"429": registrytest.TooManyRequests("7"), "429 without Retry-After": registrytest.TooManyRequests(""),
		"500": registrytest.Status(500), "502": registrytest.Status(502), "503": registrytest.Status(503), "504": registrytest.Status(504),
		"hang": {Hang: true}, "reset": {Reset: true},
	}
}

func TestWarmSurvivesItsUpstream(t *testing.T) {
	for name, fault := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, fake := newStack(t)
			image := registrytest.RandomImage(1, 1, 100_000)
			fake.Put(alpine, []string{"latest"}, image)
			layer := image.Layers()[0]
			w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheMiss)
			w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheMiss)
			w.settled(alpine, layer.Digest)
			w.pass(2 * time.Hour)
			fake.Fail(registrytest.Rule{Fault: fault})
			for range 3 {
				w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheStale)
				w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheHit)
			}
		})
	}
}

func TestColdTellsTheTruth(t *testing.T) {
	for name, fault := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, fake := newStack(t)
			image := registrytest.RandomImage(1, 1, 100_000)
			fake.Put(alpine, []string{"latest"}, image)
			fake.Fail(registrytest.Rule{Fault: fault})
			for _, a := range []virtual.Answer{
				w.ask(virtual.ModeHead, alpine, latest), w.ask(virtual.ModeGet, alpine, latest),
				w.blob(virtual.ModeHead, alpine, image.Layers()[0].Digest), w.blob(virtual.ModeGet, alpine, image.Layers()[0].Digest),
			} {
				if a.Outcome != registry.Unknown || fault.Status == http.StatusTooManyRequests && !a.Limited {
					t.Errorf("%s (limited %v): %s", a.Outcome, a.Limited, a.Reason)
				}
			}
		})
	}
}

func TestBlobOverABadLine(t *testing.T) {
	const size = 3 << 20
	for name, test := range map[string]struct {
		behavior registrytest.Behavior
		fault    registrytest.Fault
		times    int
	}{
		"cut":                       {fault: registrytest.Fault{CutAt: 700_000}},
		"reset":                     {fault: registrytest.Fault{ResetAt: 900_000}},
		"hang":                      {fault: registrytest.Fault{HangAt: 1_000_000}, times: 2},
		"redirect":                  {behavior: registrytest.Behavior{Redirect: true}},
		"redirect whose URL ends":   {behavior: registrytest.Behavior{Redirect: true, SignedUses: 1}, fault: registrytest.Fault{CutAt: 800_000}},
		"login":                     {behavior: registrytest.Behavior{Auth: registrytest.AuthBearer}, fault: registrytest.Fault{CutAt: 800_000}},
		"ranges ignored":            {behavior: registrytest.Behavior{IgnoreRange: true}, fault: registrytest.Fault{CutAt: 2_000_000}, times: 1},
		"storage is down at first":  {behavior: registrytest.Behavior{Redirect: true}, fault: registrytest.Fault{CutAt: 500_000}, times: 2},
		"errors while taking it up": {fault: registrytest.Fault{CutAt: 1_000_000}, times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, fake := newStack(t)
			layer := registrytest.RandomBlob(9, size)
			fake.PutBlob(alpine, layer)
			fake.Set(func(b *registrytest.Behavior) { *b = test.behavior })
			kind := registrytest.KindBlob
			if test.behavior.Redirect {
				kind = registrytest.KindStorage
			}
			rules := []registrytest.Rule{{Kind: kind, Method: http.MethodGet, Times: test.times, Fault: test.fault}}
			if name == "errors while taking it up" {
				rules = append(rules, registrytest.Rule{Kind: kind, Times: 2, Fault: registrytest.Status(503)})
			}
			fake.Fail(rules...)
			if name == "login" {
				a := w.blob(virtual.ModeGet, alpine, layer.Digest)
				fake.ExpireTokens()
				w.wantBlob(a, layer, registry.CacheMiss)
			} else {
				w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheMiss)
			}
			w.settled(alpine, layer.Digest)
			most := 1.02
			if test.fault.ResetAt > 0 || test.behavior.IgnoreRange { // a reset takes back what was on its way
				most = 100
			}
			if sent := float64(fake.Sent(layer.Digest)) / size; sent > most {
				t.Errorf("the upstream sent %.3f times the blob", sent)
			}
		})
	}
}

func TestBadBlobCompletesNowhere(t *testing.T) {
	const size = 1 << 20
	for name, fault := range map[string]registrytest.Fault{
		"wrong byte": {FlipAt: 1000}, "wrong last byte": {FlipAt: size}, "extra bytes": {Extra: 10}, "too long a length": {Length: 10},
		"too short a length": {Length: -10}, "wrong bytes without length": {NoLength: true, FlipAt: 700_000}, "extra without length": {NoLength: true, Extra: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, fake := newStack(t)
			layer := registrytest.RandomBlob(uint64(size+len(name)), size)
			fake.PutBlob(alpine, layer)
			fake.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Method: http.MethodGet, Fault: fault})
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					a := w.blob(virtual.ModeGet, alpine, layer.Digest)
					if a.Outcome != registry.Found {
						return
					}
					defer func() { _ = a.Blob.Body.Close() }()
					n, err := io.Copy(io.Discard, a.Blob.Body)
					if err == nil && (a.Blob.Length < 0 || n == a.Blob.Length) {
						t.Errorf("a client read %d bytes, of %d said, without an error", n, a.Blob.Length)
					}
				})
			}
			group.Wait()
			if a := w.blob(virtual.ModeProbe, alpine, layer.Digest); a.Outcome == registry.Found && a.Cache == registry.CacheHit {
				t.Error("it was kept")
			}
		})
	}
}

func TestWrongDigestHeader(t *testing.T) {
	w, fake := newStack(t)
	fake.Put(alpine, []string{"latest"}, registrytest.RandomImage(1, 1, 1000))
	fake.Set(func(b *registrytest.Behavior) { b.WrongDigestHeader = true })
	if a := w.ask(virtual.ModeGet, alpine, latest); a.Outcome != registry.Unknown {
		t.Errorf("%s %s", a.Outcome, a.Reason)
	}
	if p := w.peek(virtual.Query{Kind: virtual.KindManifest, Repository: alpine, Reference: latest}); p.State != virtual.Nothing {
		t.Errorf("kept: %+v", p)
	}
	w.pass(40 * time.Second) // the refusal is forgotten, the bytes are not
	for _, mode := range []virtual.Mode{virtual.ModeProbe, virtual.ModeHead, virtual.ModeGet} {
		if a := w.ask(mode, alpine, latest); a.Outcome != registry.Unknown {
			t.Errorf("mode %d: %s %s", mode, a.Outcome, a.Reason)
		}
	}
}

// TestChecksYieldToMisses: what little an upstream's rate limit has left is for images that are not here.
func TestChecksYieldToMisses(t *testing.T) {
	w, fake := newStack(t, func(o *cache.Options) { o.RevalidateWait = 5 * time.Second })
	held, missing := registrytest.RandomImage(1, 1, 1000), registrytest.RandomImage(2, 1, 1000)
	fake.Put(alpine, []string{"latest"}, held)
	fake.Put("library/busybox", []string{"latest"}, missing)
	fake.Set(func(b *registrytest.Behavior) { b.RateLimit, b.RateRemaining, b.RateWindow = 100, 11, 3600 })
	w.want(w.ask(virtual.ModeGet, alpine, latest), held.Manifest.Digest, registry.CacheMiss) // leaves the reserve of ten
	w.pass(2 * time.Hour)
	fake.Forget()
	for _, mode := range []virtual.Mode{virtual.ModeProbe, virtual.ModeGet} {
		a := w.ask(mode, alpine, latest)
		if w.want(a, held.Manifest.Digest, registry.CacheStale); !a.Limited {
			t.Errorf("not for the rate limit: %s", a.Reason)
		}
	}
	if n := fake.Count("", registrytest.KindManifest); n != 0 {
		t.Errorf("%d requests for what is held", n)
	}
	demanded := virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: alpine, Reference: latest, Refresh: true}
	w.want(w.Ask(t.Context(), demanded), held.Manifest.Digest, registry.CacheRevalidated)
	w.want(w.ask(virtual.ModeGet, "library/busybox", latest), missing.Manifest.Digest, registry.CacheMiss)
}

// TestUpstreamTimeIsCounted: the wait for an upstream is told apart from the rest of a request's time, whatever was asked for,
// and a hit has none.
func TestUpstreamTimeIsCounted(t *testing.T) {
	w, fake := newStack(t)
	image := registrytest.RandomImage(1, 1, 1000)
	fake.Put(alpine, []string{"latest"}, image)
	spent := func(q virtual.Query) time.Duration {
		t.Helper()
		trace := &registry.Trace{}
		q.Repository = alpine
		a := w.Ask(registry.WithTrace(t.Context(), trace), q)
		if a.Outcome != registry.Found {
			t.Fatalf("%s: %s", a.Outcome, a.Reason)
		}
		if a.Blob != nil {
			if _, err := io.Copy(io.Discard, a.Blob.Body); err != nil {
				t.Error(err)
			}
			_ = a.Blob.Body.Close()
		}
		return trace.Values().UpstreamTime
	}
	for name, q := range map[string]virtual.Query{
		"manifest":  {Kind: virtual.KindManifest, Mode: virtual.ModeGet, Reference: latest},
		"blob":      {Kind: virtual.KindBlob, Mode: virtual.ModeGet, Reference: oci.ByDigest(image.Layers()[0].Digest)},
		"tags":      {Kind: virtual.KindTags, Mode: virtual.ModeGet},
		"referrers": {Kind: virtual.KindReferrers, Mode: virtual.ModeGet, Reference: oci.ByDigest(image.Manifest.Digest)},
	} {
		if took := spent(q); took <= 0 {
			t.Errorf("%s, cold: %v", name, took)
		}
		if q.Kind == virtual.KindBlob {
			w.settled(alpine, q.Reference.Digest)
		}
		if took := spent(q); took != 0 {
			t.Errorf("%s, held: %v", name, took)
		}
	}
}

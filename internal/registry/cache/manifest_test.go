package cache_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

const alpine = "library/alpine"

var latest = oci.ByTag("latest")

var (
	errDown   = &registry.OutcomeError{Outcome: registry.Unknown, Reason: "connection refused"}
	errDenied = &registry.OutcomeError{Outcome: registry.Denied, Status: 403, Reason: "denied"}
)

func TestFreshTagAsksNobody(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest")
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheMiss)
	w.wantCalls("GET manifest", 1)
	w.wantCalls("HEAD manifest", 0)
	w.pass(59 * time.Minute)
	w.remote.set(errDown)
	for _, mode := range []virtual.Mode{virtual.ModeGet, virtual.ModeHead, virtual.ModeProbe} {
		a := w.ask(mode, alpine, latest)
		w.want(a, image.Manifest.Digest, registry.CacheHit)
		if a.Age != 59*time.Minute {
			t.Errorf("age %v", a.Age)
		}
	}
	w.want(w.ask(virtual.ModeGet, alpine, oci.ByDigest(image.Manifest.Digest)), image.Manifest.Digest, registry.CacheHit)
	w.wantQuiet()
}

func TestStaleTagIsConfirmed(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	w.remote.total()
	w.pass(2 * time.Hour)
	w.want(w.ask(virtual.ModeProbe, alpine, latest), image.Manifest.Digest, registry.CacheRevalidated)
	w.wantCalls("HEAD manifest", 1)
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheRevalidated)
	w.wantCalls("HEAD manifest", 1)
	w.wantCalls("GET manifest", 0)
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheHit)
	w.wantQuiet()
}

// TestConfirmedInTheFuture: what a clock confirmed that stood ahead is asked again when the clock is right, once, instead of being
// fresh until that time comes.
func TestConfirmedInTheFuture(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest", "forever")
	w.pass(10 * 365 * 24 * time.Hour)
	w.ask(virtual.ModeGet, alpine, latest)
	w.ask(virtual.ModeGet, alpine, oci.ByTag("forever"))
	w.pass(-10 * 365 * 24 * time.Hour)
	w.remote.total()
	q := virtual.Query{Kind: virtual.KindManifest, Repository: alpine, Reference: latest}
	if p := w.peek(q); p.State != virtual.Stale || p.Age != 0 {
		t.Errorf("held: %+v", p)
	}
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheRevalidated)
	w.wantCalls("HEAD manifest", 1)
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheHit)
	w.want(w.ask(virtual.ModeGet, alpine, oci.ByTag("forever")), image.Manifest.Digest, registry.CacheHit)
	w.wantQuiet()
	w.pass(-30 * time.Second) // replicas may differ by that much
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheHit)
}

func TestStaleTagMoves(t *testing.T) {
	w := newWorld(t)
	old := w.push(alpine, 1, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	next := w.push(alpine, 2, "latest")
	w.want(w.ask(virtual.ModeGet, alpine, latest), old.Manifest.Digest, registry.CacheHit)
	w.pass(2 * time.Hour)
	w.remote.total()
	w.want(w.ask(virtual.ModeGet, alpine, latest), next.Manifest.Digest, registry.CacheMiss)
	w.wantCalls("HEAD manifest", 1)
	w.wantCalls("GET manifest", 1)
	w.want(w.ask(virtual.ModeHead, alpine, latest), next.Manifest.Digest, registry.CacheHit)
	w.want(w.ask(virtual.ModeGet, alpine, oci.ByDigest(old.Manifest.Digest)), old.Manifest.Digest, registry.CacheHit)

	// Back to what is here already: nothing to fetch.
	registrytest.Push(t, w.remote.Memory, alpine, []string{"latest"}, old)
	w.pass(2 * time.Hour)
	w.remote.total()
	w.want(w.ask(virtual.ModeGet, alpine, latest), old.Manifest.Digest, registry.CacheMiss)
	w.wantCalls("GET manifest", 0)
}

func TestStaleIsServedWhateverTheTrouble(t *testing.T) {
	for name, trouble := range map[string]error{
		"down": errDown, "denied": errDenied, "plain": errors.New("broken"),
		"limited":  &registry.OutcomeError{Outcome: registry.Unknown, Status: 429, Reason: "429 Too Many Requests", Limited: true, RetryAfter: time.Minute},
		"absent":   oci.NewError(oci.CodeManifestUnknown, "gone"),
		"no login": oci.NewError(oci.CodeUnauthorized, "log in"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			image := w.push(alpine, 1, "latest")
			w.ask(virtual.ModeGet, alpine, latest)
			w.pass(2 * time.Hour)
			w.remote.set(trouble)
			w.remote.total()
			a := w.ask(virtual.ModeGet, alpine, latest)
			w.want(a, image.Manifest.Digest, registry.CacheStale)
			if a.Age != 2*time.Hour || a.Reason == "" {
				t.Errorf("age %v, reason %q", a.Age, a.Reason)
			}
			w.wantCalls("HEAD manifest", 1)
			for _, mode := range []virtual.Mode{virtual.ModeGet, virtual.ModeHead, virtual.ModeProbe} {
				w.want(w.ask(mode, alpine, latest), image.Manifest.Digest, registry.CacheStale)
			}
			w.wantQuiet() // a failed check rests
			w.remote.set(nil)
			w.pass(2 * time.Minute)
			w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheRevalidated)
		})
	}
}

// TestChecksGoOnWhenTheUpstreamIsBack: whatever tells that it is ends the rest of all others. One that has trouble with a single
// repository is asked for that once a second at most.
func TestChecksGoOnWhenTheUpstreamIsBack(t *testing.T) {
	w := newWorld(t)
	image, other := w.push(alpine, 1, "latest"), w.push("library/debian", 2, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	w.pass(2 * time.Hour)
	w.remote.set(errDown)
	for range 40 { // the rest grows to half a minute
		w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheStale)
		w.pass(time.Second)
	}
	w.remote.set(nil)
	w.remote.total()
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheStale)
	w.wantQuiet()
	w.want(w.ask(virtual.ModeGet, "library/debian", latest), other.Manifest.Digest, registry.CacheMiss)
	w.remote.total()
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheRevalidated)
	w.wantCalls("HEAD manifest", 1)

	w.pass(2 * time.Hour)
	asked := 0
	for i := range 20 { // every other question is answered
		w.remote.set(errDown)
		w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheStale)
		asked += w.remote.count("HEAD manifest")
		w.remote.set(nil)
		w.ask(virtual.ModeHead, fmt.Sprintf("library/app%d", i), latest)
		w.remote.total()
		w.pass(100 * time.Millisecond)
	}
	if asked != 2 {
		t.Errorf("asked %d times in two seconds", asked)
	}
}

func TestFailedChecksRestLongerAndLonger(t *testing.T) {
	w := newWorld(t)
	w.push(alpine, 1, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	w.pass(2 * time.Hour)
	w.remote.set(errDown)
	w.remote.total()
	asked := 0
	for range 600 { // ten minutes
		w.ask(virtual.ModeGet, alpine, latest)
		asked += w.remote.count("HEAD manifest")
		w.pass(time.Second)
	}
	if asked < 20 || asked > 30 {
		t.Errorf("checked %d times in ten minutes", asked)
	}
}

func TestDeletedUpstream(t *testing.T) {
	w := newWorld(t, func(o *cache.Options) { o.RefuseDeleted = true })
	image := w.push(alpine, 1, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	w.pass(2 * time.Hour)
	if err := w.remote.DeleteManifest(t.Context(), alpine, oci.ByDigest(image.Manifest.Digest)); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []virtual.Mode{virtual.ModeProbe, virtual.ModeGet, virtual.ModeHead, virtual.ModeGet} {
		if a := w.ask(mode, alpine, latest); a.Outcome != registry.Absent {
			t.Errorf("mode %d: %s %s", mode, a.Outcome, a.Cache)
		}
	}
	if p := w.peek(virtual.Query{Kind: virtual.KindManifest, Repository: alpine, Reference: latest}); p.State != virtual.FreshAbsent || p.Answer != registry.Absent {
		t.Errorf("peek %+v", p)
	}
}

func TestSlowUpstreamIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, func(o *cache.Options) { o.RevalidateWait = 30 * time.Millisecond })
	old := w.push(alpine, 1, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	next := w.push(alpine, 2, "latest")
	w.pass(2 * time.Hour)
	w.remote.total()
	release := w.remote.hang()
	defer release()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { w.want(w.ask(virtual.ModeGet, alpine, latest), old.Manifest.Digest, registry.CacheStale) })
	}
	group.Wait()
	began := time.Now()
	for range 100 { // the check is still going on: nobody waits for it twice
		w.want(w.ask(virtual.ModeGet, alpine, latest), old.Manifest.Digest, registry.CacheStale)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("100 stale answers took %v", took)
	}
	w.wantCalls("HEAD manifest", 1)
	release()
	deadline := time.Now().Add(time.Minute)
	for {
		p := w.peek(virtual.Query{Kind: virtual.KindManifest, Repository: alpine, Reference: latest})
		if p.State == virtual.Fresh && p.Digest == next.Manifest.Digest {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the check in the background changed nothing: %+v", p)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestOneClientLearnsThatAnUpstreamHangs says that the others do not wait for it again: not for another tag, nor for the next check.
func TestOneClientLearnsThatAnUpstreamHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *cache.Options) { o.RevalidateWait = 400 * time.Millisecond })
		image := w.push(alpine, 1, "latest", "other")
		w.ask(virtual.ModeGet, alpine, latest)
		w.ask(virtual.ModeGet, alpine, oci.ByTag("other"))
		w.pass(2 * time.Hour)
		waited := func(tag string) time.Duration {
			began := time.Now()
			w.want(w.ask(virtual.ModeGet, alpine, oci.ByTag(tag)), image.Manifest.Digest, registry.CacheStale)
			return time.Since(began)
		}
		release := w.remote.hang()
		first, second := waited("latest"), waited("other")
		if first != 400*time.Millisecond || second >= 20*time.Millisecond {
			t.Errorf("the first client waited %v, that of another tag %v", first, second)
		}
		release()
		synctest.Wait()
		w.pass(time.Minute)
		w.ask(virtual.ModeGet, alpine, latest) // answered in time: it is waited for again
		w.pass(2 * time.Hour)
		defer w.remote.hang()()
		if again := waited("latest"); again != 400*time.Millisecond {
			t.Errorf("waited %v for an upstream that had answered in time", again)
		}
	})
}

func TestClasses(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "always", "forever", "other")
	for _, tag := range []string{"always", "forever", "other"} {
		w.want(w.ask(virtual.ModeGet, alpine, oci.ByTag(tag)), image.Manifest.Digest, registry.CacheMiss)
	}
	w.want(w.ask(virtual.ModeGet, alpine, oci.ByTag("always")), image.Manifest.Digest, registry.CacheRevalidated)
	w.pass(10_000 * time.Hour)
	w.want(w.ask(virtual.ModeGet, alpine, oci.ByTag("forever")), image.Manifest.Digest, registry.CacheHit)
	for tag, want := range map[string]virtual.Peek{
		"always":  {State: virtual.Stale},
		"forever": {State: virtual.Fresh, FreshFor: -1},
		"other":   {State: virtual.Stale},
		"never":   {State: virtual.Nothing},
	} {
		got := w.peek(virtual.Query{Kind: virtual.KindManifest, Repository: alpine, Reference: oci.ByTag(tag)})
		if got.State != want.State || got.State == virtual.Fresh && got.FreshFor != want.FreshFor {
			t.Errorf("%s: %+v", tag, got)
		}
	}
}

func TestRefreshAsksAlthoughFresh(t *testing.T) {
	w := newWorld(t)
	w.push(alpine, 1, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	next := w.push(alpine, 2, "latest")
	a := w.Ask(t.Context(), virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: alpine, Reference: latest, Refresh: true})
	w.want(a, next.Manifest.Digest, registry.CacheMiss)
}

func TestColdHeadIsAHead(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest")
	digest := image.Manifest.Digest
	w.want(w.ask(virtual.ModeProbe, alpine, latest), digest, registry.CachePass)
	if got := w.admissions(alpine, digest); len(got) != 0 {
		t.Errorf("a probe admitted %v", got)
	}
	w.want(w.ask(virtual.ModeHead, alpine, latest), digest, registry.CachePass)
	w.wantCalls("GET manifest", 0)
	if got := w.admissions(alpine, digest); len(got) != 1 || !got["latest"] {
		t.Errorf("a HEAD by tag admitted %v", got)
	}
	w.want(w.ask(virtual.ModeGet, alpine, oci.ByDigest(digest)), digest, registry.CacheMiss)
	if got := w.admissions(alpine, digest); len(got) != 1 || !got["latest"] {
		t.Errorf("after the GET by digest: %v", got)
	}
	layer := image.Layers()[0].Digest
	if got := w.admissions(alpine, layer); len(got) != 1 || !got["latest"] {
		t.Errorf("the layer inherits %v", got)
	}
	if p := w.peek(virtual.Query{Kind: virtual.KindBlob, Repository: alpine, Reference: oci.ByDigest(layer)}); p.State != virtual.Referenced {
		t.Errorf("peek at the layer: %+v", p)
	}
}

func TestDigestFirst(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest")
	digest := image.Manifest.Digest
	w.want(w.ask(virtual.ModeGet, alpine, oci.ByDigest(digest)), digest, registry.CacheMiss)
	if got := w.admissions(alpine, digest); len(got) != 1 || !got[""] {
		t.Errorf("admitted %v", got)
	}
}

func TestRefusalsAreRemembered(t *testing.T) {
	for _, trouble := range []error{nil, errDenied} {
		w := newWorld(t)
		w.push("other", 1, "latest")
		w.remote.set(trouble)
		want := registry.Absent
		if trouble != nil {
			want = registry.Denied
		}
		for i, mode := range []virtual.Mode{virtual.ModeHead, virtual.ModeGet, virtual.ModeProbe} {
			a := w.ask(mode, alpine, latest)
			if a.Outcome != want {
				t.Errorf("%s", a.Outcome)
			}
			if n := w.remote.total(); (n > 0) != (i == 0) {
				t.Errorf("question %d: the upstream was asked %d times", i, n)
			}
		}
		p := w.peek(virtual.Query{Kind: virtual.KindManifest, Repository: alpine, Reference: latest})
		if p.State != virtual.FreshAbsent || p.Answer != want {
			t.Errorf("peek %+v", p)
		}
		w.remote.set(nil)
		image := w.push(alpine, 2, "latest")
		next := w.build(func(o *cache.Options) { o.Generation = 2 })
		a := next.Ask(t.Context(), virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeHead, Repository: alpine, Reference: latest})
		w.want(a, image.Manifest.Digest, registry.CachePass)
		w.pass(31 * time.Second)
		w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheMiss)
	}
}

func TestUnknownIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest")
	w.remote.set(errDown)
	if a := w.ask(virtual.ModeGet, alpine, latest); a.Outcome != registry.Unknown || a.Reason != errDown.Reason {
		t.Errorf("%+v", a)
	}
	w.remote.set(nil)
	w.want(w.ask(virtual.ModeGet, alpine, latest), image.Manifest.Digest, registry.CacheMiss)
}

func TestColdManifestIsFetchedOnce(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest")
	release := w.remote.hang()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if a := w.ask(virtual.ModeGet, alpine, latest); a.Outcome != registry.Found || a.Descriptor.Digest != image.Manifest.Digest {
				t.Errorf("%+v", a)
			}
		})
	}
	release()
	group.Wait()
	w.wantCalls("GET manifest", 1)
	w.wantCalls("HEAD manifest", 0)
}

func TestAnotherEpochStartsCold(t *testing.T) {
	w := newWorld(t)
	w.push(alpine, 1, "latest")
	w.ask(virtual.ModeGet, alpine, latest)
	w.remote.set(errDown)
	next := w.build(func(o *cache.Options) { o.Epoch = 2 })
	a := next.Ask(t.Context(), virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: alpine, Reference: latest})
	if a.Outcome != registry.Unknown {
		t.Errorf("an entry of another epoch was served: %+v", a)
	}
}

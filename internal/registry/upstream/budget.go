package upstream

import (
	"net/http"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

// Budget is what an upstream said about its rate limit.
type Budget struct {
	Limit     int           // requests per Window; -1 if it never said
	Remaining int           // of Limit; -1 if it never said
	Window    time.Duration // 0 if it never said
	Until     time.Time     // no counted requests before; zero if they may go out
}

// exhaustedProbe is how often at least an upstream whose budget is used up is asked for a manifest all the same, to learn
// what is left: windows slide, and nothing says when the next request is free.
const exhaustedProbe = time.Minute

// limitPause is how long a 429 without Retry-After is respected.
const limitPause = 500 * time.Millisecond

// budget follows the rate limit of one credential at one upstream. What registries count are manifests, and that is what it
// holds back when they ask for it; blobs are held back only when a request for a blob was refused.
type budget struct {
	now      func() time.Time
	freeStat bool // HEAD is not counted (Docker Hub)

	mu        sync.Mutex
	limit     int // -1 = unknown
	remaining int // -1 = unknown
	window    time.Duration
	counted   time.Time // no manifests, tags or referrers before
	all       time.Time // nothing at all before
	probed    time.Time // when an exhausted budget was last tried
}

func newBudget(now func() time.Time, freeStat bool) *budget {
	return &budget{now: now, freeStat: freeStat, limit: -1, remaining: -1}
}

// admit refuses a request that the upstream would refuse, or that, as a revalidation, should leave the rest to others.
func (b *budget) admit(q question, revalidation bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	until := b.all
	if q.counted() && b.counted.After(until) {
		until = b.counted
	}
	if until.After(now) {
		return limited("the upstream's rate limit is used up", until.Sub(now))
	}
	if q.kind != KindManifest || b.remaining < 0 || (b.freeStat && q.method == http.MethodHead) {
		return nil
	}
	if b.remaining == 0 {
		if wait := b.probed.Add(b.pause()).Sub(now); wait > 0 {
			return limited("the upstream's rate limit is used up", wait)
		}
		b.probed = now
		return nil
	}
	if revalidation && b.remaining <= b.reserve() {
		return limited("the rest of the upstream's rate limit is kept for images that are not cached", b.pause())
	}
	return nil
}

// reserve is what revalidation leaves untouched.
func (b *budget) reserve() int { return max(1, b.limit/10) }

// pause is how long an exhausted budget is left alone.
func (b *budget) pause() time.Duration {
	if b.window > 0 {
		return min(b.window, exhaustedProbe)
	}
	return exhaustedProbe
}

// learn reads the headers of an answer.
func (b *budget) learn(q question, resp *http.Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if n, window, ok := parseRate(resp.Header.Get("Ratelimit-Remaining")); ok {
		if b.remaining = n; n == 0 {
			b.probed = now
		}
		b.window = window
		if limit, w, ok := parseRate(resp.Header.Get("Ratelimit-Limit")); ok {
			b.limit, b.window = limit, max(w, window)
		}
	}
	if resp.StatusCode != http.StatusTooManyRequests {
		return
	}
	pause := parseRetryAfter(resp.Header, now)
	if pause == 0 {
		pause = limitPause
	}
	if q.counted() {
		b.counted = now.Add(pause)
	} else {
		b.all = now.Add(pause)
	}
}

// state is a copy for people and metrics.
func (b *budget) state() Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Budget{Limit: b.limit, Remaining: b.remaining, Window: b.window, Until: b.all}
	if b.counted.After(s.Until) {
		s.Until = b.counted
	}
	if free := b.probed.Add(b.pause()); b.remaining == 0 && free.After(s.Until) {
		s.Until = free
	}
	if !s.Until.After(b.now()) {
		s.Until = time.Time{}
	}
	return s
}

func limited(reason string, wait time.Duration) error {
	return &registry.OutcomeError{Outcome: registry.Unknown, Reason: reason, Limited: true, RetryAfter: wait}
}

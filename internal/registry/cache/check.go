package cache

import (
	"context"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// flightKey names a question to an upstream.
type flightKey struct {
	upstream, epoch int64
	repository      string
	what            string // kind and reference
}

// flights asks each question once at a time: whoever asks meanwhile shares the answer. The zero value is ready.
type flights[V any] struct {
	mu   sync.Mutex
	open map[flightKey]*flight[V]
}

// flight is a question under way.
type flight[V any] struct {
	done   chan struct{}
	began  time.Time
	result V
}

// start returns the flight for key, begun now unless one is open. f runs in a goroutine of the engine, so that the one who
// asked may leave.
func (fs *flights[V]) start(ctx context.Context, e *Fills, key flightKey, f func(context.Context) V) *flight[V] {
	fs.mu.Lock()
	if fl, ok := fs.open[key]; ok {
		fs.mu.Unlock()
		return fl
	}
	fl := &flight[V]{done: make(chan struct{}), began: time.Now()}
	if fs.open == nil {
		fs.open = map[flightKey]*flight[V]{}
	}
	fs.open[key] = fl
	fs.mu.Unlock()
	carry := func(ctx context.Context) {
		fl.result = f(ctx)
		fs.mu.Lock()
		delete(fs.open, key)
		fs.mu.Unlock()
		close(fl.done)
	}
	if !e.spawn(ctx, carry) {
		carry(ctx) // closing: the request itself is the owner
	}
	return fl
}

// wait returns the result; false when ctx ended first, or when the flight, whoever began it, has taken longer than patience
// (0 = as long as it takes). The time counts as spent on upstreams.
func (fl *flight[V]) wait(ctx context.Context, patience time.Duration) (V, bool) {
	began := time.Now()
	defer timed(registry.TraceFrom(ctx))()
	var tooLong <-chan time.Time
	if patience > 0 {
		timer := time.NewTimer(patience - began.Sub(fl.began))
		defer timer.Stop()
		tooLong = timer.C
	}
	select {
	case <-fl.done:
		return fl.result, true
	case <-tooLong:
	case <-ctx.Done():
	}
	var none V
	return none, false
}

// checking marks the context of a check of something held, which can be served without it: the upstream's rate budget is for
// misses first. Nobody but the one who demands it now (weir refresh) depends on the answer.
func checking(ctx context.Context, q virtual.Query) context.Context {
	if q.Refresh {
		return ctx
	}
	return registry.WithRevalidation(ctx)
}

// failure remembers a check that gave nothing, so that the next requests do not wait for the same again.
type failure struct {
	count  int
	at     time.Time
	until  time.Time // no check before
	answer *registry.OutcomeError
}

const (
	backoffMin  = time.Second
	backoffMax  = 30 * time.Second
	backoffKeep = time.Minute // how long the count is remembered after until
)

// failed notes a check without a result; its pauses grow from a second to half a minute.
func (e *Fills) failedCheck(key flightKey, answer *registry.OutcomeError) {
	now := e.options.Now()
	last, _ := e.failures.get(key, now)
	pause := min(backoffMin<<min(last.count, 5), backoffMax)
	pause = max(pause, min(answer.RetryAfter, 5*time.Minute))
	f := failure{count: last.count + 1, at: now, until: now.Add(pause), answer: answer}
	e.failures.put(key, f, now, f.until.Add(backoffKeep))
}

// resting reports a check that failed a moment ago. An upstream that gave no answer and has answered something else since is asked
// again, but not twice within a second: it may have trouble with this alone.
func (r *Registry) resting(key flightKey) (*registry.OutcomeError, bool) {
	now := r.Now()
	f, ok := r.Fills.failures.get(key, now)
	if !ok || !now.Before(f.until) {
		return nil, false
	}
	heard, _ := r.Fills.heard.get(r.flight("", ""), now)
	back := f.answer.Outcome == registry.Unknown && !f.answer.Limited && heard.After(f.at) && now.Sub(f.at) >= backoffMin
	why := *f.answer
	if why.At.IsZero() {
		why.At = f.at
	}
	why.RetryAfter = f.until.Sub(now)
	return &why, !back
}

// hear notes that the upstream has answered, if it has: with yes or no.
func (r *Registry) hear(err error) {
	if o := registry.AsOutcome(err); o == nil || o.Outcome != registry.Unknown {
		now := r.Now()
		r.Fills.heard.put(r.flight("", ""), now, now, now.Add(2*backoffMax))
	}
}

// An upstream that hangs must not cost the first client of each tag, and each further check, the whole wait: after one client has
// waited in vain the others only glance at it, until it has answered a check in time.
const (
	slowFor = time.Minute // then somebody waits again
	glance  = 5 * time.Millisecond
)

// slow notes that a client has waited for this upstream in vain, unless it was the client that left.
func (r *Registry) slow(ctx context.Context) {
	if now := r.Now(); ctx.Err() == nil {
		r.Fills.slow.put(r.flight("", ""), struct{}{}, now, now.Add(slowFor))
	}
}

func (r *Registry) quick() { r.Fills.slow.drop(r.flight("", "")) }

// checkWait is how long a client waits for a check of what it could have at once.
func (r *Registry) checkWait() time.Duration {
	if _, slow := r.Fills.slow.get(r.flight("", ""), r.Now()); slow {
		return min(glance, r.RevalidateWait)
	}
	return r.RevalidateWait
}

// unanswered logs a question to the upstream that got no authoritative answer, with the reason: what is held is served all the
// same, and a lower member may answer, so that nothing else would tell.
func (r *Registry) unanswered(kind virtual.Kind, repository, reference string, o *registry.OutcomeError) {
	if o != nil && o.Outcome == registry.Unknown {
		r.Log.Info("the upstream gave no answer", "kind", kind.String(), "repository", repository, "reference", reference,
			"status", o.Status, "reason", o.Reason, "limited", o.Limited)
	}
}

// refusalKey names an answer that is remembered. The generation makes every change of configuration forget it.
type refusalKey struct {
	flightKey
	generation int64
}

// refusal is an upstream's "absent" or "denied".
type refusal struct {
	outcome registry.Outcome
	status  int
	reason  string
}

// timed counts the time until the returned function is called as spent waiting for upstreams: for an answer's beginning,
// and for each part of a body that a client could have had sooner.
func timed(t *registry.Trace) (stop func()) {
	began := time.Now()
	return func() {
		t.Update(func(v *registry.TraceValues) { v.UpstreamTime += time.Since(began) })
	}
}

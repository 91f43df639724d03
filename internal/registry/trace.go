package registry

import (
	"context"
	"sync"
	"time"
)

// Caller is who asks, for events, guards and loop detection. It is set once per request by the HTTP layer.
type Caller struct {
	PrincipalID int64  // 0 = anonymous
	Principal   string // name, for logs
	Accepted    bool   // credentials were shown and are good: a login, or an anonymous token
	Address     string // of the client
	RequestID   string
	Via         string // the request's Via header, for requests that answering it takes: so a loop of any length is seen
}

// CacheStatus says how a cache answered.
type CacheStatus string

// Values of CacheStatus, also as metric labels.
const (
	CacheHit         CacheStatus = "hit"         // from the store, fresh
	CacheStale       CacheStatus = "stale"       // from the store although the upstream could not confirm it
	CacheRevalidated CacheStatus = "revalidated" // from the store after the upstream confirmed it
	CacheMiss        CacheStatus = "miss"        // from the upstream through a fill
	CacheJoined      CacheStatus = "joined"      // from a fill that another client had started
	CachePass        CacheStatus = "pass"        // from the upstream, not kept: too large, no room, or a HEAD, which brings nothing to keep
)

// Trace gathers what happened to one request, for its response headers and its access line. Methods work on a nil Trace
// and are safe for concurrent use.
type Trace struct {
	mu sync.Mutex
	v  TraceValues
}

// TraceValues is a Trace's content.
type TraceValues struct {
	Group        string
	Registry     string // virtual registry, empty for a hosted repository
	Repository   string // local name
	Member       string // upstream that answered
	Cache        CacheStatus
	Age          time.Duration // since the upstream last confirmed the content
	Reason       string        // why it is stale
	UpstreamTime time.Duration // spent waiting for upstreams
	DecisionID   string
	Decision     any // virtual.Decision, kept for misses, stale serves, denials and errors
}

type traceKey struct{}
type callerKey struct{}
type revalidationKey struct{}

// WithTrace returns a context that carries t.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// Value makes t a part of a context whose Value method asks it: it returns t if key is what TraceFrom asks for, else nil.
func (t *Trace) Value(key any) any {
	if _, ok := key.(traceKey); ok {
		return t
	}
	return nil
}

// TraceFrom returns the request's trace, or nil, on which every method is a no-op.
func TraceFrom(ctx context.Context) *Trace {
	t, _ := ctx.Value(traceKey{}).(*Trace)
	return t
}

// Update changes the values under the trace's lock.
func (t *Trace) Update(f func(*TraceValues)) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.v)
}

// Values returns a copy.
func (t *Trace) Values() TraceValues {
	if t == nil {
		return TraceValues{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.v
}

// WithCaller returns a context that carries the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return &callerContext{ctx, c}
}

// callerContext holds the value itself, which context.WithValue would put into an allocation of its own.
type callerContext struct {
	context.Context
	caller Caller
}

// Value implements context.Context.
func (c *callerContext) Value(key any) any {
	if _, ok := key.(callerKey); ok {
		return &c.caller
	}
	return c.Context.Value(key)
}

// CallerFrom returns the caller; the zero Caller is anonymous.
func CallerFrom(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return *c
	}
	return Caller{}
}

// WithRevalidation marks requests to upstreams that nobody depends on, because what they check is in the store: they yield
// where an upstream's rate limit is short or its circuit breaker open.
func WithRevalidation(ctx context.Context) context.Context {
	return context.WithValue(ctx, revalidationKey{}, true)
}

// IsRevalidation reports whether ctx is marked by WithRevalidation.
func IsRevalidation(ctx context.Context) bool {
	marked, _ := ctx.Value(revalidationKey{}).(bool)
	return marked
}

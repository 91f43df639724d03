// Package audit is the trail of who did what: it gathers finished requests into batches, seals and verifies what was written, reads
// it for people, hands it to other systems and drops it when it is old. Events of changes are written by whoever makes the change, in
// the same transaction (meta.Tx.Event); everything else about them is here.
//
// A Trail's Record costs a hit a few hundred nanoseconds and no memory of its own: it packs the request and never waits for the
// database. One flusher writes a batch each second or for each 4,096 requests. When the database is slower than that, misses and
// refusals wait for a while, and hits are counted by repository and account instead of being kept one by one: nothing goes unseen.
// All methods are safe for concurrent use.
package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	flushEvery = time.Second
	batchSize  = 4096
	maxHeld    = 4 * batchSize    // requests in memory that are not written, and as many while they are
	maxCounts  = 1 << 14          // repositories and accounts that each part tells apart while it counts
	finalFlush = 10 * time.Second // at a shutdown
	writeLimit = 10 * time.Second // of one batch
	maxWait    = 2 * time.Second  // of a request that is no hit
	maxBytes   = 16 << 20         // of requests in memory, and as many while they are written: decisions make some of them large
	batchBytes = 4 << 20          // of a batch, about
	largePage  = 128 << 10        // a page's memory above it goes back when it is hardly used
	cacheLine  = 64
)

// Telemetry writes batches; *meta.DB is one.
type Telemetry interface {
	WriteTelemetry(ctx context.Context, fn func(ctx context.Context, q *query.Queries) error) error
	ID() int64
	Replica() int
}

// Metrics counts what becomes of requests. Calls must not block.
type Metrics interface {
	// Flushed is n requests that were written, the oldest of them lag ago.
	Flushed(n int, lag time.Duration)
	// Counted is n hits, or others that have waited in vain, that are counted only.
	Counted(n int64)
	// Held is how many requests are in memory.
	Held(n int)
}

type noMetrics struct{}

func (noMetrics) Flushed(int, time.Duration) {}
func (noMetrics) Counted(int64)              {}
func (noMetrics) Held(int)                   {}

// Options configure a Trail. DB and Group are needed.
type Options struct {
	DB      Telemetry
	Group   func(name string) int64 // id of a group, 0 when there is none; asked by the flusher
	Log     *slog.Logger
	Metrics Metrics
	HandOn  bool             // what is written is for a sink, too
	Room    int              // requests in memory; default 16,384
	Wait    time.Duration    // bound of a wait; default 2 s
	Now     func() time.Time // default time.Now
}

// Trail gathers requests. Run it, or nothing is written.
type Trail struct {
	o     Options
	parts []part
	room  int           // of a part
	full  int           // requests of a page
	wake  chan struct{} // told that a batch is full
	freed atomic.Pointer[chan struct{}]

	// The flusher's own.
	pending   []batch // taken and not written
	addresses addressBook
}

// part is gathered apart from the others, so that requests on several cores do not wait for each other.
type part struct {
	mu     sync.Mutex
	n      int        // requests that are held
	bytes  int        // of full pages
	pages  [2]*page   // by class, being filled; nil = none yet
	full   [2][]*page // by class
	spare  []*page    // empty ones
	counts map[counted]int64
	since  int64 // of counts: when the first and the last were counted
	until  int64
	_      [cacheLine]byte
}

// classes of requests, each in batches of its own because each is kept for its own time.
var classes = [2]string{Pulls, Access}

func classOf(kind string) int {
	switch kind {
	case event.PullDenied, event.PushDenied, event.APIDenied, event.LoginAccepted, event.LoginRefused, event.LoginLimited, event.RequestLimited:
		return 1
	}
	return 0
}

type counted struct {
	path      string
	kind      string
	principal int64
}

// New returns a Trail.
func New(o Options) *Trail {
	o.Room, o.Wait = cmp.Or(o.Room, maxHeld), cmp.Or(o.Wait, maxWait)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := 1
	for n < runtime.GOMAXPROCS(0) && n < 16 {
		n *= 2
	}
	t := &Trail{o: o, parts: make([]part, n), room: max(1, o.Room/n), full: batchSize / n, wake: make(chan struct{}, 1)}
	freed := make(chan struct{})
	t.freed.Store(&freed)
	return t
}

// Record takes a finished request into the trail. A hit never waits; ctx bounds the wait of others, beside Options.Wait.
func (t *Trail) Record(ctx context.Context, request event.Request) {
	r := record{Request: request}
	if !r.Hit() {
		r.decide()
	}
	p := &t.parts[rand.Uint32()&uint32(len(t.parts)-1)] //nolint:gosec // any part will do
	if t.take(p, &r) {
		return
	}
	if !r.Hit() && t.waited(ctx, p, &r) {
		return
	}
	p.count(&r.Request)
	t.o.Metrics.Counted(1)
}

// decide makes JSON of the decision that a request is kept with.
func (r *record) decide() {
	if r.Decision == nil {
		return
	}
	text, err := json.Marshal(r.Decision)
	if err != nil { // the rest of the request must not be lost for it
		text, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	r.json = text
}

// take packs a request if there is room.
func (t *Trail) take(p *part, r *record) bool {
	class := classOf(r.Kind)
	p.mu.Lock()
	if p.n >= t.room || p.bytes >= maxBytes/len(t.parts) {
		p.mu.Unlock()
		return false
	}
	p.n++
	page := p.page(class)
	page.add(r)
	full := page.n >= t.full || len(page.buf) >= largePage
	if full {
		p.full[class], p.pages[class], p.bytes = append(p.full[class], page), nil, p.bytes+len(page.buf)
	}
	p.mu.Unlock()
	if full {
		t.hurry()
	}
	return true
}

// page is the one that is being filled. The caller holds mu.
func (p *part) page(class int) *page {
	if p.pages[class] == nil {
		if n := len(p.spare); n > 0 {
			p.pages[class], p.spare = p.spare[n-1], p.spare[:n-1]
		} else {
			p.pages[class] = &page{}
		}
	}
	return p.pages[class]
}

func (t *Trail) hurry() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// waited takes a request as soon as there is room; false when there was none in time.
func (t *Trail) waited(ctx context.Context, p *part, r *record) bool {
	limit := time.NewTimer(t.o.Wait)
	defer limit.Stop()
	for {
		freed := *t.freed.Load()
		if t.take(p, r) {
			return true
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		case <-limit.C:
			return false
		}
	}
}

// count remembers that there was such a request, and no more. When there are too many kinds of them, the rest is one.
func (p *part) count(r *event.Request) {
	key := counted{path: r.Path, kind: r.Kind, principal: r.Actor.ID}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts == nil {
		p.counts, p.since = map[counted]int64{}, r.At
	}
	if _, known := p.counts[key]; !known && len(p.counts) >= maxCounts {
		key = counted{kind: r.Kind}
	}
	p.counts[key]++
	p.since, p.until = min(p.since, r.At), max(p.until, r.At)
}

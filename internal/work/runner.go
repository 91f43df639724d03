package work

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
)

// Handler says how jobs of one kind are run.
type Handler struct {
	Kind string

	// Run does the work. Its context ends when the lease is lost or the runner stops; what it had not done then is done by a
	// later run. An error puts the job off, longer each time, without end.
	Run func(ctx context.Context, payload json.RawMessage) error

	// Every, if not zero, makes this a recurring job with an empty key: it runs once each period, in the whole installation,
	// and at once when it is enqueued.
	Every time.Duration

	// Workers is how many jobs of the kind this replica runs at the same time; 0 is one.
	Workers int
}

// Metrics counts jobs. Calls must not block.
type Metrics interface {
	// JobDone counts one run. outcome is done, failed, released (the runner stopped) or lost (the lease ran out).
	JobDone(kind, outcome string, took time.Duration)
}

// Options of a Runner. Log is required.
type Options struct {
	Log     *slog.Logger
	Metrics Metrics // may be nil

	Lease      time.Duration // for how long a claim holds without being renewed; default 1m. It is renewed three times as often
	Poll       time.Duration // how often to look for jobs that nobody announced; default 5s
	BackoffMin time.Duration // before the second attempt; default 5s. It doubles with each attempt
	BackoffMax time.Duration // default 10m

	// The clock. The time of package time when nil.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

// Runner claims jobs and runs them.
type Runner struct {
	db       *meta.DB
	o        Options
	handlers []Handler
	wake     map[string]chan struct{} // by kind; told that a job came in
}

// NewRunner returns a runner of the handlers. It does nothing until Run.
func NewRunner(db *meta.DB, o Options, handlers ...Handler) *Runner {
	o.Lease = cmp.Or(o.Lease, time.Minute)
	o.Poll = cmp.Or(o.Poll, 5*time.Second)
	o.BackoffMin = cmp.Or(o.BackoffMin, 5*time.Second)
	o.BackoffMax = cmp.Or(o.BackoffMax, 10*time.Minute)
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	r := &Runner{db: db, o: o, handlers: handlers, wake: map[string]chan struct{}{}}
	for _, h := range handlers {
		r.wake[h.Kind] = make(chan struct{}, 1)
	}
	return r
}

type noMetrics struct{}

func (noMetrics) JobDone(string, string, time.Duration) {}

// Run claims and runs jobs until ctx ends. Then it ends the contexts of running handlers, waits for them, gives their jobs
// back for others to go on with, and returns nil.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.ensureRecurring(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped before it began
		}
		return err
	}
	r.db.Follow(ctx, r.follow)
	var workers sync.WaitGroup
	for _, h := range r.handlers {
		for range max(1, h.Workers) {
			workers.Go(func() { r.work(ctx, h) })
		}
	}
	workers.Wait()
	return nil
}

func (r *Runner) follow(c meta.Change) {
	switch c.Kind {
	case ChangeJob:
		r.notify(c.Key)
	case meta.ChangeAll:
		for kind := range r.wake {
			r.notify(kind)
		}
	}
}

func (r *Runner) notify(kind string) {
	select {
	case r.wake[kind] <- struct{}{}: // a kind without handler has a nil channel: never ready
	default:
	}
}

// work runs jobs of one kind, one after another.
func (r *Runner) work(ctx context.Context, h Handler) {
	last := r.o.Now()
	for ctx.Err() == nil {
		now := r.o.Now()
		if now.Round(0).Before(last.Round(0).Add(-r.o.Lease)) { // the clock was set back
			if err := r.ensureRecurring(ctx); err != nil && ctx.Err() == nil {
				r.o.Log.Warn("jobs after a clock was set back", "error", err)
			}
		}
		last = now
		l, err := r.claim(ctx, h.Kind)
		switch {
		case err == nil:
			r.notify(h.Kind) // there may be more for the other workers
			r.run(ctx, h, l)
			continue
		case !errors.Is(err, errNothingDue) && ctx.Err() == nil:
			r.o.Log.Warn("claim a job", "kind", h.Kind, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-r.wake[h.Kind]:
		case <-r.o.After(jitter(r.o.Poll)):
		}
	}
}

// run runs one claimed job and settles what becomes of it.
func (r *Runner) run(ctx context.Context, h Handler, l *lease) {
	begun := r.o.Now()
	running, cancel := context.WithCancelCause(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() { r.renew(running, l, cancel) })
	err := call(running, h, json.RawMessage(l.payload))
	lost := errors.Is(context.Cause(running), errLeaseLost)
	cancel(nil)
	renewal.Wait()

	log := r.o.Log.With("kind", l.kind, "key", l.key, "attempt", l.attempts)
	outcome := "done"
	settle := context.WithoutCancel(ctx) // the runner may be stopping; the job must not stay leased for it
	settle, stop := context.WithTimeout(settle, r.o.Lease/3)
	defer stop()
	var settleErr error
	switch {
	case lost:
		outcome = "lost"
		log.Warn("the lease of a job was lost while it ran", "error", err)
	case err == nil:
		settleErr = r.finish(settle, h, l)
	case ctx.Err() != nil:
		outcome = "released"
		settleErr = r.release(settle, l)
	default:
		outcome = "failed"
		wait := r.backoff(l.attempts)
		log.Warn("job", "error", err, "again_in", wait.String())
		settleErr = r.fail(settle, l, err, r.o.Now().Add(wait))
	}
	if settleErr != nil {
		log.Warn("settle a job: it runs again when its lease has run out", "outcome", outcome, "error", settleErr)
	}
	r.o.Metrics.JobDone(l.kind, outcome, r.o.Now().Sub(begun))
}

// call runs the handler; a panic in it is an error like others.
func call(ctx context.Context, h Handler, payload json.RawMessage) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return h.Run(ctx, payload)
}

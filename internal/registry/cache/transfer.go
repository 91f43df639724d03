package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
)

// phase is how far a transfer has come, as those who joined it see it.
type phase uint8

const (
	waiting  phase = iota // the upstream has not answered
	flowing               // bytes arrive, or are being verified and committed
	stored                // the content is in the store
	failed                // the upstream gave no, or no right, content
	detached              // the store cannot keep it: whoever follows goes on from the upstream alone
)

// transfer is one fill under way. Its goroutine owns the upstream read and the spool; clients follow it.
type transfer struct {
	engine *Fills
	fill   Fill
	caller registry.Caller
	log    *slog.Logger

	// Of the goroutine alone, until the phase is detached: nothing changes any more then.
	sums     *sums
	resumed  bool  // the spool is from an earlier process
	ended    bool  // the upstream ended content whose size it never told
	received int64 // bytes the upstream sent
	resumes  int
	reason   string // why detached
	savedAt  time.Time
	saved    int64
	buffer   []byte

	mu        sync.Mutex
	phase     phase
	spool     spool
	total     int64 // size of the content, -1 while unknown
	size      int64 // bytes that can be read from the spool
	verified  bool
	err       error // failed
	blob      store.Blob
	followers int
	wake      chan struct{} // closed at the next change; nil while nobody waits
	armed     bool          // a timer will close wake
	released  bool
}

func newTransfer(e *Fills, fill Fill, caller registry.Caller) *transfer {
	return &transfer{
		engine: e, fill: fill, caller: caller, total: -1,
		log: e.options.Log.With("upstream", fill.Name, "repository", fill.Repository, "content", fill.Path),
	}
}

// run carries the fill out and tells everyone how it ended.
func (t *transfer) run(ctx context.Context) {
	began := t.engine.options.Now()
	t.engine.options.Metrics.FillStarted(t.fill.Name)
	err := t.carry(ctx)
	result := t.conclude(ctx, err)
	t.engine.forget(t)
	t.release(ctx)
	took := t.engine.options.Now().Sub(began)
	t.engine.options.Metrics.FillEnded(t.fill.Name, result, t.received, t.resumes, took)
	log := t.log
	if err != nil {
		log = log.With("error", err)
	}
	log.Log(ctx, levelOf(result), "fill ended", "result", result, "bytes", t.received, "resumes", t.resumes, "duration", took)
}

func levelOf(result string) slog.Level {
	switch result {
	case "stored":
		return slog.LevelDebug
	case "wrong", "detached":
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func (t *transfer) carry(ctx context.Context) error {
	release, err := t.engine.slots.acquire(ctx, t.engine.options.QueueWait, t.engine.slotsOf(t.fill.Identity, t.caller))
	if err != nil {
		return err
	}
	defer release()
	if t.fill.Cached != nil {
		if b, ok := t.fill.Cached(ctx); ok {
			t.store(b)
			return nil
		}
	}
	if err := t.prepare(ctx); err != nil {
		return err
	}
	if err := t.receive(ctx); err != nil {
		return err
	}
	return t.commit(ctx)
}

// prepare takes up the spool of an earlier try or begins one.
func (t *transfer) prepare(ctx context.Context) error {
	var err error
	if t.sums, err = newSums(t.fill.Expect); err != nil {
		return err
	}
	if err = t.takeUp(ctx); err == nil || t.spool != nil {
		return err
	}
	s, err := t.engine.newSpool(ctx, t.fill.Identity)
	if err != nil {
		return &storeError{err}
	}
	t.mu.Lock()
	t.spool = s
	t.mu.Unlock()
	return nil
}

// commit verifies what has arrived, lets everyone have the rest of it, and makes it a blob.
func (t *transfer) commit(ctx context.Context) error {
	digest, err := t.sums.check()
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.verified, t.total = true, t.size
	if t.phase == waiting {
		t.phase = flowing
	}
	t.broadcastLocked()
	t.mu.Unlock()
	b, err := t.spool.commit(ctx, t.fill.repositoryKey(), digest)
	if err != nil {
		return &storeError{fmt.Errorf("commit: %w", err)}
	}
	t.store(b)
	return nil
}

func (t *transfer) store(b store.Blob) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase, t.blob, t.verified, t.total = stored, b, true, b.Size
	t.broadcastLocked()
}

// storeError is trouble on our side: the upstream is fine, but its bytes cannot be kept.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// errBudget stands for a group whose byte budget cannot be met.
var errBudget = errors.New("the group's byte budget is used up")

// conclude turns the end of carry into a phase, and says in a word how it ended.
func (t *transfer) conclude(ctx context.Context, err error) string {
	wrong, isWrong := errors.AsType[*wrongError](err)
	_, isStore := errors.AsType[*storeError](err)
	switch {
	case err == nil:
		t.dropSidecar()
		return "stored"
	case isWrong:
		t.discard(ctx)
		if !t.resumed { // else our own disk may have spoilt the beginning
			now := t.engine.options.Now()
			t.engine.wrong.put(t.fill.Identity, wrong.reason, now, now.Add(wrongFor))
		}
		t.fail(&registry.OutcomeError{Outcome: registry.Unknown, Reason: wrong.reason, RetryAfter: wrongFor, Err: err})
		return "wrong"
	case ctx.Err() != nil:
		t.park(ctx)
		t.fail(errClosing)
		return "parked"
	case isStore:
		t.detach(err)
		return "detached"
	}
	if t.spool != nil && t.spool.size() > 0 {
		t.park(ctx)
	} else {
		t.discard(ctx)
	}
	t.fail(err)
	return "failed"
}

// fail tells everyone who joined. From then on whoever asks begins anew.
func (t *transfer) fail(err error) {
	t.engine.forget(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase, t.err = failed, err
	t.broadcastLocked()
}

// detach lets the followers go on from the upstream. The spool stays as long as one of them still reads it.
func (t *transfer) detach(err error) {
	t.reason = passStore
	switch {
	case errors.Is(err, errBudget):
		t.reason = passBudget
	case errors.Is(err, blob.ErrFull):
		t.reason = passFull
		t.engine.fullUntil.Store(t.engine.options.Now().Add(fullFor).UnixNano())
	}
	t.dropSidecar()
	t.log.Warn("content passes through uncached", "reason", t.reason, "error", err)
	t.engine.forget(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase = detached
	t.broadcastLocked()
}

// discard drops the spool and what a restart would need to find it.
func (t *transfer) discard(ctx context.Context) {
	t.dropSidecar()
	if t.spool != nil {
		t.spool.drop(context.WithoutCancel(ctx))
	}
}

// release frees the spool when the transfer is over and nobody follows it any more.
func (t *transfer) release(ctx context.Context) {
	t.mu.Lock()
	over := (t.phase == stored || t.phase == detached) && t.followers == 0 && !t.released && t.spool != nil
	if over {
		t.released = true
	}
	t.mu.Unlock()
	switch {
	case !over:
	case t.phase == stored:
		t.spool.close()
	default:
		t.spool.drop(context.WithoutCancel(ctx))
	}
}

// wakeEvery bounds how often followers are woken: a slow drip must not cost hundreds of wake-ups for each packet.
const wakeEvery = 4 * time.Millisecond

// left is how many bytes are to come, as far as the upstream has told.
func (t *transfer) left() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != flowing {
		return 0
	}
	return max(0, t.total-t.size)
}

// advance publishes n more bytes of the spool.
func (t *transfer) advance(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size += int64(n)
	if t.wake != nil && !t.armed {
		t.armed = true
		time.AfterFunc(wakeEvery, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.broadcastLocked()
		})
	}
}

func (t *transfer) broadcastLocked() {
	t.armed = false
	if t.wake != nil {
		close(t.wake)
		t.wake = nil
	}
}

// waitLocked returns a channel that is closed at the next change.
func (t *transfer) waitLocked() <-chan struct{} {
	if t.wake == nil {
		t.wake = make(chan struct{})
	}
	return t.wake
}

// view is a transfer at one moment.
type view struct {
	phase  phase
	total  int64
	size   int64
	blob   store.Blob
	err    error  // failed
	reason string // detached
}

// attach waits for the upstream's answer (with sized, until the size is known too). If bytes flow then, the caller has become a
// follower and must leave.
func (t *transfer) attach(ctx context.Context, sized bool) (view, error) {
	for {
		t.mu.Lock()
		if t.phase > flowing || t.phase == flowing && (!sized || t.total >= 0) {
			if t.phase == flowing {
				t.followers++
			}
			v := view{t.phase, t.total, t.size, t.blob, t.err, t.reason}
			t.mu.Unlock()
			return v, nil
		}
		changed := t.waitLocked()
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return view{}, context.Cause(ctx)
		}
	}
}

func (t *transfer) leave(ctx context.Context) {
	t.mu.Lock()
	t.followers--
	t.mu.Unlock()
	t.release(ctx)
}

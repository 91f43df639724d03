package upstream

import (
	"sync"
	"time"
)

// A breaker keeps a host that does not answer from costing every request its timeout. After breakerFailures failures to
// connect or to answer in a row it opens: requests are refused at once. While it is open, single requests may try the host:
// any request when the pause is over, which grows from 1 s to 30 s; and a miss once per missProbe, because a client is
// waiting for it and should not be the last to learn that the host is back. The first answer, whatever its status, closes it.
type breaker struct {
	now    func() time.Time
	change func(open bool)

	mu       sync.Mutex
	failures int           // in a row
	pause    time.Duration // 0 = closed
	probed   time.Time     // when it opened or the last request was let through
	cause    string        // of the last failure
	failed   time.Time     // when that was
}

const (
	breakerFailures = 3
	firstPause      = time.Second
	maxPause        = 30 * time.Second
	missProbe       = 500 * time.Millisecond
)

// allow reports whether a request may go out, and whether it is one that tries an open host; if it may not, when the next
// one may.
func (b *breaker) allow(revalidation bool) (probe bool, wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return false, 0, true
	}
	pause := missProbe
	if revalidation {
		pause = b.pause
	}
	now := b.now()
	if wait = b.probed.Add(pause).Sub(now); wait > 0 {
		return false, wait, false
	}
	b.probed = now
	return true, 0, true
}

// succeed notes an answer.
func (b *breaker) succeed() {
	b.mu.Lock()
	wasOpen := b.pause > 0
	b.failures, b.pause = 0, 0
	b.mu.Unlock()
	if wasOpen {
		b.change(false)
	}
}

// fail notes that there was none, and why. What was sent before the breaker opened does not count any more.
func (b *breaker) fail(probe bool, cause string) {
	b.mu.Lock()
	b.cause, b.failed = cause, b.now()
	opens := false
	switch {
	case b.pause == 0:
		b.failures++
		if opens = b.failures >= breakerFailures; opens {
			b.pause, b.probed = firstPause, b.now()
		}
	case probe:
		b.pause, b.probed = min(2*b.pause, maxPause), b.now()
	}
	b.mu.Unlock()
	if opens {
		b.change(true)
	}
}

// last tells what failed last, and when.
func (b *breaker) last() (cause string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause, b.failed
}

// until is when a request tries an open host again at the latest, be it a revalidation; zero while it is closed.
func (b *breaker) until() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return time.Time{}
	}
	return b.probed.Add(b.pause)
}

// open reports whether requests are being refused.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pause > 0
}

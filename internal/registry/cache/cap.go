package cache

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

// slots bounds how many fills run at once under each of several names (a group, an upstream, a principal). Waiters get
// their turn in the order they came, but one that waits for a busy upstream does not hold up the others.
type slots struct {
	mu      sync.Mutex
	used    map[string]int
	waiting []*slotWaiter
}

type slot struct {
	name string
	max  int
}

type slotWaiter struct {
	slots   []slot
	granted chan struct{}
}

func newSlots() *slots { return &slots{used: map[string]int{}} }

// maxWaiting bounds the queue: whoever comes later is refused at once.
const maxWaiting = 4096

// acquire takes one place in each of want, all or none, waiting up to wait. The error is an OutcomeError with Limited set, or
// that of ctx.
func (s *slots) acquire(ctx context.Context, wait time.Duration, want []slot) (release func(), err error) {
	w := &slotWaiter{slots: want, granted: make(chan struct{})}
	s.mu.Lock()
	if s.take(want) {
		s.mu.Unlock()
		return func() { s.release(want) }, nil
	}
	if len(s.waiting) >= maxWaiting {
		s.mu.Unlock()
		return nil, tooMany(wait)
	}
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.granted:
		return func() { s.release(want) }, nil
	case <-timer.C:
		err = tooMany(wait)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if !s.leave(w) { // granted in the meantime
		return func() { s.release(want) }, nil
	}
	return nil, err
}

// errQueue marks the refusal of one who has waited for a place long enough.
var errQueue = errors.New("no place in the queue")

func tooMany(wait time.Duration) error {
	return &registry.OutcomeError{
		Outcome: registry.Unknown, Reason: "too many transfers at once", Limited: true, RetryAfter: max(time.Second, wait/2), Err: errQueue,
	}
}

func (s *slots) take(want []slot) bool {
	for _, w := range want {
		if s.used[w.name] >= w.max {
			return false
		}
	}
	for _, w := range want {
		s.used[w.name]++
	}
	return true
}

func (s *slots) release(had []slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range had {
		if s.used[h.name]--; s.used[h.name] == 0 {
			delete(s.used, h.name)
		}
	}
	still := s.waiting[:0]
	for _, w := range s.waiting {
		if s.take(w.slots) {
			close(w.granted)
		} else {
			still = append(still, w)
		}
	}
	clear(s.waiting[len(still):])
	s.waiting = still
}

// leave takes w out of the queue; false if it is not there any more.
func (s *slots) leave(w *slotWaiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.waiting {
		if x == w {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// slotsOf names what a fill for caller counts against. Anonymous callers count by address.
func (e *Fills) slotsOf(id Identity, caller registry.Caller) []slot {
	who := "principal " + strconv.FormatInt(caller.PrincipalID, 10)
	if caller.PrincipalID == 0 {
		who = "address " + host(caller.Address)
	}
	return []slot{
		{"group " + strconv.FormatInt(id.Group, 10), e.options.PerGroup},
		{"upstream " + strconv.FormatInt(id.Upstream, 10), e.options.PerUpstream},
		{who, e.options.PerPrincipal},
	}
}

// host takes the port off an address, if it has one.
func host(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.Addr().String()
	}
	return address
}

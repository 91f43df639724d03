package access

import (
	"net/netip"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

// limiter bounds failures per key with GCRA: a key may fail burst times at once and rate times a minute in the long run.
// Attempts while the key is blocked double what its next failures cost, up to 32 times. Success is free, so that any number
// of clients behind one address can log in at the same moment.
type limiter struct {
	interval time.Duration
	burst    int
	keys     *otter.Cache[string, *gauge]
}

// gauge is one key's state.
type gauge struct {
	mu    sync.Mutex
	tat   time.Time // GCRA's theoretical arrival time: when all that was taken is paid off
	level uint      // of the backoff
}

const (
	maxLevel    = 5
	maxWait     = 10 * time.Minute
	limiterKeys = 100_000 // about 20 MB; an attacker with more addresses than that has won something else already
)

func newLimiter(perMinute int) *limiter {
	return &limiter{
		interval: time.Minute / time.Duration(perMinute), burst: perMinute,
		keys: otter.Must(&otter.Options[string, *gauge]{
			MaximumSize:      limiterKeys,
			ExpiryCalculator: otter.ExpiryAccessing[string, *gauge](15 * time.Minute),
		}),
	}
}

// blocked returns how long the key must wait before its next attempt; 0 if it need not.
func (l *limiter) blocked(key string, now time.Time) time.Duration {
	g, ok := l.keys.GetIfPresent(key)
	if !ok {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := g.tat.Sub(now) - time.Duration(l.burst-1)*l.interval
	if wait <= 0 {
		return 0
	}
	g.level = min(g.level+1, maxLevel)
	return wait
}

// failed charges the key for a failure. Attempts that ran side by side may overdraw, and are waited for all the longer.
func (l *limiter) failed(key string, now time.Time) {
	g, _ := l.keys.ComputeIfAbsent(key, func() (*gauge, bool) { return &gauge{}, false })
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.tat.After(now) {
		g.tat, g.level = now, 0
	}
	g.tat = g.tat.Add(l.interval << g.level)
	if most := now.Add(maxWait + time.Duration(l.burst)*l.interval); g.tat.After(most) {
		g.tat = most
	}
}

// addressKey groups the addresses of one IPv6 network of 64 bits, which one client has all of.
func addressKey(a netip.Addr) string {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

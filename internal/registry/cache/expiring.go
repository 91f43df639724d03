package cache

import (
	"sync"
	"time"
)

// expiring is a map whose entries end at a time and whose number is bounded: what it forgets early only costs another
// question to an upstream.
type expiring[K comparable, V any] struct {
	mu      sync.Mutex
	max     int
	entries map[K]expiringEntry[V]
}

type expiringEntry[V any] struct {
	value V
	until time.Time
}

func newExpiring[K comparable, V any](max int) *expiring[K, V] {
	return &expiring[K, V]{max: max, entries: make(map[K]expiringEntry[V])}
}

// get returns the live value of k.
func (m *expiring[K, V]) get(k K, now time.Time) (V, bool) {
	v, left := m.left(k, now)
	return v, left > 0
}

// left is get with how long the value still lives; 0 if there is none.
func (m *expiring[K, V]) left(k K, now time.Time) (V, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[k]
	if ok && !now.Before(e.until) {
		delete(m.entries, k)
		ok = false
	}
	if !ok {
		var none V
		return none, 0
	}
	return e.value, e.until.Sub(now)
}

// put keeps v until the time until.
func (m *expiring[K, V]) put(k K, v V, now, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.entries[k]; !known && len(m.entries) >= m.max {
		m.makeRoom(now)
	}
	m.entries[k] = expiringEntry[V]{v, until}
}

// makeRoom looks at a few entries only, in the map's random order: it drops those that have ended, or else the first.
func (m *expiring[K, V]) makeRoom(now time.Time) {
	const look = 16
	seen, dropped := 0, 0
	var first K
	for k, e := range m.entries {
		if seen == 0 {
			first = k
		}
		if !now.Before(e.until) {
			delete(m.entries, k)
			dropped++
		}
		if seen++; seen == look {
			break
		}
	}
	if dropped == 0 {
		delete(m.entries, first)
	}
}

// drop forgets k.
func (m *expiring[K, V]) drop(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, k)
}

package virtual

import (
	"sync"

	"github.com/weir-registry/weir/internal/oci"
)

// memo remembers which digests have passed the rules. It belongs to one Registry, hence to one generation of the
// configuration. Only passes that no further admission can revoke may enter; refusals must not, because the next
// admission may lift them.
//
// It keeps two maps and drops the older one when the younger is full: bounded, and what is in use survives.
type memo struct {
	mu         sync.Mutex
	size       int
	young, old map[memoKey]struct{}
}

type memoKey struct {
	member     int
	repository string
	digest     oci.Digest
}

func newMemo(size int) *memo {
	return &memo{size: max(1, size/2), young: map[memoKey]struct{}{}}
}

func (m *memo) has(k memoKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.young[k]; ok {
		return true
	}
	_, ok := m.old[k]
	if ok {
		m.put(k)
	}
	return ok
}

func (m *memo) add(k memoKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(k)
}

func (m *memo) put(k memoKey) {
	if len(m.young) >= m.size {
		m.old, m.young = m.young, make(map[memoKey]struct{}, m.size)
	}
	m.young[k] = struct{}{}
}

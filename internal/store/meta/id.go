package meta

import (
	"sync"
	"time"
)

// An id is, from the highest bit: 0, 41 bits of milliseconds since idEpoch, 10 bits of replica number, 12 bits of sequence.
// It lasts until 2093, at 4096 ids a millisecond and replica; a faster burst borrows from the milliseconds to come.
const (
	replicaBits  = 10
	sequenceBits = 12
	maxReplicas  = 1 << replicaBits
	idEpoch      = 1_704_067_200_000 // 2024-01-01T00:00:00Z in Unix milliseconds
)

type idSource struct {
	replica int64

	mu   sync.Mutex
	last int64 // milliseconds since idEpoch << sequenceBits | sequence
}

// newIDSource makes ids of a replica number, all later than floor: what the number's former holder may have made.
func newIDSource(replica int, floor time.Time) *idSource {
	return &idSource{replica: int64(replica), last: (floor.UnixMilli()-idEpoch+1)<<sequenceBits - 1}
}

func (s *idSource) next() int64 {
	now := (time.Now().UnixMilli() - idEpoch) << sequenceBits
	s.mu.Lock()
	s.last = max(s.last+1, now) // a clock set back must not repeat ids
	last := s.last
	s.mu.Unlock()
	return last>>sequenceBits<<(replicaBits+sequenceBits) | s.replica<<sequenceBits | last&(1<<sequenceBits-1)
}

// latest is the time of the newest id, rounded up.
func (s *idSource) latest() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.UnixMilli(s.last>>sequenceBits + 1 + idEpoch)
}

// FirstID is less than every id made at or after a time, but for a clock that was set back.
func FirstID(at time.Time) int64 {
	return max(0, at.UnixMilli()-idEpoch) << (replicaBits + sequenceBits)
}

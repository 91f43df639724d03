package meta

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// silence bounds how long a database may say nothing. One that is dead refuses connections; one that is frozen, or whose machine has
// gone, takes every statement and answers none, and who waits for it would wait as long as the client does. When nothing has come on
// any connection for the time given, those that wait fail, and all others at once, with those who wait for a connection, until the
// database is heard again: a new connection is tried once a second. The change feed asks twice a second, so only a dead silence is one.
//
// It works below the protocol, so it needs no setting of a session, which a proxy could give to somebody else.
type silence struct {
	after time.Duration
	epoch time.Time

	armed  atomic.Bool  // not while the schema is migrated: that may take as long as it takes
	last   atomic.Int64 // when something was heard, in nanoseconds since epoch
	fallen atomic.Bool
	mu     sync.Mutex
	tried  time.Time // the last attempt since it has fallen
}

const (
	maxSilence   = 10 * time.Second
	maxStatement = time.Minute // of a statement, or the wait for a lock, while others are answered: a connection may be dead alone
	silenceProbe = time.Second
	probeSilence = 2 * time.Second
)

// errSilent is a network error like those of a database that refuses connections: see Failure.
var errSilent = &net.OpError{Op: "wait", Net: "tcp", Err: errors.New("the database says nothing")}

// dial is a pgconn.DialFunc.
func (s *silence) dial(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		probe := s.fallen.Load()
		if probe && !s.mayTry() {
			return nil, errSilent
		}
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &heard{Conn: c, silence: s, probe: probe}, nil
	}
}

func (s *silence) mayTry() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.tried) < silenceProbe {
		return false
	}
	s.tried = time.Now()
	return true
}

// heard is a connection that fails when nothing is heard on it.
type heard struct {
	net.Conn

	silence *silence
	probe   bool // tried although the database has fallen silent

	mu  sync.Mutex
	own bool // somebody else has set a deadline, as the driver does when a context ends: that one counts
}

// Read implements net.Conn.
func (h *heard) Read(p []byte) (int, error) {
	for began := time.Now(); ; {
		if err := h.arm(h.Conn.SetReadDeadline); err != nil {
			return 0, err
		}
		n, err := h.Conn.Read(p)
		if n > 0 {
			h.silence.hear()
		}
		if n > 0 || !h.mayWait(err, began) {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (h *heard) Write(p []byte) (int, error) {
	if err := h.arm(h.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	n, err := h.Conn.Write(p)
	h.mayWait(err, time.Time{})
	return n, err
}

// arm sets the deadline of a call.
func (h *heard) arm(set func(time.Time) error) error {
	s := h.silence
	after := s.after
	switch {
	case !s.armed.Load():
		return nil
	case h.probe:
		after = min(after, probeSilence)
	case s.fallen.Load():
		return errSilent
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.own {
		return nil
	}
	return set(time.Now().Add(after))
}

// mayWait looks why a call has ended. It reports whether that was our deadline, and others have been answered meanwhile.
func (h *heard) mayWait(err error, began time.Time) bool {
	timeout, ok := errors.AsType[net.Error](err)
	if !ok || !timeout.Timeout() || !h.silence.armed.Load() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.own:
		return false
	case h.silence.lasts(h.silence.after):
		h.silence.fall()
		return false
	}
	return !h.probe && time.Since(began) < maxStatement
}

func (s *silence) hear() {
	s.last.Store(int64(time.Since(s.epoch)))
	if s.fallen.Load() {
		s.fallen.Store(false)
	}
}

// lasts reports whether nothing has been heard for so long.
func (s *silence) lasts(long time.Duration) bool {
	return time.Since(s.epoch)-time.Duration(s.last.Load()) >= long
}

// fall begins a pause without attempts. It must begin when one has failed, not when it began: all who wait for a connection fail in it,
// and else each of them would make the next attempt.
func (s *silence) fall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried = time.Now()
	s.fallen.Store(true)
}

// SetDeadline implements net.Conn.
func (h *heard) SetDeadline(t time.Time) error { return h.deadline(t, h.Conn.SetDeadline) }

// SetReadDeadline implements net.Conn.
func (h *heard) SetReadDeadline(t time.Time) error { return h.deadline(t, h.Conn.SetReadDeadline) }

// SetWriteDeadline implements net.Conn.
func (h *heard) SetWriteDeadline(t time.Time) error { return h.deadline(t, h.Conn.SetWriteDeadline) }

func (h *heard) deadline(t time.Time, set func(time.Time) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.own = !t.IsZero()
	return set(t)
}

package upstream

import (
	"net/http"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

// Health is what this process knows of an upstream from its own requests, without asking.
type Health struct {
	Host         string
	Open         bool      // the circuit breaker refuses requests to the host
	Answered     time.Time // when the host last answered, whatever it said; zero = not yet
	Failed       time.Time // when a request to it last got no answer, or one that says that it cannot (5xx, 429); zero = not yet
	Failure      string    // why: the status, or what became of name, connection, TLS or patience
	Failing      bool      // the last request went so, but for 429
	TriedAgain   time.Time // Open: when a request tries it again at the latest; pulls of what is not cached do each half second
	LoginRefused bool      // the last login was refused, and is not tried again for a moment
	// PreviousSecret: the credential's present secret was refused, and the one before it is used while it may be.
	PreviousSecret bool
	Budget         Budget
}

// rotated is a credential whose secret has been replaced, and that falls back to the one before.
type rotated interface {
	UsesPrevious() bool
	TryPresent()
}

// Health tells how the upstream is.
func (r *Registry) Health() Health {
	h := r.noted.read()
	h.Host, h.Open, h.Budget = r.base.Host, r.Open(), r.budget.state()
	h.TriedAgain = r.breaker(r.base.Host).until()
	h.LoginRefused = r.login.refusedLately() != nil
	if c, ok := r.o.Credential.(rotated); ok {
		h.PreviousSecret = c.UsesPrevious()
	}
	return h
}

// notes are kept of exchanges with the registry's own host.
type notes struct {
	mu     sync.Mutex
	health Health
}

func (n *notes) read() Health {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.health
}

// note keeps why an exchange with host got no answer.
func (r *Registry) note(host string, err *registry.OutcomeError) {
	if host != r.base.Host {
		return
	}
	now := r.o.Now()
	r.noted.mu.Lock()
	defer r.noted.mu.Unlock()
	r.noted.health.Failed, r.noted.health.Failure, r.noted.health.Failing = now, err.Reason, true
}

// noteAnswer keeps that host answered, and what if it was that it cannot.
func (r *Registry) noteAnswer(host string, resp *http.Response) {
	if host != r.base.Host {
		return
	}
	cannot := resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented || resp.StatusCode == http.StatusTooManyRequests
	now := r.o.Now()
	r.noted.mu.Lock()
	defer r.noted.mu.Unlock()
	h := &r.noted.health
	h.Answered, h.Failing = now, cannot && resp.StatusCode != http.StatusTooManyRequests
	if cannot {
		h.Failed, h.Failure = now, statusReason(resp, nil)
	}
}

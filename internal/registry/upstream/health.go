package upstream

import (
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

// Health is what this process knows of an upstream from its own requests, without asking.
type Health struct {
	Host         string
	Open         bool      // the circuit breaker refuses requests to the host
	Answered     time.Time // when the host last answered, whatever it said; zero = not yet
	Failed       time.Time // when a request to it last got no answer; zero = not yet
	Failure      string    // why
	LoginRefused bool      // the last login was refused, and is not tried again for a moment
	// PreviousSecret: the credential's present secret was refused, and the one before it is used while it may be.
	PreviousSecret bool
	Budget         Budget
}

// Health tells how the upstream is.
func (r *Registry) Health() Health {
	h := r.noted.read()
	h.Host, h.Open, h.Budget = r.base.Host, r.Open(), r.budget.state()
	h.LoginRefused = r.login.refusedLately() != nil
	if c, ok := r.o.Credential.(interface{ UsesPrevious() bool }); ok {
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

// note keeps how an exchange with host went.
func (r *Registry) note(host string, err *registry.OutcomeError) {
	if host != r.base.Host {
		return
	}
	now := r.o.Now()
	r.noted.mu.Lock()
	defer r.noted.mu.Unlock()
	if err == nil {
		r.noted.health.Answered = now
		return
	}
	r.noted.health.Failed, r.noted.health.Failure = now, err.Reason
}

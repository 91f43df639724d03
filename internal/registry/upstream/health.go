package upstream

import (
	"net/http"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/registry"
)

// Health is what this process knows of an upstream from its own requests, without asking.
type Health struct {
	Host         string
	Open         bool      // the circuit breaker refuses requests to the host
	Answered     time.Time // when the host last answered, whatever it said; zero = not yet
	Failed       time.Time // when a request to it last got no answer, or one that says that it cannot (5xx, 429), or a login was refused; zero = not yet
	Failure      string    // why: the status, or what became of name, connection, TLS or patience
	Failing      bool      // the last request went so, but for 429
	LoginRefused bool      // the last login was refused
	// TriedAgain: when a request tries it again: Open, at the latest (pulls of what is not cached do each half second), and after a
	// refused login.
	TriedAgain time.Time
	// PreviousSecret: the credential's present secret was refused, and the one before it works and is used while it may be.
	PreviousSecret bool
	Budget         Budget
}

// rotated is a credential whose secret may have been replaced, and that falls back to the one before then.
type rotated interface {
	Accept(credential.Login)
	Accepted() bool
	UsesPrevious() bool
	PreviousWorks() bool
	TryPresent()
}

// SecretAccepted reports whether the upstream took the credential's present secret since this connection was made.
func (r *Registry) SecretAccepted() bool {
	c, ok := r.o.Credential.(rotated)
	return ok && c.Accepted()
}

// Health tells how the upstream is.
func (r *Registry) Health() Health {
	h := r.noted.read()
	h.Host, h.Open, h.Budget = r.base.Host, r.Open(), r.budget.state()
	h.TriedAgain = r.breaker(r.base.Host).until()
	if refused := r.login.lastRefusal(); !refused.at.IsZero() {
		h.LoginRefused = true
		if !refused.at.Before(h.Failed) {
			h.Failed, h.Failure = refused.at, r.refusedReason()
		}
		if !h.Open && refused.until.After(r.o.Now()) {
			h.TriedAgain = refused.until
		}
	}
	if c, ok := r.o.Credential.(rotated); ok {
		h.PreviousSecret = c.PreviousWorks()
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

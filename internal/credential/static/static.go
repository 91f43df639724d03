// Package static is the credential.Source of a login that someone typed in: a username with a password, or an identity
// token. Package assemble makes one per credential and version. It does no I/O.
package static

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/credential"
)

// Source is one login, with the secret that its present one has replaced, if that may still be used.
type Source struct {
	login       credential.Login
	fingerprint string
	accepted    atomic.Bool // the present secret was, once
	previous    previous
}

// previous is the secret before the present one: used for a while after the present one was refused, which is tried again
// from time to time.
type previous struct {
	login credential.Login
	until time.Time
	now   func() time.Time

	mu      sync.Mutex
	inUse   bool
	works   bool      // it was accepted when it was used last
	refused time.Time // the present secret, last
	over    time.Time // the previous one was refused, last
}

const (
	retry  = time.Minute     // after that, the present secret is tried again
	recent = 5 * time.Second // a refusal that needs no repetition although the other secret is refused now
)

var _ credential.Source = (*Source)(nil)

// identityToken is the username by which docker's clients mark an identity token.
const identityToken = "<token>"

// New returns the Source of a login. With an empty username, or "<token>", password is an identity token, which the
// upstream's token endpoint exchanges (grant_type=refresh_token).
func New(username string, password credential.Secret) *Source {
	if username == identityToken {
		username = ""
	}
	// A random fingerprint, because any function of a weak password would help to guess it. Whoever changes the login makes
	// another Source, and so another fingerprint.
	return &Source{login: credential.Login{Username: username, Password: password}, fingerprint: "static:" + rand.Text()}
}

// Rotated is New with the secret that password has replaced: until then it takes over where password is refused. now nil is
// time.Now.
func Rotated(username string, password, before credential.Secret, until time.Time, now func() time.Time) *Source {
	s := New(username, password)
	if now == nil {
		now = time.Now
	}
	s.previous.login = credential.Login{Username: s.login.Username, Password: before}
	s.previous.until, s.previous.now = until, now
	return s
}

// Login implements credential.Source.
func (s *Source) Login(context.Context, credential.Target) (credential.Login, error) {
	if s.UsesPrevious() {
		return s.previous.login, nil
	}
	return s.login, nil
}

// Rejected implements credential.Source: the previous secret may do where the present one does not, and the present one as soon as
// the provider has it and refuses the previous one.
func (s *Source) Rejected(_ context.Context, _ credential.Target, refused credential.Login) bool {
	if !s.overlaps() {
		return false
	}
	s.previous.mu.Lock()
	defer s.previous.mu.Unlock()
	now := s.previous.now()
	switch refused { // where both are, the next request begins with the one that this one began with
	case s.login:
		s.previous.refused, s.previous.inUse = now, true
		return now.Sub(s.previous.over) >= recent
	case s.previous.login:
		s.previous.over, s.previous.inUse, s.previous.works = now, false, false
		return now.Sub(s.previous.refused) >= recent
	}
	return false
}

// Accept tells that an upstream took the login.
func (s *Source) Accept(taken credential.Login) {
	if taken == s.login {
		s.accepted.Store(true)
		return
	}
	s.previous.mu.Lock()
	defer s.previous.mu.Unlock()
	s.previous.works = s.previous.works || taken == s.previous.login
}

// Accepted reports whether an upstream took the present secret, since this Source was made.
func (s *Source) Accepted() bool { return s.accepted.Load() }

// TryPresent has the present secret tried next, although it was refused a moment ago.
func (s *Source) TryPresent() {
	s.previous.mu.Lock()
	defer s.previous.mu.Unlock()
	s.previous.inUse = false
}

// UsesPrevious reports whether the present secret was refused and the one before it is used.
func (s *Source) UsesPrevious() bool {
	if !s.overlaps() {
		return false
	}
	s.previous.mu.Lock()
	defer s.previous.mu.Unlock()
	return s.previous.inUse && s.previous.now().Sub(s.previous.refused) < retry
}

// PreviousWorks reports whether the secret before the present one is used, and was accepted.
func (s *Source) PreviousWorks() bool {
	if !s.UsesPrevious() {
		return false
	}
	s.previous.mu.Lock()
	defer s.previous.mu.Unlock()
	return s.previous.works
}

func (s *Source) overlaps() bool {
	return s.previous.now != nil && s.previous.now().Before(s.previous.until)
}

// Fingerprint implements credential.Source.
func (s *Source) Fingerprint() string { return s.fingerprint }

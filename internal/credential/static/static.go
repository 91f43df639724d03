// Package static is the credential.Source of a login that someone typed in: a username with a password, or an identity
// token. Package assemble makes one per credential and version. It does no I/O and never changes.
package static

import (
	"context"
	"crypto/rand"

	"github.com/weir-registry/weir/internal/credential"
)

// Source is one login.
type Source struct {
	login       credential.Login
	fingerprint string
}

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

// Login implements credential.Source.
func (s *Source) Login(context.Context, credential.Target) (credential.Login, error) {
	return s.login, nil
}

// Rejected implements credential.Source: another try would send the same.
func (s *Source) Rejected(context.Context, credential.Target, credential.Login) bool { return false }

// Fingerprint implements credential.Source.
func (s *Source) Fingerprint() string { return s.fingerprint }

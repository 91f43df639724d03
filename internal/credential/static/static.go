// Package static is the credential.Source of a login that someone typed in: a username with a password, or an identity
// token. Package assemble makes one per credential row. It does no I/O and never changes; a rotated secret makes a new one.
package static

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/weir-registry/weir/internal/credential"
)

// Options make a Source.
type Options struct {
	// Username goes with Password. Empty, or "<token>" as docker's clients write it: Password is an identity token, which the
	// upstream's token endpoint exchanges (grant_type=refresh_token).
	Username string
	Password credential.Secret

	// Key keys the fingerprint, so that it tells nothing about a weak password. Empty: the fingerprint is only good
	// inside this process' memory.
	Key []byte
}

// identityToken is the username by which docker's clients mark an identity token.
const identityToken = "<token>"

// ErrNoSecret is returned by New for a login without a password.
var ErrNoSecret = errors.New("static credential: the password is missing")

// Source is one login.
type Source struct {
	login       credential.Login
	fingerprint string
}

var _ credential.Source = (*Source)(nil)

// New returns the Source of a login.
func New(o Options) (*Source, error) {
	if o.Password.IsZero() {
		return nil, ErrNoSecret
	}
	if o.Username == identityToken {
		o.Username = ""
	}
	mac := hmac.New(sha256.New, o.Key)
	mac.Write([]byte(o.Username))
	mac.Write([]byte{0})
	mac.Write([]byte(o.Password.Reveal()))
	return &Source{
		login:       credential.Login{Username: o.Username, Password: o.Password},
		fingerprint: "static:" + hex.EncodeToString(mac.Sum(nil)),
	}, nil
}

// Login implements credential.Source.
func (s *Source) Login(context.Context, credential.Target) (credential.Login, error) {
	return s.login, nil
}

// Rejected implements credential.Source: another try would send the same.
func (s *Source) Rejected(context.Context, credential.Target, credential.Login) bool { return false }

// Fingerprint implements credential.Source.
func (s *Source) Fingerprint() string { return s.fingerprint }

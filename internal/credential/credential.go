// Package credential is how Weir proves itself outward, to upstreams: the contract of the kinds in its child packages
// (static; later ecr, gar, acr, …). Package registry/upstream calls it; adding a kind touches nothing else.
//
// Two layers of token exist (docs/explanation/credentials.md): an identity at the provider, which a Source knows how to
// obtain and refresh, and the registry's own bearer token, which registry/upstream gets from the realm with what the Source gives.
package credential

import (
	"context"
	"fmt"
	"log/slog"
)

// Source gives the login for one upstream's credential. It is safe for concurrent use and may do I/O; implementations
// cache, single-flight and refresh ahead of expiry.
type Source interface {
	// Login returns what to present to target, a host (with port if not the default) that the credential's host list has
	// been checked against by the caller.
	Login(ctx context.Context, target Target) (Login, error)

	// Rejected tells that the upstream refused the login; true when a new Login may differ, so that one retry makes sense.
	Rejected(ctx context.Context, target Target, login Login) bool

	// Fingerprint identifies the identity and secret version without revealing either; part of token cache keys.
	Fingerprint() string
}

// Target is what a login is for.
type Target struct {
	Host       string
	Repository string // empty for a ping
}

// Login is a username with a password or an identity token for the realm.
type Login struct {
	Username string
	Password Secret
	Basic    bool // send as Basic on each request; do not follow a Bearer challenge (ECR)
}

// IsZero reports an anonymous login.
func (l Login) IsZero() bool { return l.Username == "" && l.Password.IsZero() }

// Secret is text that never shows: every way of formatting it gives "[redacted]".
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, for sending it to its one destination.
func (s Secret) Reveal() string { return s.text }

// IsZero reports an empty secret.
func (s Secret) IsZero() bool { return s.text == "" }

const redacted = "[redacted]"

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Anonymous is the Source of an upstream without a credential.
type Anonymous struct{}

// Login implements Source.
func (Anonymous) Login(context.Context, Target) (Login, error) { return Login{}, nil }

// Rejected implements Source.
func (Anonymous) Rejected(context.Context, Target, Login) bool { return false }

// Fingerprint implements Source.
func (Anonymous) Fingerprint() string { return "anonymous" }

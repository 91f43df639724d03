// Package access knows who is asking and what they may do: users, personal tokens, signing keys, grants, and the one function
// that decides, Directory.Check. The doors in package serve ask it on every request; nothing below it asks again except guards.
//
// Everything that decides is kept in memory and follows the change feed, so that a check costs no query: a revoked token, a
// disabled user or a removed grant counts within about a second on every replica. Nothing in this package tells apart names
// that exist from names that do not, and no error or log line holds a credential. All types are safe for concurrent use.
package access

import (
	"context"
	"errors"
)

// Errors of changes.
var (
	ErrNotFound  = errors.New("not found")
	ErrExists    = errors.New("the name is taken")
	ErrName      = errors.New(`not a user name: want a letter or digit, then up to 127 letters, digits or any of "._@+-"`)
	ErrPassword  = errors.New(`a password has 8 to 1024 bytes and does not start with "weir_", which marks tokens`)
	ErrRole      = errors.New("not a role: want reader, developer, maintainer or owner, or admin for the whole instance")
	ErrPath      = errors.New("not a path below a group")
	ErrCeiling   = errors.New("not a limit for a token: want known actions and paths")
	ErrExpiry    = errors.New("the expiry lies in the past")
	ErrLastAdmin = errors.New("the instance must keep an administrator")
)

// Causes of an UNAUTHORIZED error, for the challenge's "error" parameter (RFC 6750, section 3.1).
var (
	ErrInvalidToken      = errors.New("invalid_token")
	ErrInsufficientScope = errors.New("insufficient_scope")
)

// Kind of principal.
type Kind string

// Kinds. Robots and workloads follow.
const (
	Anonymous Kind = "anonymous"
	User      Kind = "user"
	Operator  Kind = "operator" // whoever can open the local socket
)

// Principal is who asks. The zero Principal is anonymous.
type Principal struct {
	ID      int64 // of the user; 0 = anonymous
	Name    string
	Kind    Kind
	TokenID int64    // of the personal token behind the login, 0 = password
	Token   string   // its name
	Ceiling *Ceiling // what the token in use is limited to; nil = everything the user may
	Bearer  bool     // came with a bearer token of the token endpoint: another one may cover more

	personal *Ceiling // of the personal token behind a bearer or refresh token
}

// Nobody is the anonymous principal.
func Nobody() Principal { return Principal{Kind: Anonymous, Name: "anonymous"} }

// Local is the principal of the local socket. It may do everything, and is nobody's account.
func Local() Principal { return Principal{Kind: Operator, Name: "local"} }

// Behind returns p as it counts behind a virtual registry. A bearer token is limited to the names its client asked for at the
// door, and a local member has its content under another name: there the user's grants decide, and the limit of the personal
// token behind the login, if there is one.
func (p Principal) Behind() Principal {
	if p.Bearer {
		p.Ceiling, p.Bearer = p.personal, false
	}
	return p
}

// IsAnonymous reports whether nobody is logged in.
func (p Principal) IsAnonymous() bool { return p.ID == 0 && p.Kind != Operator }

// Action is what a principal wants to do.
type Action string

// Actions. A path is "<group>/<…>"; Administer has none.
const (
	Pull       Action = "pull"
	Catalog    Action = "catalog" // list names below the path
	View       Action = "view"    // read definitions, without secrets
	Push       Action = "push"
	Delete     Action = "delete"
	Configure  Action = "configure"  // registries, upstreams, rules, tags
	Own        Action = "own"        // members, policies, credentials, settings of a group
	Administer Action = "administer" // the instance
)

// Role is what a grant gives.
type Role string

// Roles, each with everything the one before it has.
const (
	Reader     Role = "reader"
	Developer  Role = "developer"
	Maintainer Role = "maintainer"
	Owner      Role = "owner"
	Admin      Role = "admin" // of the instance only
)

// rank orders roles; 0 is no role.
func (r Role) rank() int {
	switch r {
	case Reader:
		return 1
	case Developer:
		return 2
	case Maintainer:
		return 3
	case Owner:
		return 4
	case Admin:
		return 5
	}
	return 0
}

// needs is the least role that may act. ok is false for an action nobody has heard of, which nobody may do.
func (a Action) needs() (least Role, ok bool) {
	switch a {
	case Pull, Catalog, View:
		return Reader, true
	case Push:
		return Developer, true
	case Delete, Configure:
		return Maintainer, true
	case Own:
		return Owner, true
	case Administer:
		return Admin, true
	}
	return "", false
}

type principalKey struct{}

// WithPrincipal returns a context that carries the principal of a request.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns the principal of a request; Nobody when none was put there.
func PrincipalFrom(ctx context.Context) Principal {
	if p, ok := ctx.Value(principalKey{}).(Principal); ok {
		return p
	}
	return Nobody()
}

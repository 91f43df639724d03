// Package access knows who is asking and what they may do: users, personal tokens, signing keys, grants, and the one function
// that decides, Directory.Check; what it takes to give rights to others (ToGive) is asked of it, too. The doors in package serve
// ask it on every request; nothing below it asks again except guards.
//
// Everything that decides is kept in memory and follows the change feed, so that a check costs no query: a revoked token, a
// disabled user or a removed grant counts within about a second on every replica. Nothing in this package tells apart names
// that exist from names that do not, and no error or log line holds a credential. All types are safe for concurrent use.
package access

import (
	"context"
	"errors"
	"time"
)

// Errors of changes.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("the name is taken")
	ErrName        = errors.New(`not a user name: want a letter or digit, then up to 127 letters, digits or any of "._@+-"`)
	ErrTokenName   = errors.New("a token's name has 1 to 128 printable bytes")
	ErrPassword    = errors.New(`a password has 8 to 1024 bytes and does not start with "weir_", which marks tokens`)
	ErrRole        = errors.New("not a role: want reader, developer, maintainer or owner, a role that the group or the instance has made, or admin for the whole instance")
	ErrRoleName    = errors.New("not a name for a role: want lower-case letters, digits and separators, and none of the built-in roles")
	ErrRoleInUse   = errors.New("grants give the role: change them first")
	ErrGrants      = errors.New("want at most 100 grants, each for another path")
	ErrMachineName = errors.New("not a name for a robot or trust rule: want lower-case letters and digits with single separators")
	ErrActions     = errors.New("not the actions of a role: want at least one of pull, catalog, view, push, delete, configure, audit and own")
	ErrPath        = errors.New("not a path below a group")
	ErrCeiling     = errors.New("not a limit for a token: want known actions and paths")
	ErrExpiry      = errors.New("the expiry lies in the past")
	ErrLastAdmin   = errors.New("the instance must keep an administrator")
	ErrDryRun      = errors.New("dry run: the change could be made, and was not")
)

// Causes of an UNAUTHORIZED error, for the challenge's "error" parameter (RFC 6750, section 3.1).
var (
	ErrInvalidToken      = errors.New("invalid_token")
	ErrInsufficientScope = errors.New("insufficient_scope")
)

// Kind of principal.
type Kind string

// Kinds.
const (
	Anonymous Kind = "anonymous"
	User      Kind = "user"
	Robot     Kind = "robot"    // an account of a group that has tokens only
	Workload  Kind = "workload" // who a trust rule lets in by a token of another issuer
	Operator  Kind = "operator" // whoever can open the local socket
)

// Principal is who asks. The zero Principal is anonymous.
type Principal struct {
	ID      int64  // of the account; 0 = anonymous
	Name    string // of a robot "<group>/<robot>", of a workload "<group>/<rule>:<subject>"
	Kind    Kind
	TokenID int64    // of the token behind the login, 0 = password
	Token   string   // its name
	Ceiling *Ceiling // what the token in use is limited to; nil = everything the user may
	Session int64    // of the browser, 0 = none
	Bearer  bool     // came with a bearer token of the token endpoint: another one may cover more

	personal *Ceiling      // of what is behind a bearer or refresh token: a personal token, or an exchanged one
	subject  string        // of a workload
	life     time.Duration // of what an exchange gives a workload
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
	Audit      Action = "audit"      // read events
	Own        Action = "own"        // members, policies, credentials, settings of a group
	Administer Action = "administer" // the instance
)

type principalKey struct{}

// WithPrincipal returns a context that carries the principal of a request.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return &principalContext{ctx, p}
}

// principalContext holds the value itself, which context.WithValue would put into an allocation of its own.
type principalContext struct {
	context.Context
	principal Principal
}

// Value implements context.Context.
func (c *principalContext) Value(key any) any {
	if _, ok := key.(principalKey); ok {
		return &c.principal
	}
	return c.Context.Value(key)
}

// PrincipalFrom returns the principal of a request; Nobody when none was put there.
func PrincipalFrom(ctx context.Context) Principal {
	if p, ok := ctx.Value(principalKey{}).(*Principal); ok {
		return *p
	}
	return Nobody()
}

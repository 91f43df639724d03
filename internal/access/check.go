package access

import (
	"context"
	"fmt"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

// Request is one question to Check.
type Request struct {
	Action Action
	Path   string // "<group>/<…>", at most what the client named; empty for Administer, and for Catalog of everything
	Public bool   // the registry or hosted prefix at Path allows anonymous pull
}

// Cause is the kind of reason behind a Decision.
type Cause string

// Causes.
const (
	Granted   Cause = "granted"   // a grant covers it
	Public    Cause = "public"    // anybody may pull here
	Login     Cause = "login"     // nobody is logged in
	Ungranted Cause = "ungranted" // no grant covers it
	Limited   Cause = "limited"   // a grant does, but the token in use is limited
)

// Decision is the answer of Check.
type Decision struct {
	Allowed bool
	Cause   Cause
	Why     string // one sentence for clients, logs and explain; the same whether or not anything exists at the path
	retry   bool   // another bearer token may do
}

// Check decides whether p may act: the one place that does. It denies by default. A grant covers its path and all below
// it, on borders of segments. The error is UNAVAILABLE when the grants cannot be read; nothing is allowed then.
func (d *Directory) Check(ctx context.Context, p Principal, r Request) (Decision, error) {
	s, err := d.current(ctx)
	if err != nil {
		return Decision{}, err
	}
	return s.check(p, r), nil
}

func (s *snapshot) check(p Principal, r Request) Decision {
	least, known := r.Action.needs()
	if !known || !validRequestPath(r) {
		return deny(p, r, least)
	}
	if p.Kind == Operator {
		return Decision{Allowed: true, Cause: Granted, Why: "the local socket may do everything"}
	}
	if r.Action == Pull && r.Public {
		return Decision{Allowed: true, Cause: Public, Why: "anybody may pull here"}
	}
	u := s.users[p.ID]
	if p.IsAnonymous() || u == nil || u.disabled {
		return deny(p, r, least)
	}
	g, ok := s.best(u, r.Path)
	everything := r.Action == Catalog && r.Path == "" // for everybody with an account: each name is checked afterwards
	if !everything && (!ok || g.role.rank() < least.rank()) {
		return deny(p, r, least)
	}
	if !p.personal.Allows(r.Action, r.Path) {
		return limited(p, r, p.personal)
	}
	if !p.Ceiling.Allows(r.Action, r.Path) {
		return limited(p, r, p.Ceiling)
	}
	if everything {
		return Decision{Allowed: true, Cause: Granted, Why: p.Name + " may list what grants show"}
	}
	return Decision{Allowed: true, Cause: Granted, Why: g.why}
}

// best is the strongest of the user's grants that cover path.
func (s *snapshot) best(u *user, path string) (grant, bool) {
	group, below, _ := strings.Cut(path, "/")
	var best grant
	for _, g := range u.grants {
		if g.group != 0 {
			// A group that does not exist has id 0 here and so matches no grant.
			if id := s.groups[group]; id != g.group || !covers(g.path, below) {
				continue
			}
		}
		if g.role.rank() > best.role.rank() {
			best = g
		}
	}
	return best, best.role != ""
}

func (s *snapshot) scopeName(g grant) string {
	switch {
	case g.group == 0:
		return "the instance"
	case g.path == "":
		return s.names[g.group]
	}
	return s.names[g.group] + "/" + g.path
}

func validRequestPath(r Request) bool {
	switch r.Action {
	case Administer:
		return r.Path == ""
	case Catalog:
		return r.Path == "" || validPath(r.Path)
	}
	return validPath(r.Path)
}

// validPath wants a repository name or the beginning of one, so that no "..", empty segment or odd byte reaches a comparison.
func validPath(path string) bool { return oci.ValidRepository(path) }

func deny(p Principal, r Request, least Role) Decision {
	what := describe(r)
	if p.IsAnonymous() {
		return Decision{Cause: Login, Why: "log in to " + what}
	}
	why := fmt.Sprintf("%s may not %s", p.Name, what)
	if group, _, _ := strings.Cut(r.Path, "/"); group != "" && least != "" {
		why += fmt.Sprintf("; it takes the role %s, which an owner of %s can grant", least, group)
	} else if least == Admin {
		why += "; it takes an administrator"
	}
	return Decision{Cause: Ungranted, Why: why}
}

// limited tells a client with a bearer token to come back with another one, as registry clients do by themselves; with a
// personal token only a person can help.
func limited(p Principal, r Request, by *Ceiling) Decision {
	if p.Bearer && by == p.Ceiling {
		return Decision{Cause: Limited, Why: "the bearer token does not cover this: ask for one to " + describe(r), retry: true}
	}
	return Decision{Cause: Limited, Why: fmt.Sprintf("token %s is limited to %s; to %s, create another with `weir token create`",
		p.Token, by, describe(r))}
}

func describe(r Request) string {
	switch r.Action {
	case Pull:
		return "pull " + r.Path
	case Push:
		return "push to " + r.Path
	case Delete:
		return "delete in " + r.Path
	case Catalog:
		return strings.TrimSpace("list repositories " + r.Path)
	case View:
		return "see " + r.Path
	case Configure:
		return "configure " + r.Path
	case Own:
		return "change members, policies or credentials of " + r.Path
	case Administer:
		return "administer the instance"
	}
	return "do this"
}

// Err is nil for an allowed Decision, else the protocol error to answer: UNAUTHORIZED, which needs a challenge, when another
// login could help, DENIED when not.
func (d Decision) Err() error {
	switch {
	case d.Allowed:
		return nil
	case d.retry:
		return oci.NewError(oci.CodeUnauthorized, d.Why).WithCause(ErrInsufficientScope)
	case d.Cause == Login:
		return oci.NewError(oci.CodeUnauthorized, d.Why)
	}
	return oci.NewError(oci.CodeDenied, d.Why)
}

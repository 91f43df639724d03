package access

import (
	"context"
	"fmt"
	"strings"

	"github.com/weir-registry/weir/internal/event"
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
	Disabled  Cause = "disabled"  // the account is disabled
)

// Decision is the answer of Check.
type Decision struct {
	Allowed bool
	Cause   Cause
	Why     string // one sentence for clients, logs and explain; the same whether or not anything exists at the path
	Role    Role   // that covers it, with Cause Granted or Limited; empty for what takes none
	Scope   string // of the grant: "<group>/<path>", or "the instance"
	retry   bool   // another bearer token may do
	refused Request
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
	if r.Action.bit() == 0 || !validRequestPath(r) {
		return deny(p, r)
	}
	if p.Kind == Operator {
		return Decision{Allowed: true, Cause: Granted, Why: "the local socket may do everything"}
	}
	var u *user
	if p.ID != 0 {
		if u = s.users[p.ID]; u != nil && u.disabled {
			return Decision{Cause: Disabled, Why: u.name + " is disabled", refused: r}
		}
	}
	if r.Action == Pull && r.Public {
		return Decision{Allowed: true, Cause: Public, Why: "anybody may pull here"}
	}
	if u == nil {
		return deny(p, r)
	}
	everything := r.Action == Catalog && r.Path == "" // for everybody with an account: each name is checked afterwards
	g := s.covering(u, r)
	if g == nil && !everything {
		return deny(p, r)
	}
	d := Decision{Allowed: true, Cause: Granted}
	if g != nil {
		d.Role, d.Scope, d.Why = g.role, g.scope, g.why
	} else {
		d.Why = p.Name + " may list what grants show"
	}
	for _, c := range [...]*Ceiling{p.personal, p.Ceiling} {
		if !c.Allows(r.Action, r.Path) {
			return limited(p, r, c, d)
		}
	}
	return d
}

// covering is a grant of the user that covers the request, nil if there is none: the narrowest, and of those at one place the
// weakest, so that what a decision names does not depend on the order of rows.
func (s *snapshot) covering(u *user, r Request) (best *grant) {
	group, below, _ := strings.Cut(r.Path, "/")
	id := s.groups[group] // 0 for a group that does not exist: no grant is of that
	for i := range u.grants {
		g := &u.grants[i]
		if !g.actions.has(r.Action) || g.group != 0 && (g.group != id || !covers(g.path, below)) {
			continue
		}
		if best == nil || narrower(g, best) {
			best = g
		}
	}
	return best
}

func narrower(a, b *grant) bool {
	if (a.group == 0) != (b.group == 0) {
		return b.group == 0
	}
	return len(a.path) > len(b.path) || len(a.path) == len(b.path) && a.actions < b.actions
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

func deny(p Principal, r Request) Decision {
	what := describe(r)
	if p.IsAnonymous() {
		return Decision{Cause: Login, Why: "log in to " + what, refused: r}
	}
	why := fmt.Sprintf("%s may not %s", p.Name, what)
	role := least(r.Action)
	if group, _, _ := strings.Cut(r.Path, "/"); group != "" && role != "" {
		why += fmt.Sprintf("; it takes the role %s, which an owner of %s can grant", role, group)
	} else if role == Admin {
		why += "; it takes an administrator"
	}
	return Decision{Cause: Ungranted, Why: why, refused: r}
}

// limited tells a client with a bearer token to come back with another one, as registry clients do by themselves; with a
// personal token only a person can help.
func limited(p Principal, r Request, by *Ceiling, granted Decision) Decision {
	d := Decision{Cause: Limited, Role: granted.Role, Scope: granted.Scope, refused: r}
	if p.Bearer && by == p.Ceiling {
		d.Why, d.retry = "the bearer token does not cover this: ask for one to "+describe(r), true
		return d
	}
	d.Why = fmt.Sprintf("token %s is limited to %s; to %s, create another with `weir token create`", p.Token, by, describe(r))
	if p.Token == "" {
		d.Why = fmt.Sprintf("the token is limited to %s; to %s, get another", by, describe(r))
	}
	return d
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
	case Audit:
		return "read the events of " + r.Path
	case Own:
		return "act as an owner of " + r.Path
	case Administer:
		return "administer the instance"
	}
	return "do this"
}

// Err is nil for an allowed Decision, else the protocol error to answer: UNAUTHORIZED, which needs a challenge, when another
// login could help, DENIED when not.
func (d Decision) Err() error {
	var cause error
	code := oci.CodeUnauthorized
	switch {
	case d.Allowed:
		return nil
	case d.retry:
		cause = ErrInsufficientScope
	case d.Cause != Login && d.Cause != Disabled:
		code = oci.CodeDenied
	}
	return oci.NewError(code, d.Why).WithCause(&event.RefusedError{Refusal: d.refusal(), Cause: cause})
}

// refusal is what the trail is told of a denial: why, without a name of anybody.
func (d Decision) refusal() event.Refusal {
	told := toldDecision{Cause: d.Cause, Action: d.refused.Action, Path: d.refused.Path, Role: d.Role, Scope: d.Scope}
	out := event.Refusal{Path: d.refused.Path}
	switch d.Cause {
	case Disabled:
		out.Reason = "the account is disabled"
	case Login:
		out.Reason = "nobody is logged in"
	case Limited:
		out.Reason = "a grant covers it, and the token in use does not"
	default:
		out.Reason = "no grant covers it"
		if told.Takes = least(d.refused.Action); told.Takes != "" {
			out.Reason += fmt.Sprintf(": it takes the role %s", told.Takes)
		}
	}
	out.Decision = map[string]toldDecision{"access": told}
	return out
}

// toldDecision is a denial in the trail.
type toldDecision struct {
	Allowed bool   `json:"allowed"`
	Cause   Cause  `json:"cause"`
	Action  Action `json:"action"`
	Path    string `json:"path,omitempty"`
	Takes   Role   `json:"takes,omitempty"` // the role that would do
	Role    Role   `json:"role,omitempty"`  // of the grant that covers it
	Scope   string `json:"scope,omitempty"`
}

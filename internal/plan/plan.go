// Package plan turns a declaration (package desired) into a change of the definitions in the database: it checks the whole of
// it, tells every problem at once, shows the difference, and makes it so in one transaction. Package serve/api calls it.
//
// A plan works on names: Describe gives the present state in the form of a declaration, what is declared is laid over it, and
// the difference of the two is the plan. So an unchanged declaration is an empty plan, and what a dry run shows is what
// happens, the database being the same. Secrets are compared by keyed fingerprint and never shown.
package plan

import (
	"fmt"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// Problem is one reason why a declaration cannot be applied.
type Problem struct {
	Path    string // of the field, such as "groups[acme].upstreams[hub].url"
	Message string // what is wrong and how to put it right
}

// Error implements error.
func (p Problem) Error() string { return p.Path + ": " + p.Message }

// InvalidError holds everything that is wrong with a declaration. Nothing has been changed.
type InvalidError struct{ Problems []Problem }

// Error implements error.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Action is what happens to a definition.
type Action string

// Actions.
const (
	Add    Action = "add"
	Modify Action = "change"
	Remove Action = "remove"
)

// Kinds of definition in a plan.
const (
	KindGroup      = "group"
	KindCredential = "credential"
	KindUpstream   = "upstream"
	KindRegistry   = "registry"
	KindHosted     = "hosted"
	KindBinding    = "host_binding"
	KindRole       = "role"
	KindRobot      = "robot"
	KindTrustRule  = "trust_rule"
	KindGrant      = "grant"
)

// Change is one definition that a plan adds, changes or removes.
type Change struct {
	Action Action  `json:"action" doc:"add, change or remove"`
	Group  string  `json:"group"`
	Kind   string  `json:"kind"`
	Name   string  `json:"name"`
	Fields []Field `json:"fields,omitempty"`
	Note   string  `json:"note,omitempty" doc:"A consequence worth knowing"`
}

// Field is one field of a changed definition. Secrets show only that they are set or changed.
type Field struct {
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Plan is a checked difference between what is and what is declared.
type Plan struct {
	Changes []Change
	After   []State // the groups of the plan as they are now, or would be after a dry run
	targets []*target
}

// target is a group as it is to be.
type target struct {
	now      desired.Group // empty for a new group
	want     desired.Group
	declared desired.Group
	takes    []access.Right // to be told what of it changes
	remove   bool           // the group itself goes
}

// Empty reports that nothing is to be done.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

var signs = map[Action]string{Add: "+", Modify: "~", Remove: "-"}

// Text shows the plan to people.
func (p *Plan) Text() string {
	if p.Empty() {
		return "Nothing to do: everything is as declared.\n"
	}
	var b strings.Builder
	group, count := "", map[Action]int{}
	for _, c := range p.Changes {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&b, "group %s\n", group)
		}
		count[c.Action]++
		fmt.Fprintf(&b, "  %s %s\n", signs[c.Action], title(c))
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "      %s\n", f)
		}
		if c.Note != "" {
			fmt.Fprintf(&b, "      note: %s\n", c.Note)
		}
	}
	fmt.Fprintf(&b, "%d to add, %d to change, %d to remove\n", count[Add], count[Modify], count[Remove])
	return b.String()
}

func title(c Change) string {
	if c.Kind == KindGroup {
		return "the group"
	}
	if c.Name == "" {
		return c.Kind + " (all of the group)"
	}
	return c.Kind + " " + c.Name
}

// String shows the field on one line.
func (f Field) String() string {
	switch {
	case f.Old == "":
		return f.Name + ": " + f.New
	case f.New == "":
		return f.Name + ": " + f.Old + " → (none)"
	}
	return f.Name + ": " + f.Old + " → " + f.New
}

package access

import (
	"cmp"
	"errors"
	"slices"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
)

// May tells whether somebody may act at a path, which is empty for Administer. The error is DENIED with what it takes, or why that
// cannot be told.
type May func(action Action, path string) error

// Right is what a part of a change takes.
type Right struct {
	At     string // the part
	Action Action
	Path   string
	Text   string // of the denial; empty: what Check says
}

// Lack is a right that somebody does not have.
type Lack struct {
	At, Message string
	Cause       error // what May said, for the trail
}

// ToGive lists what it takes to give others actions at a path, which is empty for everywhere: nobody gives away more than he has, and
// what counts everywhere is for administrators to give. Whatever gives, be it a grant, a robot, a role or a token, must ask for these.
func ToGive(at, path string, actions []Action) (out []Right) {
	for _, a := range actions {
		if a.bit() == 0 {
			continue // no action, so that there is nothing to give: whoever keeps roles refuses it
		}
		r := Right{at, a, path, "you cannot give what you do not have: " + string(a)}
		if path != "" {
			r.Text += " at " + path
		}
		if a == Administer || path == "" {
			r.Action, r.Path = Administer, ""
		}
		out = append(out, r)
	}
	return out
}

// Lacking asks for every right, and returns those that are missing, each message once. The error is one of may that is not DENIED.
func Lacking(rights []Right, may May) (lacks []Lack, err error) {
	type question struct {
		action Action
		path   string
	}
	asked := map[question]error{}
	for _, r := range rights {
		q := question{r.Action, r.Path}
		err, known := asked[q]
		if !known {
			err = may(q.action, q.path)
			asked[q] = err
		}
		denied, ok := errors.AsType[*oci.Error](err)
		switch {
		case err == nil:
			continue
		case !ok || denied.Code != oci.CodeDenied:
			return nil, err
		}
		l := Lack{r.At, cmp.Or(r.Text, denied.Message), err}
		if told, ok := event.RefusalOf(err); ok && r.Text != "" {
			told.Reason = r.Text
			l.Cause = &event.RefusedError{Refusal: told, Cause: err}
		}
		if !slices.ContainsFunc(lacks, func(o Lack) bool { return o.Message == l.Message }) {
			lacks = append(lacks, l)
		}
	}
	return lacks, nil
}

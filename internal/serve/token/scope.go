package token

import (
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
)

// Bounds of what one request may ask for; clients ask for one to three scopes.
const (
	maxScopes      = 20
	maxScopeLength = 1024
)

// scope is one parsed scope: "repository:samalba/my-app:pull,push" or "registry:catalog:*".
type scope struct {
	catalog bool
	name    string // of the repository
	actions []access.Action
}

var errScopes = oci.NewError(oci.CodeUnsupported, "too many scopes, or too long ones").WithStatus(400)

// parseScopes reads the scope parameters; each may hold several, separated by spaces. What is not understood is left out,
// as the specification wants. The same repository named twice becomes one scope.
func parseScopes(params []string) ([]scope, error) {
	var out []scope
	n := 0
	for _, param := range params {
		for text := range strings.FieldsSeq(param) {
			if n++; n > maxScopes || len(text) > maxScopeLength {
				return nil, errScopes
			}
			s, ok := parseScope(text)
			if !ok {
				continue
			}
			same := slices.IndexFunc(out, func(o scope) bool { return o.catalog == s.catalog && o.name == s.name })
			if same < 0 {
				out = append(out, s)
				continue
			}
			for _, a := range s.actions {
				out[same].add(a)
			}
		}
	}
	return out, nil
}

// parseScope reads type[(class)]:name:actions. A name may hold colons, for a port; type and actions may not.
func parseScope(text string) (scope, bool) {
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if first < 0 || first == last {
		return scope{}, false
	}
	kind, name, actions := text[:first], text[first+1:last], text[last+1:]
	kind, _, _ = strings.Cut(kind, "(")
	switch {
	case kind == "registry" && name == "catalog":
		return scope{catalog: true, actions: []access.Action{access.Catalog}}, true
	case kind != "repository" || !oci.ValidRepository(name):
		return scope{}, false
	}
	s := scope{name: name}
	for action := range strings.SplitSeq(actions, ",") {
		switch action {
		case "pull", "push", "delete":
			s.add(access.Action(action))
		case "*":
			s.add(access.Pull)
			s.add(access.Push)
			s.add(access.Delete)
		}
	}
	return s, len(s.actions) > 0
}

func (s *scope) add(a access.Action) {
	if !slices.Contains(s.actions, a) {
		s.actions = append(s.actions, a)
	}
}

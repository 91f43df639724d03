package access

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Ceiling limits a token below what its user may do. The zero Ceiling allows nothing.
type Ceiling struct {
	Scopes []Scope `json:"scopes"`
}

// Scope allows actions at a path.
type Scope struct {
	Path    string   `json:"path"`            // "<group>/<…>"; empty = everywhere
	Exact   bool     `json:"exact,omitempty"` // only the path itself, not what is below it
	Actions []Action `json:"actions"`
}

const maxScopes = 100

// Allows reports whether the ceiling lets the action through at path. nil lets everything through. What may be pulled may
// also be listed; a list of everything, Catalog without a path, is filtered name by name afterwards.
func (c *Ceiling) Allows(action Action, path string) bool {
	if c == nil {
		return true
	}
	for _, s := range c.Scopes {
		named := slices.Contains(s.Actions, action) || (action == Catalog && slices.Contains(s.Actions, Pull))
		if named && (s.covers(path) || (action == Catalog && path == "")) {
			return true
		}
	}
	return false
}

func (s Scope) covers(path string) bool {
	if s.Exact {
		return path == s.Path
	}
	return covers(s.Path, path)
}

// covers reports whether path is prefix or lies below it, on borders of segments: "a/b" covers "a/b/c", not "a/bc".
func covers(prefix, path string) bool {
	if prefix == "" {
		return true
	}
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// encode is the form of the tokens.scope column: JSON, or empty for nil.
func (c *Ceiling) encode() (string, error) {
	if c == nil {
		return "", nil
	}
	if len(c.Scopes) == 0 || len(c.Scopes) > maxScopes {
		return "", fmt.Errorf("%w: 1 to %d scopes", ErrCeiling, maxScopes)
	}
	for _, s := range c.Scopes {
		if len(s.Actions) == 0 || (s.Path != "" && !validPath(s.Path)) {
			return "", fmt.Errorf("%w: %q", ErrCeiling, s.Path)
		}
		for _, a := range s.Actions {
			if a.bit() == 0 {
				return "", fmt.Errorf("%w: action %q", ErrCeiling, a)
			}
		}
	}
	b, err := json.Marshal(c)
	return string(b), err
}

// decodeCeiling undoes encode. What does not decode allows nothing.
func decodeCeiling(text string) *Ceiling {
	if text == "" {
		return nil
	}
	c := &Ceiling{}
	if err := json.Unmarshal([]byte(text), c); err != nil {
		return &Ceiling{}
	}
	return c
}

// String is for messages: "pull in acme/app".
func (c *Ceiling) String() string {
	if c == nil {
		return "everything"
	}
	var parts []string
	for _, s := range c.Scopes {
		text := joinActions(s.Actions)
		if s.Path != "" {
			text += " in " + s.Path
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

func joinActions(actions []Action) string {
	words := make([]string, len(actions))
	for i, a := range actions {
		words[i] = string(a)
	}
	return strings.Join(words, ", ")
}

package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/plan/desired"
)

// difference lists what has to happen to a group. changedSecrets names the credentials whose secret is new.
func difference(t *target, exists bool, changedSecrets map[string]bool) []Change {
	now, want := t.now, t.want
	var out []Change
	switch {
	case t.remove:
		out = append(out, Change{Action: Remove, Group: want.Name, Kind: KindGroup, Name: want.Name})
	case !exists:
		out = append(out, Change{Action: Add, Group: want.Name, Kind: KindGroup, Name: want.Name, Fields: fields(nil, ownFields(want))})
	case *now.Enabled != *want.Enabled:
		out = append(out, Change{Action: Modify, Group: want.Name, Kind: KindGroup, Name: want.Name, Fields: fields(ownFields(now), ownFields(want))})
	}
	out = append(out, compare(want.Name, KindCredential, now.Credentials, want.Credentials, credentialName)...)
	out = withSecrets(out, want, changedSecrets)
	out = append(out, withEpochs(compare(want.Name, KindUpstream, now.Upstreams, want.Upstreams, upstreamName), now, want)...)
	out = append(out, withoutMembers(compare(want.Name, KindRegistry, now.Registries, want.Registries, registryName), want)...)
	out = append(out, compare(want.Name, KindHosted, now.Hosted, want.Hosted, hostedName)...)
	out = append(out, compare(want.Name, KindBinding, now.HostBindings, want.HostBindings, bindingName)...)
	out = append(out, compare(want.Name, KindRole, now.Roles, want.Roles, roleName)...)
	out = append(out, ending(compare(want.Name, KindRobot, now.Robots, want.Robots, robotName))...)
	out = append(out, ending(compare(want.Name, KindTrustRule, now.TrustRules, want.TrustRules, trustRuleName))...)
	return append(out, compare(want.Name, KindGrant, now.Grants, want.Grants, grantName)...)
}

// withoutMembers warns of registries that cannot answer.
func withoutMembers(changes []Change, want desired.Group) []Change {
	for i, c := range changes {
		if r, ok := find(want.Registries, registryName, c.Name); ok && len(r.Members) == 0 {
			changes[i].Note = "warning: it has no members, so every pull through it answers 404"
		}
	}
	return changes
}

// ending tells what a new robot or trust rule by the old name does not bring back.
func ending(changes []Change) []Change {
	for i := range changes {
		if changes[i].Action == Remove {
			changes[i].Note = "its grants go with it, and its tokens end for good"
		}
	}
	return changes
}

const noteEpoch = "another place or login: what is cached is no longer served, and is fetched anew"

// withEpochs adds what happens to caches; a credential's new user name shows in no field of the upstream.
func withEpochs(changes []Change, now, want desired.Group) []Change {
	for _, u := range want.Upstreams {
		if !newEpoch(now, want, u.Name) {
			continue
		}
		i := slices.IndexFunc(changes, func(x Change) bool { return x.Name == u.Name })
		if i < 0 {
			changes = append(changes, Change{Action: Modify, Group: want.Name, Kind: KindUpstream, Name: u.Name})
			i = len(changes) - 1
		}
		changes[i].Note = noteEpoch
	}
	return changes
}

func ownFields(g desired.Group) any { return map[string]any{"enabled": g.Enabled} }

// compare lists the differences of two lists of definitions.
func compare[T any](group, kind string, now, want []T, name func(T) string) []Change {
	var out []Change
	for _, w := range want {
		n, exists := find(now, name, name(w))
		if !exists {
			out = append(out, Change{Action: Add, Group: group, Kind: kind, Name: name(w), Fields: fields(nil, w)})
		} else if f := fields(n, w); len(f) > 0 {
			out = append(out, Change{Action: Modify, Group: group, Kind: kind, Name: name(w), Fields: f})
		}
	}
	for _, n := range now {
		if _, kept := find(want, name, name(n)); !kept {
			out = append(out, Change{Action: Remove, Group: group, Kind: kind, Name: name(n)})
		}
	}
	return out
}

// withSecrets adds what happens to secrets, which the comparison of fields does not see.
func withSecrets(changes []Change, want desired.Group, changed map[string]bool) []Change {
	for _, c := range want.Credentials {
		if !changed[c.Name] {
			continue
		}
		i := slices.IndexFunc(changes, func(x Change) bool { return x.Kind == KindCredential && x.Name == c.Name })
		if i < 0 {
			changes = append(changes, Change{Action: Modify, Group: want.Name, Kind: KindCredential, Name: c.Name})
			i = len(changes) - 1
		}
		text := "changed"
		if changes[i].Action == Add {
			text = "set"
		}
		changes[i].Fields = append(changes[i].Fields, Field{Name: "secret", New: text})
	}
	return changes
}

// fields lists the fields in which two definitions of a kind differ, by name. They are compared in their JSON form, which
// is the declared one; identity and secrets are left out.
func fields(now, want any) []Field {
	a, b := flat(now), flat(want)
	names := slices.Sorted(maps.Keys(b))
	for name := range a {
		if _, both := b[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []Field
	for _, name := range names {
		if !bytes.Equal(a[name], b[name]) {
			out = append(out, Field{Name: name, Old: show(a[name]), New: show(b[name])})
		}
	}
	return out
}

func flat(v any) map[string]json.RawMessage {
	if v == nil {
		return nil
	}
	text, err := json.Marshal(v)
	var values map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(text, &values)
	}
	if err != nil { // declarations are plain data
		panic(fmt.Sprintf("plan: %T has no JSON form: %v", v, err))
	}
	delete(values, "name")
	delete(values, "password")
	return values
}

const maxShown = 400 // bytes of a text

// show writes a value the short way that YAML has. A text of several lines or a long one, such as a certificate, shows its size and
// sum.
func show(raw json.RawMessage) string {
	var v any
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return ""
	}
	return flow(v)
}

func flow(v any) string {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "\n") || len(v) > maxShown {
			sum := sha256.Sum256([]byte(v))
			return fmt.Sprintf("%d bytes, sha256 %x…", len(v), sum[:8])
		}
		return v
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = flow(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+": "+flow(v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}

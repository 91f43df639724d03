package plan

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// DeniedError is what of a change takes more than who makes it has. Nothing has been changed.
type DeniedError struct {
	Problems []Problem
	Cause    error // the first refusal, for the trail
}

// Unwrap returns the cause.
func (e *DeniedError) Unwrap() error { return e.Cause }

// Error implements error.
func (e *DeniedError) Error() string { return (&InvalidError{e.Problems}).Error() }

// part is where a kind of definition stands in a declaration, and what it takes to change one.
type part struct {
	section string
	takes   access.Action
}

var parts = map[string]part{
	KindGroup:      {"", access.Own},
	KindCredential: {"credentials", access.Own},
	KindUpstream:   {"upstreams", access.Configure},
	KindRegistry:   {"registries", access.Configure},
	KindHosted:     {"hosted", access.Configure},
	KindBinding:    {"host_bindings", access.Configure},
	KindRole:       {"roles", access.Own},
	KindRobot:      {"robots", access.Own},
	KindTrustRule:  {"trust_rules", access.Own},
	KindGrant:      {"grants", access.Own},
}

// rights lists what the changes of a group take. Nobody gives away more than he has.
func (r *run) rights(t *target, changes []Change) []access.Right {
	name, out := t.want.Name, t.takes
	if r.group(name).ID == 0 {
		return []access.Right{{At: groupPath(name), Action: access.Administer}}
	}
	for _, c := range changes {
		path := name
		if c.Kind == KindGrant {
			_, below, _ := strings.Cut(c.Name, " ")
			path = Below(name, below)
		}
		if out = append(out, access.Right{At: c.at(), Action: parts[c.Kind].takes, Path: path}); c.Action != Remove {
			out = append(out, r.given(t, c)...)
		}
	}
	if !t.remove && r.owned(t.now) && !r.owned(t.want) {
		out = append(out, access.Right{At: groupPath(name) + ".grants", Action: access.Administer, Text: textOwner})
	}
	return out
}

const textOwner = "the group would have no owner: make somebody else one before, or have an administrator make this change"

// owned reports whether a person who can log in owns all of a group.
func (r *run) owned(g desired.Group) bool {
	return r.mapped[g.Name] || slices.ContainsFunc(g.Grants, func(v desired.Grant) bool {
		return v.Path == "" && v.Role == string(access.Owner) && !r.disabled[v.User]
	})
}

// at is where what changes stands in a declaration.
func (c Change) at() string {
	switch group := groupPath(c.Group); c.Kind {
	case KindGroup:
		return group
	case KindGrant:
		user, _, _ := strings.Cut(c.Name, " ")
		return at(group+".grants", user)
	default:
		return at(group+"."+parts[c.Kind].section, c.Name)
	}
}

// declaredRights is for what a declaration only has to name to learn of: an answer that nothing is to be done tells who may what,
// and whether a password is the one in use. So it takes an owner even where it changes nothing.
func declaredRights(declared desired.Group, prune bool) (out []access.Right) {
	path := groupPath(declared.Name)
	own := func(at string) { out = append(out, access.Right{At: at, Action: access.Own, Path: declared.Name}) }
	if prune {
		own(path)
	}
	for _, c := range declared.Credentials {
		if c.Password != nil {
			own(at(path+".credentials", c.Name) + ".password")
		}
	}
	for _, v := range declared.Robots {
		own(at(path+".robots", v.Name))
	}
	for _, v := range declared.TrustRules {
		own(at(path+".trust_rules", v.Name))
	}
	for _, g := range declared.Grants {
		out = append(out, access.Right{At: at(path+".grants", g.User), Action: access.Own, Path: Below(declared.Name, g.Path)})
	}
	return out
}

// Below is the path of a grant; the group's for one that is none, which the checker refuses.
func Below(group, path string) string {
	if path == "" || !oci.ValidRepository(path) {
		return group
	}
	return group + "/" + path
}

// given lists what a new or changed definition gives to others, or sends elsewhere.
func (r *run) given(t *target, c Change) (out []access.Right) {
	g, at := t.want, c.at()
	switch c.Kind {
	case KindUpstream:
		if u, ok := find(g.Upstreams, upstreamName, c.Name); ok && !knownPlace(t.now, u) {
			out = append(out, access.Right{At: at + ".credential", Action: access.Own, Path: g.Name, Text: textPlace})
		}
	case KindRole:
		if v, ok := find(g.Roles, roleName, c.Name); ok {
			out = access.ToGive(at+".actions", g.Name, roleSet(0, v).Actions)
		}
	case KindRobot:
		if v, ok := find(g.Robots, robotName, c.Name); ok {
			out = r.givingAll(t, at, v.Grants)
		}
	case KindTrustRule:
		if v, ok := find(g.TrustRules, trustRuleName, c.Name); ok {
			out = r.givingAll(t, at, v.Grants)
		}
	case KindGrant:
		if v, ok := find(g.Grants, grantName, c.Name); ok {
			out = access.ToGive(at+".role", Below(g.Name, v.Path), r.actions(t, v.Role))
		}
	}
	return out
}

func (r *run) givingAll(t *target, at string, given []desired.Given) (out []access.Right) {
	for i, v := range given {
		out = append(out, access.ToGive(fmt.Sprintf("%s.grants[%d].role", at, i), Below(t.want.Name, v.Path), r.actions(t, v.Role))...)
	}
	return out
}

// actions are those that a role allows in the group, once the change is made.
func (r *run) actions(t *target, role string) []access.Action {
	if v, ok := find(t.want.Roles, roleName, role); ok {
		return roleSet(0, v).Actions
	}
	if v, ok := find(r.roles[0], roleName, role); ok {
		return roleSet(0, v).Actions
	}
	return access.Role(role).Actions()
}

const textPlace = "the credential is not known to go there: an owner of the group lists the host in the credential's hosts, or makes this change"

// knownPlace reports whether an upstream sends its credential where an owner wants it: to a place where an upstream with the credential
// already is, or to a host that owners have listed for it, by TLS with the usual certificates. Without a credential all is known.
func knownPlace(before desired.Group, v desired.Upstream) bool {
	if v.Credential == "" {
		return true
	}
	place := func(u desired.Upstream) string {
		parsed, err := url.Parse(strings.TrimRight(u.URL, "/"))
		if err != nil {
			return ""
		}
		return strings.ToLower(parsed.Scheme + "://" + parsed.Host)
	}
	sameTrust := func(u desired.Upstream) bool {
		return u.Credential == v.Credential && place(u) == place(v) && strings.TrimSpace(string(u.CA)) == strings.TrimSpace(string(v.CA)) &&
			subset(v.RealmHosts, u.RealmHosts)
	}
	if slices.ContainsFunc(before.Upstreams, sameTrust) {
		return true
	}
	c, _ := find(before.Credentials, credentialName, v.Credential)
	host, secure := strings.CutPrefix(place(v), "https://")
	return secure && v.CA == "" && slices.Contains(c.Hosts, strings.TrimSuffix(host, ":443")) && subset(v.RealmHosts, c.Hosts)
}

func subset(of, all []string) bool {
	return !slices.ContainsFunc(of, func(s string) bool { return !slices.Contains(all, strings.ToLower(s)) })
}

// Allow is *DeniedError with the rights that are missing; nil for may allows all.
func Allow(may access.May, rights []access.Right) error {
	if may == nil {
		return nil
	}
	lacks, err := access.Lacking(rights, may)
	if err != nil || len(lacks) == 0 {
		return err
	}
	out := &DeniedError{Cause: lacks[0].Cause}
	for _, l := range lacks {
		out.Problems = append(out.Problems, Problem{Path: l.At, Message: l.Message})
	}
	return out
}

package plan

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// May tells whether who makes a change may act at a path, which is empty for access.Administer. The error is DENIED with what it takes,
// or why that cannot be told.
type May func(action access.Action, path string) error

// DeniedError is what of a change takes more than who makes it has. Nothing has been changed.
type DeniedError struct{ Problems []Problem }

// Error implements error.
func (e *DeniedError) Error() string { return (&InvalidError{e.Problems}).Error() }

// right is what a part of a change takes.
type right struct {
	at     string // the part
	action access.Action
	path   string
	text   string // of the denial; empty: what access says
}

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
func (r *run) rights(t *target, changes []Change) []right {
	name, out := t.want.Name, t.takes
	if r.group(name).ID == 0 {
		return []right{{at: groupPath(name), action: access.Administer}}
	}
	for _, c := range changes {
		path := name
		if c.Kind == KindGrant {
			_, below, _ := strings.Cut(c.Name, " ")
			path = belowGroup(name, below)
		}
		if out = append(out, right{at: c.at(), action: parts[c.Kind].takes, path: path}); c.Action != Remove {
			out = append(out, r.given(t, c)...)
		}
	}
	if !t.remove && r.owned(t.now) && !r.owned(t.want) {
		out = append(out, right{groupPath(name) + ".grants", access.Administer, "", textOwner})
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
func declaredRights(declared desired.Group, prune bool) (out []right) {
	path := groupPath(declared.Name)
	own := func(at string) { out = append(out, right{at: at, action: access.Own, path: declared.Name}) }
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
		out = append(out, right{at: at(path+".grants", g.User), action: access.Own, path: belowGroup(declared.Name, g.Path)})
	}
	return out
}

// belowGroup is the path of a grant; the group's for one that is none, which the checker refuses.
func belowGroup(group, path string) string {
	if path == "" || !oci.ValidRepository(path) {
		return group
	}
	return group + "/" + path
}

// given lists what a new or changed definition gives to others, or sends elsewhere.
func (r *run) given(t *target, c Change) (out []right) {
	g, at := t.want, c.at()
	switch c.Kind {
	case KindUpstream:
		if u, ok := find(g.Upstreams, upstreamName, c.Name); ok && !knownPlace(t.now, u) {
			out = append(out, right{at + ".credential", access.Own, g.Name, textPlace})
		}
	case KindRole:
		if v, ok := find(g.Roles, roleName, c.Name); ok {
			out = giving(at+".actions", g.Name, v.Actions)
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
			out = giving(at+".role", belowGroup(g.Name, v.Path), r.actions(t, v.Role))
		}
	}
	return out
}

func (r *run) givingAll(t *target, at string, given []desired.Given) (out []right) {
	for i, v := range given {
		out = append(out, giving(fmt.Sprintf("%s.grants[%d].role", at, i), belowGroup(t.want.Name, v.Path), r.actions(t, v.Role))...)
	}
	return out
}

func giving(at, path string, actions []string) (out []right) {
	for _, a := range actions {
		out = append(out, right{at, access.Action(a), path, "you cannot give what you do not have: " + a + " at " + path})
	}
	return out
}

// actions are those that a role allows, once the change is made.
func (r *run) actions(t *target, role string) (out []string) {
	if v, ok := find(t.want.Roles, roleName, role); ok {
		return v.Actions
	}
	if v, ok := find(r.roles[0], roleName, role); ok {
		return v.Actions
	}
	for _, a := range access.Role(role).Actions() {
		out = append(out, string(a))
	}
	return out
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

// allow asks for every right, and names each one that is missing once.
func (o Options) allow(rights []right) error {
	if o.May == nil {
		return nil
	}
	type question struct {
		action access.Action
		path   string
	}
	var problems []Problem
	asked := map[question]error{}
	for _, r := range rights {
		q := question{r.action, r.path}
		err, known := asked[q]
		if !known {
			err = o.May(q.action, q.path)
			asked[q] = err
		}
		denied, ok := errors.AsType[*oci.Error](err)
		switch {
		case err == nil:
			continue
		case !ok || denied.Code != oci.CodeDenied:
			return err
		}
		p := Problem{Path: r.at, Message: cmp.Or(r.text, denied.Message)}
		if !slices.ContainsFunc(problems, func(o Problem) bool { return o.Message == p.Message }) {
			problems = append(problems, p)
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return &DeniedError{problems}
}

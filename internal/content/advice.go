package content

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/serve/api"
)

// advice says what to do about a decision against a pull, in commands that can be run: upstreams have names where members tells them,
// to who may configure the group. The pull is p's.
func advice(p access.Principal, d virtual.Decision, members []virtual.Considered, t namespace.Target) string {
	switch d.Result {
	case virtual.ResultExcluded:
		return "pull what the rules allow, or ask a maintainer of " + t.Group + " to change them"
	case virtual.ResultNotFound:
		return absence(p, members, t)
	case virtual.ResultLimited, virtual.ResultUnavailable:
		return "try again in a moment: " + inspection(members, t)
	}
	if d.Cache == registry.CacheStale {
		return "nothing, if its age is good enough: it is confirmed as soon as its upstream answers again; " + inspection(members, t)
	}
	return ""
}

const plain = "check the name and the tag: `weir search` finds what is there"

// absence says what to do about what was not found: a member may have kept it from p, or an upstream from our credential.
func absence(p access.Principal, members []virtual.Considered, t namespace.Target) string {
	var commands []string
	for _, m := range members {
		switch {
		case m.Answer == registry.Forbidden && !p.IsAnonymous():
			return m.Member + " keeps " + m.Repository + " from " + p.Name + ": " + granting(p, t.Group, m.Repository)
		case m.Answer == registry.Denied && !m.Local:
			commands = append(commands, fmt.Sprintf("`weir upstream test %s --repository %s --group %s`", m.Member, m.Repository, t.Group))
		}
	}
	if len(commands) == 0 {
		return plain
	}
	return plain + "; upstreams that deny it may have it and not show it to the credential they are asked with, which " + strings.Join(commands, ", ") + " tries"
}

// inspection says how it is found out what is wrong with upstreams.
func inspection(members []virtual.Considered, t namespace.Target) string {
	var commands []string
	for _, m := range members {
		if !m.Local && (m.Answer == registry.Unknown || m.Cache == registry.CacheStale) {
			commands = append(commands, fmt.Sprintf("`weir upstream health %[1]s --group %[2]s` and `weir upstream test %[1]s --group %[2]s`", m.Member, t.Group))
		}
	}
	if len(commands) == 0 {
		return "a maintainer of " + t.Group + " finds the upstream by `weir upstream list --group " + t.Group + "`, and what is wrong by " +
			"`weir upstream health UPSTREAM` and `weir upstream test UPSTREAM`"
	}
	return strings.Join(commands, ", ") + " tell what is wrong"
}

// staleness is what a pull that is answered with content that no upstream could confirm tells in its Warning.
func staleness(d virtual.Decision) string {
	if d.Cache != registry.CacheStale {
		return ""
	}
	age := time.Duration(d.Age * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("OK, stale: the upstream could not confirm that this is current; it last did %s ago", age)
}

// enabling says who has to do what so that the account of p may do anything.
func enabling(p access.Principal) string {
	group, name, _ := strings.Cut(p.Name, "/")
	switch p.Kind {
	case access.Robot:
		return fmt.Sprintf("an owner of %[1]s runs `weir robot update %[2]s --enabled --group %[1]s`", group, name)
	case access.Workload:
		return fmt.Sprintf("an owner of %[1]s runs `weir trust-rule update %[2]s --enabled --group %[1]s`", group, name)
	}
	return fmt.Sprintf("an administrator runs `weir user enable %s`", p.Name)
}

// granting says who has to do what so that p may pull path of the group.
func granting(p access.Principal, group, path string) string {
	home, name, owned := strings.Cut(p.Name, "/")
	noun := "robot"
	switch p.Kind {
	case access.Robot:
	case access.Workload:
		noun = "trust-rule"
	default:
		return fmt.Sprintf("an owner of %[1]s runs `weir grant set %[2]s %[3]s --role reader --group %[1]s`", group, p.Name, path)
	}
	if !owned || home != group {
		return fmt.Sprintf("a %s may act in its own group alone: pull with one of %s", noun, group)
	}
	return fmt.Sprintf("an owner of %[1]s runs `weir %[2]s update %[3]s --grants reader:%[4]s --group %[1]s`, with the grants that `weir %[2]s get %[3]s --group %[1]s` shows "+
		"after a comma: --grants replaces them", group, noun, name, path)
}

// misnamed tells who may see the group's definitions that a hosted repository which is not there is no name behind one of its
// registries, of which it has others.
func (desk *Desk) misnamed(ctx context.Context, caller api.Caller, t namespace.Target) (string, error) {
	if t.Kind != namespace.KindHosted {
		return "", nil
	}
	if !caller.Local {
		d, err := desk.Directory.Check(ctx, caller.Principal, access.Request{Action: access.View, Path: t.Group})
		if err != nil || !d.Allowed {
			return plain, err
		}
	}
	g := desk.Group(t.Group)
	if g == nil || len(g.Registries) == 0 {
		return plain, nil
	}
	var names []string
	for _, r := range g.Registries {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	_, below, _ := strings.Cut(t.Path, "/")
	first, _, _ := strings.Cut(below, "/")
	return fmt.Sprintf("%s; %s is no registry of %s, so this is a hosted repository: its registries are %s", plain, first, t.Group, strings.Join(names, ", ")), nil
}

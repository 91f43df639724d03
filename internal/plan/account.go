package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// Roles, robots and trust rules live in package access, which checks and changes them, with events of its own; here they have the
// form of a declaration.

// DescribeAccounts adds a group's roles, robots and trust rules to its declaration. Of roles those that the group has not made itself
// are left out.
func DescribeAccounts(d *desired.Group, group int64, roles []access.RoleSet, robots []access.Machine, rules []access.TrustRule) {
	for _, r := range roles {
		if r.GroupID == group && !r.Builtin {
			d.Roles = append(d.Roles, describeRole(r))
		}
	}
	for _, m := range robots {
		d.Robots = append(d.Robots, describeRobot(m))
	}
	for _, r := range rules {
		d.TrustRules = append(d.TrustRules, describeTrustRule(r))
	}
	d.Normalize()
}

func describeRole(r access.RoleSet) desired.Role {
	d := desired.Role{Name: string(r.Role)}
	for _, a := range r.Actions {
		d.Actions = append(d.Actions, string(a))
	}
	return d
}

func describeRobot(m access.Machine) desired.Robot {
	enabled := !m.Disabled
	return desired.Robot{Name: m.Name, Enabled: &enabled, Grants: describeGiven(m.Grants)}
}

func describeTrustRule(r access.TrustRule) desired.TrustRule {
	enabled, once := !r.Disabled, r.SingleUse
	d := desired.TrustRule{
		Name: r.Name, Enabled: &enabled, Issuer: r.Issuer, Audience: r.Audience, Keys: desired.PEM(r.Keys), Grants: describeGiven(r.Grants),
		LifetimeSeconds: int64(r.Lifetime / time.Second), SingleUse: &once,
	}
	for _, c := range r.Conditions {
		d.Conditions = append(d.Conditions, desired.Condition(c))
	}
	return d
}

func describeGiven(given []access.Given) (out []desired.Given) {
	for _, g := range given {
		out = append(out, desired.Given{Path: g.Path, Role: string(g.Role)})
	}
	return out
}

func roleSet(group int64, d desired.Role) access.RoleSet {
	r := access.RoleSet{GroupID: group, Role: access.Role(d.Name)}
	for _, a := range d.Actions {
		r.Actions = append(r.Actions, access.Action(a))
	}
	return r
}

func machine(group int64, name string, enabled *bool, given []desired.Given) access.Machine {
	m := access.Machine{GroupID: group, Name: name, Disabled: enabled != nil && !*enabled}
	for _, g := range given {
		m.Grants = append(m.Grants, access.Given{Path: g.Path, Role: access.Role(g.Role)})
	}
	return m
}

func trustRule(group int64, d desired.TrustRule) access.TrustRule {
	r := access.TrustRule{
		Machine: machine(group, d.Name, d.Enabled, d.Grants), Issuer: d.Issuer, Audience: d.Audience, Keys: string(d.Keys),
		Lifetime: time.Duration(d.LifetimeSeconds) * time.Second, SingleUse: desired.IsTrue(d.SingleUse),
	}
	for _, c := range d.Conditions {
		r.Conditions = append(r.Conditions, access.Condition(c))
	}
	return r
}

// accounts checks roles, robots and trust rules.
func (c *checker) accounts(path string, g desired.Group) {
	roles := c.roles(g)
	for _, v := range g.Roles {
		p := at(path+".roles", v.Name)
		switch err := roleSet(0, v).Check(); {
		case errors.Is(err, access.ErrActions):
			c.add(p+".actions", "%v", access.ErrActions)
		case err != nil:
			c.add(p+".name", "%v", access.ErrRoleName)
		}
	}
	taken := map[string]bool{}
	for _, v := range g.Robots {
		p := at(path+".robots", v.Name)
		taken[v.Name] = true
		c.machine(p, machine(0, v.Name, v.Enabled, v.Grants).Check())
		c.given(p, v.Grants, roles)
	}
	for _, v := range g.TrustRules {
		p := at(path+".trust_rules", v.Name)
		if taken[v.Name] {
			c.add(p+".name", "is the name of a robot: robots and trust rules of a group share names")
		}
		if v.LifetimeSeconds < 0 || v.LifetimeSeconds > int64(access.MaxLifetime/time.Second) { // before it is made a duration
			c.add(p+".lifetime_seconds", "want %d to %d", int64(access.MinLifetime/time.Second), int64(access.MaxLifetime/time.Second))
			v.LifetimeSeconds = 0
		}
		c.machine(p, trustRule(0, v).Check())
		c.given(p, v.Grants, roles)
	}
}

// machine names the field that package access does not accept.
func (c *checker) machine(path string, err error) {
	if e, ok := errors.AsType[*access.FieldError](err); ok {
		c.add(path+"."+e.Field, "%s", e.Message)
		return
	}
	for _, f := range []struct {
		err   error
		field string
	}{{access.ErrMachineName, "name"}, {access.ErrPath, "grants"}, {access.ErrGrants, "grants"}} {
		if errors.Is(err, f.err) {
			c.add(path+"."+f.field, "%v", f.err)
		}
	}
}

func (c *checker) given(path string, given []desired.Given, roles []string) {
	for i, v := range given {
		if !slices.Contains(roles, v.Role) {
			c.add(fmt.Sprintf("%s.grants[%d].role", path, i), "%s", wantRole(roles))
		}
	}
}

// edit changes what package access keeps.
func (g *group) edit() access.Edit {
	return access.Edit{Tx: g.tx, By: access.Actor{ID: g.options.ActorID, RequestID: g.options.RequestID}, Now: time.Now()}
}

func (g *group) saveRoles(ctx context.Context) error {
	for _, w := range g.target.want.Roles {
		if !differs(g.target.now.Roles, w, roleName) {
			continue
		}
		if _, err := g.edit().PutRole(ctx, roleSet(g.now.ID, w), nil); err != nil {
			return err
		}
	}
	return nil
}

// removeMachines comes before new ones are made, which may have the names.
func (g *group) removeMachines(ctx context.Context) error {
	for _, n := range gone(g.target.now.Robots, g.target.want.Robots, robotName) {
		if err := g.edit().DeleteRobot(ctx, g.now.ID, n.Name, nil); err != nil {
			return err
		}
	}
	for _, n := range gone(g.target.now.TrustRules, g.target.want.TrustRules, trustRuleName) {
		if err := g.edit().DeleteTrustRule(ctx, g.now.ID, n.Name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) saveMachines(ctx context.Context) error {
	for _, w := range g.target.want.Robots {
		if !differs(g.target.now.Robots, w, robotName) {
			continue
		}
		if _, err := g.edit().PutRobot(ctx, machine(g.now.ID, w.Name, w.Enabled, w.Grants), nil); err != nil {
			return err
		}
	}
	for _, w := range g.target.want.TrustRules {
		if !differs(g.target.now.TrustRules, w, trustRuleName) {
			continue
		}
		if _, err := g.edit().PutTrustRule(ctx, trustRule(g.now.ID, w), nil); err != nil {
			return err
		}
	}
	return nil
}

// removeRoles comes last: nobody may have them any more. Those of a group that goes itself go with it, whoever has them.
func (g *group) removeRoles(ctx context.Context) error {
	for _, n := range gone(g.target.now.Roles, g.target.want.Roles, roleName) {
		if g.target.remove {
			break
		}
		if err := g.edit().DeleteRole(ctx, g.now.ID, access.Role(n.Name), nil); err != nil {
			return err
		}
	}
	return nil
}

package plan

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

// State is a group with everything that is defined below it, as it is at one moment.
type State struct {
	ID         int64            // 0: there is no such group
	Generation int64            // grows with every change
	Group      desired.Group    // in normal form, without secrets
	Secrets    map[string]int64 // versions of secrets, by name of the credential

	Remove bool // set by an Edit: the group is to go, with everything that is defined below it
}

// Edit changes one group by a function that says how it is to be, and is otherwise Apply: the outcome is checked as a whole,
// becomes a plan, and is applied with its events, in the transaction in which change has seen the present state. change may be
// called more than once; its error ends the edit with nothing changed and is returned as it is. Fields that change leaves out
// take their defaults, secrets that it leaves out stay.
func (p *Planner) Edit(ctx context.Context, group string, change func(*State) error, o Options) (*Plan, error) {
	return p.write(ctx, o, func(ctx context.Context, r *run) (*Plan, error) { return r.edit(ctx, group, change) })
}

// Read gives a group as a State, without its grants, roles, robots and trust rules, which are not part of the row.
func Read(g meta.Group) State {
	s := State{ID: g.ID, Generation: g.Generation, Group: Describe(g), Secrets: map[string]int64{}}
	for _, c := range g.Credentials {
		s.Secrets[c.Name] = c.Version
	}
	return s
}

// state gives a group as it is in the transaction.
func (r *run) state(name string) State {
	now := r.group(name)
	if now.ID == 0 {
		return State{Group: desired.Group{Name: name}}
	}
	s := Read(now)
	r.accounts(now.ID, &s.Group)
	return s
}

func (r *run) edit(ctx context.Context, name string, change func(*State) error) (*Plan, error) {
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	s := r.state(name)
	if err := change(&s); err != nil {
		return nil, err
	}
	if s.Group.Name = name; s.Remove {
		s.Group = desired.Group{Name: name, Enabled: s.Group.Enabled}
	}
	if s.ID == 0 && s.Remove {
		return nil, meta.ErrNotFound
	}
	s.Group.Spell()
	c := r.checker()
	c.declared(s.Group)
	t := &target{now: r.state(name).Group, declared: s.Group, want: s.Group, remove: s.Remove}
	t.want.Normalize()
	c.group(t.want)
	return r.compare(ctx, c, []*target{t})
}

// write runs one plan in its transaction.
func (p *Planner) write(ctx context.Context, o Options, decide func(context.Context, *run) (*Plan, error)) (*Plan, error) {
	var plan *Plan
	err := p.DB.Write(ctx, func(ctx context.Context, tx *meta.Tx) (err error) {
		if err := tx.LockDefinitions(ctx); err != nil {
			return err
		}
		r := &run{planner: p, tx: tx, options: o}
		if plan, err = decide(ctx, r); err != nil {
			return err
		}
		if !plan.Empty() {
			err = r.apply(ctx, plan)
		}
		if err == nil {
			err = plan.read(ctx, tx)
		}
		if err == nil && (o.DryRun || plan.Empty()) {
			err = errDryRun
		}
		return err
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return nil, err
	}
	return plan, nil
}

// read takes in the groups as the plan has left them.
func (p *Plan) read(ctx context.Context, tx *meta.Tx) error {
	p.After = nil
	for _, t := range p.targets {
		s := State{Group: desired.Group{Name: t.want.Name}, Remove: t.remove}
		if !t.remove {
			g, err := tx.Group(ctx, t.want.Name)
			if err != nil {
				return err
			}
			s = Read(g)
			s.Group.Grants, s.Group.Roles, s.Group.Robots, s.Group.TrustRules = t.want.Grants, t.want.Roles, t.want.Robots, t.want.TrustRules
		}
		p.After = append(p.After, s)
	}
	return nil
}

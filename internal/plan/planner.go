package plan

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Sealer keeps secrets; *seal.Sealer is one.
type Sealer interface {
	Seal(place seal.Place, secret []byte) ([]byte, error)
	Fingerprint(place seal.Place, secret []byte) ([]byte, error)
}

// CredentialPlace is where the secret of a credential lives: what it is sealed for.
func CredentialPlace(group, credential, version int64) seal.Place {
	return seal.Place{Table: "credentials", Row: credential, Group: group, Field: "secret", Version: version}
}

// DefaultMaxMembers is the number of members of a registry where the server sets no other limit.
const DefaultMaxMembers = 20

// DefaultMaxRegistries is the number of registries of a group where the server sets no other limit.
const DefaultMaxRegistries = 100

// Planner plans and applies declarations. It is safe for concurrent use: one plan is made at a time.
type Planner struct {
	DB         *meta.DB
	Sealer     Sealer
	MaxMembers int // of one registry; 0 = DefaultMaxMembers
	// MaxRegistries bounds the registries of a group; 0 = DefaultMaxRegistries.
	MaxRegistries int
	// Hosts that lead to the server as such, with their ports: binding one would take its paths, and its API's login, away.
	Hosts []string
	// Accepted reports whether an upstream is known to have taken this version of a credential's secret. nil knows it of all.
	Accepted func(group string, credential, version int64) bool
}

// Options of one Apply.
type Options struct {
	Prune     bool       // remove what the declared groups have beyond the declaration
	DryRun    bool       // plan only
	May       access.May // of who makes the change; nil may everything
	ActorID   int64
	RequestID string
}

// errDryRun undoes the transaction of a dry run.
var errDryRun = errors.New("dry run")

// Apply checks a declaration, plans the change and makes it so, all in one transaction with its events. *DeniedError when
// Options.May does not allow a part of it, *InvalidError when the declaration cannot be applied; then, and after a dry run, nothing is changed. A dry run does everything that an apply does,
// and takes it back.
func (p *Planner) Apply(ctx context.Context, d desired.Document, o Options) (*Plan, error) {
	return p.write(ctx, o, func(ctx context.Context, r *run) (*Plan, error) { return r.plan(ctx, d) })
}

// run is one Apply within its transaction.
type run struct {
	planner *Planner
	tx      *meta.Tx
	options Options

	groups   []meta.Group // as they are
	users    map[string]int64
	grants   map[int64][]desired.Grant // by group, as they are
	disabled map[string]bool           // users that cannot log in
	mapped   map[string]bool           // groups that have an owner by a sign-in provider
	roles    map[int64][]desired.Role  // that people made, by group; 0 = for all
	robots   map[int64][]desired.Robot
	rules    map[int64][]desired.TrustRule
}

func (r *run) load(ctx context.Context) (err error) {
	if r.groups, err = r.tx.Groups(ctx); err != nil {
		return err
	}
	users, err := r.tx.AccessUsers(ctx)
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	names := map[int64]string{}
	r.users, r.disabled, r.mapped = map[string]int64{}, map[string]bool{}, map[string]bool{}
	for _, u := range users {
		names[u.ID], r.users[u.Name], r.disabled[u.Name] = u.Name, u.ID, u.Disabled
	}
	grants, err := r.tx.AccessGrants(ctx)
	if err != nil {
		return fmt.Errorf("list grants: %w", err)
	}
	r.grants = map[int64][]desired.Grant{}
	for _, g := range grants {
		user, ok := names[g.AccountID]
		if ok && g.Origin != "" && g.Path == "" && g.Role == string(access.Owner) && !r.disabled[user] {
			r.mapped[r.groupName(g.GroupID)] = true
		}
		if !ok || g.Origin != "" { // robots and trust rules carry their own; what a sign-in maps is nobody's declaration
			continue
		}
		r.grants[g.GroupID] = append(r.grants[g.GroupID], desired.Grant{User: user, Path: g.Path, Role: g.Role})
	}
	return r.loadOwned(ctx)
}

// loadOwned reads roles, robots and trust rules.
func (r *run) loadOwned(ctx context.Context) error {
	owned, err := access.ReadOwned(ctx, r.tx.Queries)
	if err != nil {
		return err
	}
	r.roles, r.robots, r.rules = map[int64][]desired.Role{}, map[int64][]desired.Robot{}, map[int64][]desired.TrustRule{}
	for _, v := range owned.Roles {
		r.roles[v.GroupID] = append(r.roles[v.GroupID], describeRole(v))
	}
	for _, v := range owned.Robots {
		r.robots[v.GroupID] = append(r.robots[v.GroupID], describeRobot(v))
	}
	for _, v := range owned.TrustRules {
		r.rules[v.GroupID] = append(r.rules[v.GroupID], describeTrustRule(v))
	}
	return nil
}

// accounts adds what package access keeps of a group, as it is, in normal form.
func (r *run) accounts(id int64, d *desired.Group) {
	d.Grants = slices.Clone(r.grants[id]) // lists that an edit may change, and that must then differ from what is
	d.Roles, d.Robots, d.TrustRules = slices.Clone(r.roles[id]), slices.Clone(r.robots[id]), slices.Clone(r.rules[id])
	d.Normalize()
}

func (r *run) groupName(id int64) string {
	if i := slices.IndexFunc(r.groups, func(g meta.Group) bool { return g.ID == id }); i >= 0 {
		return r.groups[i].Name
	}
	return ""
}

// group returns the group as it is; a new one has ID 0.
func (r *run) group(name string) meta.Group {
	i := slices.IndexFunc(r.groups, func(g meta.Group) bool { return g.Name == name })
	if i < 0 {
		return meta.Group{Name: name}
	}
	return r.groups[i]
}

// plan compares and checks.
func (r *run) plan(ctx context.Context, d desired.Document) (*Plan, error) {
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	c := r.checker()
	var targets []*target
	seen := map[string]bool{}
	for _, declared := range d.Groups {
		if seen[declared.Name] {
			c.add(groupPath(declared.Name), "is declared twice: put the parts together")
			continue
		}
		seen[declared.Name] = true
		declared.Spell()
		c.declared(declared)
		now := r.group(declared.Name)
		t := &target{now: desired.Group{Name: declared.Name}, declared: declared, takes: declaredRights(declared, r.options.Prune)}
		if now.ID != 0 {
			t.now = Describe(now)
			r.accounts(now.ID, &t.now)
		}
		t.want = lay(t.now, declared, r.options.Prune)
		t.want.Normalize()
		c.group(t.want)
		targets = append(targets, t)
	}
	return r.compare(ctx, c, targets)
}

func (r *run) checker() *checker {
	c := &checker{maxMembers: cmp.Or(r.planner.MaxMembers, DefaultMaxMembers)}
	for _, v := range r.roles[0] {
		c.instance = append(c.instance, v.Name)
	}
	return c
}

// compare makes the plan of groups that are checked but for what only the database can tell.
func (r *run) compare(ctx context.Context, c *checker, targets []*target) (*Plan, error) {
	plan := &Plan{targets: targets}
	var rights []access.Right
	r.checkHosts(c, targets)
	for _, t := range targets {
		changes, err := r.groupChanges(ctx, c, t)
		if err != nil {
			return nil, err
		}
		plan.Changes = append(plan.Changes, changes...)
		rights = append(rights, r.rights(t, changes)...)
	}
	if err := Allow(r.options.May, rights); err != nil { // before the problems, which tell what is there
		return nil, err
	}
	if len(c.problems) > 0 {
		return nil, &InvalidError{Problems: c.problems}
	}
	return plan, nil
}

// groupChanges lists what has to happen to a group, and checks what only the database can tell.
func (r *run) groupChanges(ctx context.Context, c *checker, t *target) ([]Change, error) {
	now := r.group(t.want.Name)
	secrets, err := r.changedSecrets(c, now, t)
	if err != nil {
		return nil, err
	}
	for _, g := range t.declared.Grants {
		if r.users[g.User] == 0 {
			c.add(at(groupPath(t.want.Name)+".grants", g.User)+".user", "there is no user %q", g.User)
		}
	}
	limit := cmp.Or(r.planner.MaxRegistries, DefaultMaxRegistries)
	if n := len(t.want.Registries); n > limit && n > len(t.now.Registries) { // who has more already may change and remove them
		c.add(groupPath(t.want.Name)+".registries", "the group would have %d registries; the limit is %d (server setting limits.registries_per_group)", n, limit)
	}
	for _, v := range t.want.Registries {
		if _, exists := find(t.now.Registries, registryName, v.Name); exists || now.ID == 0 {
			continue
		}
		name, err := r.tx.HostedRepositoryBelow(ctx, query.HostedRepositoryBelowParams{
			GroupID: now.ID, Name: v.Name, Name_2: v.Name + "/", Name_3: v.Name + "0", // "0" follows "/"
		})
		if err == nil {
			c.add(at(groupPath(t.want.Name)+".registries", v.Name)+".name",
				"the hosted repository %s/%s begins with it: choose another name, or delete the repository", t.want.Name, name)
		} else if !errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("hosted repositories below %s: %w", v.Name, err)
		}
	}
	return difference(t, now.ID != 0, secrets), nil
}

// changedSecrets names the credentials whose declared secret is not the stored one.
func (r *run) changedSecrets(c *checker, now meta.Group, t *target) (map[string]bool, error) {
	changed := map[string]bool{}
	for _, v := range t.want.Credentials {
		i := slices.IndexFunc(now.Credentials, func(m meta.Credential) bool { return m.Name == v.Name })
		switch {
		case v.Password == nil && i < 0:
			c.add(at(groupPath(t.want.Name)+".credentials", v.Name)+".password", "is missing: a new credential needs its secret")
		case v.Password == nil:
		case i < 0:
			changed[v.Name] = true
		default:
			m := now.Credentials[i]
			f, err := r.planner.Sealer.Fingerprint(CredentialPlace(now.ID, m.ID, m.Version), []byte(*v.Password))
			if err != nil {
				return nil, fmt.Errorf("credential %s: %w", v.Name, err)
			}
			changed[v.Name] = !bytes.Equal(f, m.Fingerprint)
		}
	}
	return changed, nil
}

// checkHosts refuses hosts that another group has bound, or that two groups declare.
func (r *run) checkHosts(c *checker, targets []*target) {
	owner := map[string]string{}
	for _, g := range r.groups {
		if slices.ContainsFunc(targets, func(t *target) bool { return t.want.Name == g.Name }) {
			continue
		}
		for _, b := range g.HostBindings {
			owner[b.Host] = g.Name
		}
	}
	for _, t := range targets {
		for _, b := range t.want.HostBindings {
			if slices.ContainsFunc(r.planner.Hosts, func(own string) bool { return sameHost(own, b.Host) }) {
				c.add(at(groupPath(t.want.Name)+".host_bindings", b.Host)+".host",
					"is the server's own address (listen or external_urls): under it every group answers by its path; bind another name")
			}
			if other, taken := owner[b.Host]; taken && other != t.want.Name {
				c.add(at(groupPath(t.want.Name)+".host_bindings", b.Host)+".host", "is bound by another group")
			}
			owner[b.Host] = t.want.Name
		}
	}
}

// sameHost compares hosts with their ports; no port, 80 and 443 are the same.
func sameHost(a, b string) bool {
	plain := func(host string) string {
		host = strings.ToLower(host)
		return strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80")
	}
	return plain(a) == plain(b)
}

package access

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Role is the name of a set of actions: a built-in one, or one that people made for a group or for all groups.
type Role string

// The built-in roles, each with everything the one before it has.
const (
	Reader     Role = "reader"
	Developer  Role = "developer"
	Maintainer Role = "maintainer"
	Owner      Role = "owner"
	Admin      Role = "admin" // of the instance only
)

// builtins lists what each built-in role adds to the one before it.
var builtins = []struct {
	role Role
	adds []Action
}{
	{Reader, []Action{Pull, Catalog, View}},
	{Developer, []Action{Push}},
	{Maintainer, []Action{Delete, Configure, Audit}},
	{Owner, []Action{Own}},
	{Admin, []Action{Administer}},
}

// Actions lists every action there is, the weakest first.
func Actions() (all []Action) {
	for _, b := range builtins {
		all = append(all, b.adds...)
	}
	return all
}

// set is a set of actions.
type set uint16

func setOf(actions []Action) (s set) {
	for _, a := range actions {
		s |= a.bit()
	}
	return s
}

// bit is the set of one action; 0 for an action nobody has heard of, which nobody may do.
func (a Action) bit() set {
	switch a {
	case Pull:
		return 1 << 0
	case Catalog:
		return 1 << 1
	case View:
		return 1 << 2
	case Push:
		return 1 << 3
	case Delete:
		return 1 << 4
	case Configure:
		return 1 << 5
	case Audit:
		return 1 << 6
	case Own:
		return 1 << 7
	case Administer:
		return 1 << 8
	}
	return 0
}

func (s set) has(a Action) bool { return s&a.bit() != 0 }

func (s set) actions() (out []Action) {
	for _, a := range Actions() {
		if s.has(a) {
			out = append(out, a)
		}
	}
	return out
}

// builtin is the set of a built-in role; 0 for any other name.
func builtin(r Role) (s set) {
	for _, b := range builtins {
		s |= setOf(b.adds)
		if b.role == r {
			return s
		}
	}
	return 0
}

// Actions are those of a built-in role that grants of a group can give; none of another.
func (r Role) Actions() []Action {
	if r == Admin {
		return nil
	}
	return builtin(r).actions()
}

// least is the weakest built-in role that has an action.
func least(a Action) Role {
	for _, b := range builtins {
		if slices.Contains(b.adds, a) {
			return b.role
		}
	}
	return ""
}

// RoleSet is a role with what it allows.
type RoleSet struct {
	Role      Role
	GroupID   int64 // whose grants can give it; 0 = every group's, and the instance's
	Builtin   bool
	Actions   []Action
	CreatedAt time.Time
	UpdatedAt time.Time
}

type roleKey struct {
	group int64
	name  Role
}

// actionsOf is what a role means in a grant of a group, or of the instance (0). A group's own role comes before the instance's of
// the same name; a name that means nothing allows nothing.
func (s *snapshot) actionsOf(group int64, r Role) set {
	if r == Admin && group != 0 {
		return 0
	}
	return cmp.Or(builtin(r), s.roles[roleKey{group, r}].set, s.roles[roleKey{0, r}].set)
}

type role struct {
	set
	row query.Role
}

func (r role) public() RoleSet {
	return RoleSet{
		Role: Role(r.row.Name), GroupID: r.row.GroupID, Actions: r.actions(),
		CreatedAt: fromMicros(r.row.CreatedAt), UpdatedAt: fromMicros(r.row.UpdatedAt),
	}
}

func (s *snapshot) readRoles(ctx context.Context, q *query.Queries) error {
	rows, err := q.AccessRoles(ctx)
	if err != nil {
		return err
	}
	s.roles = map[roleKey]role{}
	for _, row := range rows {
		s.roles[roleKey{row.GroupID, Role(row.Name)}] = decodeRole(row)
	}
	return nil
}

// decodeRole reads a row. What does not decode allows nothing, and no row can make an administrator.
func decodeRole(row query.Role) role {
	var actions []Action
	if err := json.Unmarshal([]byte(row.Actions), &actions); err != nil {
		actions = nil
	}
	return role{set: setOf(actions) &^ Administer.bit(), row: row}
}

// Roles lists the roles that grants of a group (0: of the instance) can give: the built-in ones in their order, then the others
// by name.
func (d *Directory) Roles(ctx context.Context, group int64) ([]RoleSet, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []RoleSet
	for _, b := range builtins {
		if b.role != Admin || group == 0 {
			out = append(out, RoleSet{Role: b.role, Builtin: true, Actions: builtin(b.role).actions()})
		}
	}
	n := len(out)
	for key, r := range s.roles {
		if key.group == group || key.group == 0 && s.roles[roleKey{group, key.name}].set == 0 {
			out = append(out, r.public())
		}
	}
	slices.SortFunc(out[n:], func(a, b RoleSet) int { return cmp.Compare(a.Role, b.Role) })
	return out, nil
}

// RoleActions lists what a role means in a grant of a group (0: of the instance); ErrRole.
func (d *Directory) RoleActions(ctx context.Context, group int64, name Role) ([]Action, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	actions := s.actionsOf(group, name).actions()
	if len(actions) == 0 {
		return nil, fmt.Errorf("%q: %w", name, ErrRole)
	}
	return actions, nil
}

// PutRole makes a role of a group (0: of the instance), or changes what it allows, for everybody who has it. check is told what is
// there, nil when nothing is, and may refuse. Only Role, GroupID and Actions are read. ErrRoleName, ErrActions, ErrNotFound (group).
func (d *Directory) PutRole(ctx context.Context, by Actor, r RoleSet, check func(now *RoleSet) error) (out RoleSet, err error) {
	err = d.edit(ctx, by, func(ctx context.Context, e Edit) error {
		out, err = e.PutRole(ctx, r, check)
		return err
	})
	return out, err
}

// DeleteRole removes a role that no grant gives. ErrNotFound, ErrRoleInUse.
func (d *Directory) DeleteRole(ctx context.Context, by Actor, group int64, name Role, check func(now *RoleSet) error) error {
	return d.edit(ctx, by, func(ctx context.Context, e Edit) error { return e.DeleteRole(ctx, group, name, check) })
}

func (r RoleSet) check() error {
	if builtin(r.Role) != 0 || !oci.ValidComponent(string(r.Role)) || len(r.Role) > maxName {
		return fmt.Errorf("role %q: %w", r.Role, ErrRoleName)
	}
	if s := setOf(r.Actions); s == 0 || s.has(Administer) || slices.ContainsFunc(r.Actions, func(a Action) bool { return a.bit() == 0 }) {
		return fmt.Errorf("role %q: %w", r.Role, ErrActions)
	}
	return nil
}

// PutRole is Directory.PutRole.
func (e Edit) PutRole(ctx context.Context, r RoleSet, check func(now *RoleSet) error) (RoleSet, error) {
	if err := r.check(); err != nil {
		return RoleSet{}, err
	}
	now, err := roleNow(ctx, e.Tx, r.GroupID, r.Role)
	if err == nil {
		err = checked(check, now)
	}
	if err == nil {
		err = groupExists(ctx, e.Tx, r.GroupID)
	}
	at := fromMicros(e.Now.UnixMicro()) // as it will be read
	r = RoleSet{Role: r.Role, GroupID: r.GroupID, Actions: setOf(r.Actions).actions(), CreatedAt: at, UpdatedAt: at}
	if err == nil {
		err = e.putRole(ctx, &r, now)
	}
	if err != nil {
		return RoleSet{}, fmt.Errorf("put role %q: %w", r.Role, err)
	}
	return r, nil
}

func (e Edit) putRole(ctx context.Context, r, now *RoleSet) error {
	text, err := json.Marshal(r.Actions)
	if err != nil {
		return err
	}
	var before []Action
	if now != nil {
		r.CreatedAt, before = now.CreatedAt, now.Actions
	}
	err = e.Tx.PutRole(ctx, query.PutRoleParams{ID: e.Tx.ID(), GroupID: r.GroupID, Name: string(r.Role), Actions: string(text), CreatedAt: e.Now.UnixMicro()})
	if err != nil {
		return err
	}
	if err := e.roleEvent(ctx, "role.put", *r, map[string]any{"before": before, "after": r.Actions}); err != nil {
		return err
	}
	return e.changed(ctx, keyDirectory)
}

// DeleteRole is Directory.DeleteRole.
func (e Edit) DeleteRole(ctx context.Context, group int64, name Role, check func(now *RoleSet) error) error {
	if err := e.deleteRole(ctx, group, name, check); err != nil {
		return fmt.Errorf("delete role %q: %w", name, err)
	}
	return nil
}

func (e Edit) deleteRole(ctx context.Context, group int64, name Role, check func(now *RoleSet) error) error {
	now, err := roleNow(ctx, e.Tx, group, name)
	if err != nil {
		return err
	}
	if now == nil {
		return ErrNotFound
	}
	if err := checked(check, now); err != nil {
		return err
	}
	grants, err := e.Tx.AccessGrants(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(grants, func(g query.Grant) bool { return g.Role == string(name) && (group == 0 || g.GroupID == group) }) {
		return ErrRoleInUse
	}
	if _, err := e.Tx.DeleteRole(ctx, query.DeleteRoleParams{GroupID: group, Name: string(name)}); err != nil {
		return err
	}
	if err := e.roleEvent(ctx, "role.deleted", *now, map[string]any{"before": now.Actions}); err != nil {
		return err
	}
	return e.changed(ctx, keyDirectory)
}

func (e Edit) roleEvent(ctx context.Context, kind string, r RoleSet, detail map[string]any) error {
	return e.Tx.Event(ctx, meta.Event{
		GroupID: r.GroupID, Kind: kind, ActorID: e.By.ID, Subject: "role " + string(r.Role), RequestID: e.By.RequestID, Detail: detail,
	})
}

// checked runs a caller's precondition, if it has one.
func checked[T any](check func(now *T) error, now *T) error {
	if check == nil {
		return nil
	}
	return check(now)
}

// roleNow is a role as it is within a transaction; nil when there is none. Changes of roles and grants follow each other: a role
// must not be deleted while somebody grants it.
func roleNow(ctx context.Context, tx *meta.Tx, group int64, name Role) (*RoleSet, error) {
	if _, err := lockAdmins(ctx, tx); err != nil {
		return nil, err
	}
	rows, err := tx.AccessRoles(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.GroupID == group && row.Name == string(name) {
			r := decodeRole(row).public()
			return &r, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing there is no error here
}

// roleMeans reports whether a grant of a group (0: of the instance) can give a role.
func roleMeans(ctx context.Context, tx *meta.Tx, group int64, name Role) (bool, error) {
	if builtin(name) != 0 {
		return name != Admin || group == 0, nil
	}
	for _, g := range []int64{group, 0} {
		r, err := roleNow(ctx, tx, g, name)
		if err != nil || r != nil {
			return r != nil, err
		}
	}
	return false, nil
}

package access

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Machine is what robots and trust rules have in common: an account that belongs to a group, and what it may do there. Their names
// share one space, so that "<group>/<name>" is one account.
type Machine struct {
	ID        int64
	GroupID   int64
	Name      string // within the group
	Disabled  bool
	Grants    []Given
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Given is a role at a path below the group of a machine.
type Given struct {
	Path string // empty = all of the group
	Role Role
}

const maxGiven = 100

// check also brings the grants into one order. ErrMachineName, ErrPath, ErrGrants.
func (m *Machine) check() error {
	if !oci.ValidComponent(m.Name) || len(m.Name) > maxName {
		return fmt.Errorf("%q: %w", m.Name, ErrMachineName)
	}
	if len(m.Grants) > maxGiven {
		return fmt.Errorf("%d grants: %w", len(m.Grants), ErrGrants)
	}
	m.Grants = slices.Clone(m.Grants)
	slices.SortFunc(m.Grants, func(a, b Given) int { return cmp.Compare(a.Path, b.Path) })
	for i, g := range m.Grants {
		if i > 0 && m.Grants[i-1].Path == g.Path {
			return fmt.Errorf("%q: %w", g.Path, ErrGrants)
		}
		if g.Path != "" && !oci.ValidRepository(g.Path) {
			return fmt.Errorf("%q: %w", g.Path, ErrPath)
		}
	}
	return nil
}

// Robots lists the robots of a group by name.
func (d *Directory) Robots(ctx context.Context, group int64) ([]Machine, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []Machine
	for _, u := range s.users {
		if u.kind == Robot && u.group == group {
			out = append(out, u.machine())
		}
	}
	slices.SortFunc(out, func(a, b Machine) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Robot returns a robot by name; ErrNotFound.
func (d *Directory) Robot(ctx context.Context, group int64, name string) (Machine, error) {
	u, err := d.machineUser(ctx, group, name, Robot)
	if err != nil {
		return Machine{}, err
	}
	return u.machine(), nil
}

func (d *Directory) machineUser(ctx context.Context, group int64, name string, kind Kind) (*user, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	u := s.byName[s.accountName(group, name)]
	if u == nil || u.kind != kind || group == 0 {
		return nil, fmt.Errorf("%s %q: %w", kind, name, ErrNotFound)
	}
	return u, nil
}

// accountName is how an account is called among all: users by their name, others by that of their group before it.
func (s *snapshot) accountName(group int64, name string) string {
	if group == 0 {
		return name
	}
	return s.names[group] + "/" + name
}

func (u *user) machine() Machine {
	m := Machine{ID: u.id, GroupID: u.group, Name: u.short, Disabled: u.disabled, CreatedAt: u.created, UpdatedAt: u.updated, Grants: []Given{}}
	for _, g := range u.grants {
		if g.group == u.group {
			m.Grants = append(m.Grants, Given{g.path, g.role})
		}
	}
	return m
}

// PutRobot makes a robot, or changes one. check is told what is there, nil when nothing is, and may refuse. Of m, ID and times are
// not read. ErrMachineName, ErrPath, ErrRole, ErrGrants, ErrExists (a trust rule has the name), ErrNotFound (group).
func (d *Directory) PutRobot(ctx context.Context, by Actor, m Machine, check func(now *Machine) error) (out Machine, err error) {
	err = d.edit(ctx, by, func(ctx context.Context, e Edit) error {
		out, err = e.PutRobot(ctx, m, check)
		return err
	})
	return out, err
}

// DeleteRobot removes a robot with its grants and tokens. ErrNotFound.
func (d *Directory) DeleteRobot(ctx context.Context, by Actor, group int64, name string, check func(now *Machine) error) error {
	return d.edit(ctx, by, func(ctx context.Context, e Edit) error { return e.DeleteRobot(ctx, group, name, check) })
}

// PutRobot is Directory.PutRobot.
func (e Edit) PutRobot(ctx context.Context, m Machine, check func(now *Machine) error) (Machine, error) {
	if err := m.check(); err != nil {
		return Machine{}, fmt.Errorf("robot: %w", err)
	}
	now, err := machineNow(ctx, e.Tx, m.GroupID, m.Name, Robot)
	if err == nil {
		err = checked(check, now)
	}
	var out Machine
	if err == nil {
		out, err = e.putMachine(ctx, Robot, m, now)
	}
	if err == nil {
		err = e.machineEvent(ctx, "robot.put", out, plain(now), plain(&out))
	}
	if err == nil {
		err = e.changed(ctx, keyDirectory)
	}
	if err != nil {
		return Machine{}, fmt.Errorf("put robot %q: %w", m.Name, err)
	}
	return out, nil
}

// DeleteRobot is Directory.DeleteRobot.
func (e Edit) DeleteRobot(ctx context.Context, group int64, name string, check func(now *Machine) error) error {
	now, err := machineNow(ctx, e.Tx, group, name, Robot)
	if err == nil && now == nil {
		err = ErrNotFound
	}
	if err == nil {
		err = checked(check, now)
	}
	if err == nil {
		err = deleteAccount(ctx, e.Tx, now.ID)
	}
	if err == nil {
		err = e.machineEvent(ctx, "robot.deleted", *now, plain(now), nil)
	}
	if err == nil {
		err = e.changed(ctx, keyEverything)
	}
	if err != nil {
		return fmt.Errorf("delete robot %q: %w", name, err)
	}
	return nil
}

// machineNow is a machine as it is within a transaction; nil when there is none. ErrExists when one of another kind has the name.
func machineNow(ctx context.Context, tx *meta.Tx, group int64, name string, kind Kind) (*Machine, error) {
	if group == 0 {
		return nil, ErrNotFound
	}
	if err := groupExists(ctx, tx, group); err != nil {
		return nil, err
	}
	if _, err := lockAdmins(ctx, tx); err != nil { // one change of a machine after the other
		return nil, err
	}
	row, err := tx.AccessAccountByName(ctx, query.AccessAccountByNameParams{GroupID: group, Name: name})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // nothing there is no error here
	}
	if err != nil {
		return nil, err
	}
	if row.Kind != string(kind) {
		what := "robot"
		if row.Kind == string(Workload) {
			what = "trust rule"
		}
		return nil, fmt.Errorf("%w by a %s of the group: robots and trust rules share names", ErrExists, what)
	}
	m := &Machine{
		ID: row.ID, GroupID: group, Name: row.Name, Disabled: row.Disabled, Grants: []Given{},
		CreatedAt: fromMicros(row.CreatedAt), UpdatedAt: fromMicros(row.UpdatedAt),
	}
	grants, err := tx.AccountGrants(ctx, row.ID)
	for _, g := range grants {
		if g.GroupID == group {
			m.Grants = append(m.Grants, Given{g.Path, Role(g.Role)})
		}
	}
	return m, err
}

func (e Edit) putMachine(ctx context.Context, kind Kind, m Machine, now *Machine) (Machine, error) {
	tx, at := e.Tx, e.Now
	m.UpdatedAt, m.CreatedAt = at.UTC().Truncate(time.Microsecond), at.UTC().Truncate(time.Microsecond)
	var err error
	if now == nil {
		m.ID = tx.ID()
		err = tx.InsertAccount(ctx, query.InsertAccountParams{
			ID: m.ID, Kind: string(kind), GroupID: m.GroupID, Name: m.Name, Disabled: m.Disabled, CreatedAt: at.UnixMicro(), UpdatedAt: at.UnixMicro(),
		})
	} else {
		m.ID, m.CreatedAt = now.ID, now.CreatedAt
		_, err = tx.UpdateAccountDisabled(ctx, query.UpdateAccountDisabledParams{Disabled: m.Disabled, UpdatedAt: at.UnixMicro(), ID: m.ID})
	}
	if err != nil {
		return Machine{}, err
	}
	if now != nil {
		for _, g := range now.Grants {
			_, err := tx.DeleteGrant(ctx, query.DeleteGrantParams{AccountID: m.ID, GroupID: m.GroupID, Path: g.Path})
			if err != nil {
				return Machine{}, err
			}
		}
	}
	for _, g := range m.Grants {
		means, err := roleMeans(ctx, tx, m.GroupID, g.Role)
		if err == nil && !means {
			err = fmt.Errorf("%q: %w", g.Role, ErrRole)
		}
		if err == nil {
			err = tx.PutGrant(ctx, query.PutGrantParams{ID: tx.ID(), AccountID: m.ID, GroupID: m.GroupID, Path: g.Path, Role: string(g.Role)})
		}
		if err != nil {
			return Machine{}, err
		}
	}
	return m, nil
}

// deleteAccount removes an account of any kind with everything that is its own. Its name stays for the events that have its id.
func deleteAccount(ctx context.Context, tx *meta.Tx, id int64) error {
	row, err := tx.GetAccount(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	if err := keepName(ctx, tx, row, time.Now().UnixMicro()); err != nil {
		return err
	}
	for _, remove := range []func(context.Context, int64) error{
		tx.DeleteAccountGrants, tx.DeleteAccountTokens, tx.DeleteAccountSessions, tx.DeleteAccountIdentities, tx.DeleteTrustRule,
	} {
		if err := remove(ctx, id); err != nil {
			return err
		}
	}
	n, err := tx.DeleteAccount(ctx, id)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// plain is a machine for the detail of an event.
func plain(m *Machine) map[string]any {
	if m == nil {
		return nil
	}
	grants := make([]map[string]string, 0, len(m.Grants))
	for _, g := range m.Grants {
		grants = append(grants, map[string]string{"path": g.Path, "role": string(g.Role)})
	}
	return map[string]any{"name": m.Name, "disabled": m.Disabled, "grants": grants}
}

func (e Edit) machineEvent(ctx context.Context, kind string, m Machine, before, after map[string]any) error {
	return e.Tx.Event(ctx, meta.Event{
		GroupID: m.GroupID, Kind: kind, ActorID: e.By.ID, Subject: fmt.Sprintf("account %d", m.ID), RequestID: e.By.RequestID,
		Detail: map[string]any{"before": before, "after": after},
	})
}

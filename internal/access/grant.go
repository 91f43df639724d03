package access

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Grant is a role for an account at the instance, a group or a path below it.
type Grant struct {
	AccountID int64
	User      string // name of the account; of robots and trust rules "<group>/<name>"
	Kind      Kind
	GroupID   int64  // 0 = the instance
	Group     string // empty = the instance
	Path      string // below the group; empty = all of it
	Origin    string // the sign-in provider that maps it; empty = given by people
	Role      Role
}

// GrantsOf lists the grants of an account, by group and path.
func (d *Directory) GrantsOf(ctx context.Context, account int64) ([]Grant, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []Grant
	if u := s.users[account]; u != nil {
		for _, g := range u.grants {
			out = append(out, Grant{u.id, u.name, u.kind, g.group, s.names[g.group], g.path, g.origin, g.role})
		}
	}
	slices.SortFunc(out, func(a, b Grant) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Path, b.Path)) })
	return out, nil
}

// Grants lists the grants of a group, or of the instance (group 0), by user and path.
func (d *Directory) Grants(ctx context.Context, group int64) ([]Grant, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []Grant
	for _, u := range s.users {
		for _, g := range u.grants {
			if g.group == group {
				out = append(out, Grant{u.id, u.name, u.kind, group, s.names[group], g.path, g.origin, g.role})
			}
		}
	}
	slices.SortFunc(out, func(a, b Grant) int {
		if c := strings.Compare(a.User, b.User); c != 0 {
			return c
		}
		return strings.Compare(a.Path, b.Path)
	})
	return out, nil
}

// PutGrant gives the user a role, instead of the one it had at exactly this place. Only AccountID, GroupID, Path and Role are
// read. check, if not nil, is told in the transaction of the change which role is there, nil when none is, and may refuse. ErrRole,
// ErrPath, ErrNotFound (user or group), ErrLastAdmin.
func (d *Directory) PutGrant(ctx context.Context, by Actor, g Grant, check func(now *Role) error) error {
	if err := g.check(); err != nil {
		return err
	}
	return d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return err
		}
		if err := targets(ctx, tx, g); err != nil {
			return err
		}
		before, err := grantNow(ctx, tx, g, check)
		if err != nil {
			return err
		}
		if means, err := roleMeans(ctx, tx, g.GroupID, g.Role); err != nil {
			return err
		} else if !means {
			return fmt.Errorf("%q: %w", g.Role, ErrRole)
		}
		err = tx.PutGrant(ctx, query.PutGrantParams{ID: tx.ID(), AccountID: g.AccountID, GroupID: g.GroupID, Path: g.Path, Role: string(g.Role)})
		if err != nil {
			return fmt.Errorf("put grant: %w", err)
		}
		return by.done(errors.Join(grantEvent(ctx, tx, by, g, before, &g.Role), keepAdmin(ctx, tx, admins)))
	})
}

// grantNow is the role that people gave an account at a place, nil when none, unless a precondition refuses it.
func grantNow(ctx context.Context, tx *meta.Tx, g Grant, check func(now *Role) error) (now *Role, err error) {
	rows, err := tx.AccountGrants(ctx, g.AccountID)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.GroupID == g.GroupID && row.Path == g.Path && row.Origin == "" {
			role := Role(row.Role)
			now = &role
		}
	}
	if check == nil {
		return now, nil
	}
	return now, check(now)
}

// DeleteGrant takes the role at exactly this place away. check is as in PutGrant. ErrNotFound, ErrLastAdmin.
func (d *Directory) DeleteGrant(ctx context.Context, by Actor, g Grant, check func(now *Role) error) error {
	return d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return err
		}
		before, err := grantNow(ctx, tx, g, check)
		if err != nil {
			return err
		}
		n, err := tx.DeleteGrant(ctx, query.DeleteGrantParams{AccountID: g.AccountID, GroupID: g.GroupID, Path: g.Path})
		if err != nil {
			return fmt.Errorf("delete grant: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("grant: %w", ErrNotFound)
		}
		return by.done(errors.Join(grantEvent(ctx, tx, by, g, before, nil), keepAdmin(ctx, tx, admins)))
	})
}

func (g Grant) check() error {
	if g.Path != "" && (g.GroupID == 0 || !oci.ValidRepository(g.Path)) {
		return fmt.Errorf("%q: %w", g.Path, ErrPath)
	}
	return nil
}

func targets(ctx context.Context, tx *meta.Tx, g Grant) error {
	n, err := tx.CountAccount(ctx, g.AccountID)
	if err != nil {
		return fmt.Errorf("user %d: %w", g.AccountID, err)
	}
	if n == 0 {
		return fmt.Errorf("user %d: %w", g.AccountID, ErrNotFound)
	}
	return groupExists(ctx, tx, g.GroupID)
}

// groupExists is nil for the instance (0) too; ErrNotFound.
func groupExists(ctx context.Context, tx *meta.Tx, group int64) error {
	if group == 0 {
		return nil
	}
	if _, err := tx.GetGroup(ctx, group); errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("group %d: %w", group, ErrNotFound)
	} else if err != nil {
		return fmt.Errorf("group %d: %w", group, err)
	}
	return nil
}

// grantEvent tells of a grant that was put, or deleted with after nil. Whose sign-in provider has mapped it, is in the detail.
func grantEvent(ctx context.Context, tx *meta.Tx, by Actor, g Grant, before, after *Role) error {
	kind := "grant.put"
	if after == nil {
		kind = "grant.deleted"
	}
	detail := map[string]any{"path": g.Path, "before": before, "after": after}
	if g.Origin != "" {
		detail["origin"] = g.Origin
	}
	return tx.Event(ctx, meta.Event{
		GroupID: g.GroupID, Kind: kind, ActorID: by.ID, Subject: fmt.Sprintf("user %d", g.AccountID), RequestID: by.RequestID, Detail: detail,
	})
}

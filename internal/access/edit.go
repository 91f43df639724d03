package access

import (
	"context"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
)

// Edit changes roles, robots and trust rules within a transaction of its caller's, with their events and their rows in the change
// feed. The Directory's own changes are such edits, each in a transaction of its own; package plan makes many in one.
type Edit struct {
	Tx  *meta.Tx
	By  Actor
	Now time.Time
}

// edit is an Edit in a transaction of its own.
func (d *Directory) edit(ctx context.Context, by Actor, fn func(context.Context, Edit) error) error {
	return d.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		return by.done(fn(ctx, Edit{Tx: tx, By: by, Now: d.now()}))
	})
}

func (e Edit) changed(ctx context.Context, key string) error {
	return e.Tx.Change(ctx, 0, changeKind, key)
}

// Check names what is wrong with a role, but for its being there already: ErrRoleName, ErrActions.
func (r RoleSet) Check() error { return r.check() }

// Check names what is wrong with a machine, but for what only the database can tell: ErrMachineName, ErrPath, ErrGrants.
func (m Machine) Check() error { return m.check() }

// Check names what is wrong with a trust rule, as that of a machine, or *FieldError.
func (r TrustRule) Check() error { return r.check() }

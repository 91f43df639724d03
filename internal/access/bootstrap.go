package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Bootstrapped is what Bootstrap did.
type Bootstrapped struct {
	Admin    int64  // id of the administrator it made; 0 when there were users before
	Name     string // of the administrator
	Password string // to print once; empty when it was given
}

const adminName = "admin"

// Bootstrap makes the administrator on the first start of an instance, with the given password or a random one. Later
// starts, and all but one of the replicas of a first one, change nothing: a password given then is ignored.
func (d *Directory) Bootstrap(ctx context.Context, password string) (Bootstrapped, error) {
	s, err := d.current(ctx)
	if err != nil || len(s.users) > 0 {
		return Bootstrapped{}, err
	}
	out := Bootstrapped{Name: adminName}
	if password == "" {
		out.Password = rand.Text()
		password = out.Password
	}
	hash, err := d.hashPassword(ctx, password, false)
	if err != nil {
		return Bootstrapped{}, fmt.Errorf("administrator's password: %w", err)
	}
	err = d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		out.Admin = 0
		if _, err := lockAdmins(ctx, tx); err != nil {
			return err
		}
		if users, err := tx.AccessUsers(ctx); err != nil || len(users) > 0 {
			return err
		}
		id := tx.ID()
		if err := d.insertUser(ctx, tx, Actor{}, id, adminName, hash, ""); err != nil {
			return err
		}
		out.Admin = id
		role := Admin
		err := tx.PutGrant(ctx, query.PutGrantParams{ID: tx.ID(), AccountID: id, Role: string(role)})
		return errors.Join(err, grantEvent(ctx, tx, Actor{}, Grant{AccountID: id}, nil, &role))
	})
	if err != nil {
		return Bootstrapped{}, fmt.Errorf("make the administrator: %w", err)
	}
	if out.Admin == 0 {
		return Bootstrapped{}, nil
	}
	return out, nil
}

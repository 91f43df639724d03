package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Account is a user as others see it.
type Account struct {
	ID          int64
	Name        string
	Disabled    bool
	HasPassword bool
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Actor is who makes a change, for the audit trail.
type Actor struct {
	ID        int64
	RequestID string

	// DryRun has changes of accounts, grants, roles, robots and trust rules made and taken back: ErrDryRun if they could be made.
	DryRun bool
}

// done is the end of a change in its transaction.
func (by Actor) done(err error) error {
	if err == nil && by.DryRun {
		return ErrDryRun
	}
	return err
}

// Accounts lists every user by name.
func (d *Directory) Accounts(ctx context.Context) ([]Account, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Account, 0, len(s.users))
	for _, u := range s.users {
		if u.kind == User {
			out = append(out, u.account())
		}
	}
	slices.SortFunc(out, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Account returns a user by name; ErrNotFound.
func (d *Directory) Account(ctx context.Context, name string) (Account, error) {
	s, err := d.current(ctx)
	if err != nil {
		return Account{}, err
	}
	u := s.byName[name]
	if u == nil || u.kind != User {
		return Account{}, fmt.Errorf("user %q: %w", name, ErrNotFound)
	}
	return u.account(), nil
}

// As returns the principal of an account, for questions that somebody asks on another's behalf: a user's name, or "<group>/<name>" for a
// robot or trust rule. The empty name is nobody. ErrNotFound, the same for who is not there and for whom the asker may not know of: robots
// and trust rules of groups, and users without a grant in any group, that he may see. Who has a role at the instance knows all users.
func (d *Directory) As(ctx context.Context, asker Principal, name string) (Principal, error) {
	if name == "" || name == string(Anonymous) {
		return Nobody(), nil
	}
	s, err := d.current(ctx)
	if err != nil {
		return Principal{}, err
	}
	u := s.byName[name]
	if u == nil || !s.knows(asker, u) {
		return Principal{}, fmt.Errorf("account %q, or you may not know of it: %w", name, ErrNotFound)
	}
	return u.principal(), nil
}

// knows reports whether somebody may know that there is an account.
func (s *snapshot) knows(asker Principal, u *user) bool {
	if asker.ID == u.id || s.check(asker, Request{Action: Administer}).Allowed {
		return true
	}
	sees := func(group int64) bool {
		return group != 0 && s.check(asker, Request{Action: View, Path: s.names[group]}).Allowed
	}
	if u.group != 0 {
		return sees(u.group)
	}
	if a := s.users[asker.ID]; a != nil && !a.disabled && asker.Ceiling == nil && slices.ContainsFunc(a.grants, func(g grant) bool { return g.group == 0 }) {
		return true
	}
	return slices.ContainsFunc(u.grants, func(g grant) bool { return sees(g.group) })
}

func (u *user) principal() Principal { return Principal{ID: u.id, Name: u.name, Kind: u.kind} }

func (u *user) account() Account {
	return Account{ID: u.id, Name: u.name, Disabled: u.disabled, HasPassword: u.hash != "", CreatedAt: u.created, UpdatedAt: u.updated}
}

// CreateUser adds a user. Without a password it can only log in with tokens that somebody makes for it. ErrName,
// ErrPassword, ErrExists.
func (d *Directory) CreateUser(ctx context.Context, by Actor, name, password string) (Account, error) {
	if !validName(name) {
		return Account{}, fmt.Errorf("user %q: %w", name, ErrName)
	}
	hash, err := d.hashPassword(ctx, password, true)
	if err != nil {
		return Account{}, fmt.Errorf("user %q: %w", name, err)
	}
	var id int64
	err = d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		id = tx.ID()
		return d.insertUser(ctx, tx, by, id, name, hash, "")
	})
	if err != nil {
		return Account{}, fmt.Errorf("create user %q: %w", name, err)
	}
	at := d.now().UTC().Truncate(time.Microsecond)
	return Account{ID: id, Name: name, HasPassword: hash != "", CreatedAt: at, UpdatedAt: at}, nil
}

// insertUser makes a user; origin is the sign-in provider that has brought it, empty for none.
func (d *Directory) insertUser(ctx context.Context, tx *meta.Tx, by Actor, id int64, name, hash, origin string) error {
	switch _, err := tx.AccessAccountByName(ctx, query.AccessAccountByNameParams{Name: name}); {
	case err == nil:
		return ErrExists
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	now := d.now().UnixMicro()
	err := tx.InsertAccount(ctx, query.InsertAccountParams{ID: id, Kind: string(User), Name: name, PasswordHash: hash, CreatedAt: now, UpdatedAt: now})
	if err != nil {
		return err
	}
	var detail any
	if origin != "" {
		detail = map[string]string{"origin": origin}
	}
	return tx.Event(ctx, meta.Event{Kind: "user.created", ActorID: by.ID, Subject: fmt.Sprintf("user %d", id), RequestID: by.RequestID, Detail: detail})
}

// SetPassword changes a user's password. Bearer and refresh tokens that the old one gave end with it. ErrPassword, ErrNotFound.
func (d *Directory) SetPassword(ctx context.Context, by Actor, userID int64, password string) error {
	hash, err := d.hashPassword(ctx, password, false)
	if err != nil {
		return err
	}
	return d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		n, err := tx.UpdateAccountPassword(ctx, query.UpdateAccountPasswordParams{PasswordHash: hash, UpdatedAt: d.now().UnixMicro(), ID: userID})
		return changedUser(ctx, tx, by, userID, "user.password", n, err)
	})
}

// CheckPassword is nil if the password is the user's: for a change of one's own. Errors as Login, with the same limit on
// wrong ones; a token is no password.
func (d *Directory) CheckPassword(ctx context.Context, userID int64, password string, from netip.Addr) error {
	s, err := d.current(ctx)
	if err != nil {
		return err
	}
	u := s.users[userID]
	if u == nil {
		return fmt.Errorf("user %d: %w", userID, ErrNotFound)
	}
	_, err = d.withPassword(ctx, u.name, password, Credentials{Address: from})
	return err
}

// SetDisabled locks a user out, tokens included, or lets it in again. check, if not nil, is told what is there, in the transaction of
// the change, and may refuse. ErrNotFound, ErrLastAdmin.
func (d *Directory) SetDisabled(ctx context.Context, by Actor, userID int64, disabled bool, check func(now *Account) error) error {
	kind := "user.enabled"
	if disabled {
		kind = "user.disabled"
	}
	return d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return err
		}
		if err := userNow(ctx, tx, userID, check); err != nil {
			return err
		}
		n, err := tx.UpdateAccountDisabled(ctx, query.UpdateAccountDisabledParams{Disabled: disabled, UpdatedAt: d.now().UnixMicro(), ID: userID})
		return by.done(errors.Join(changedUser(ctx, tx, by, userID, kind, n, err), keepAdmin(ctx, tx, admins)))
	})
}

// DeleteUser removes a user with its grants, tokens, sessions and identities elsewhere. Events keep its id. check is as in SetDisabled.
// ErrNotFound, ErrLastAdmin.
func (d *Directory) DeleteUser(ctx context.Context, by Actor, userID int64, check func(now *Account) error) error {
	return d.write(ctx, keyEverything, func(ctx context.Context, tx *meta.Tx) error {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return err
		}
		if err := userNow(ctx, tx, userID, check); err != nil {
			return err
		}
		if err := deleteUser(ctx, tx, by, userID); err != nil {
			return err
		}
		return by.done(keepAdmin(ctx, tx, admins))
	})
}

// deleteUser removes a user. What it was granted is in the event, and in one of each group's own: who loses rights there shows where
// they were.
func deleteUser(ctx context.Context, tx *meta.Tx, by Actor, id int64) error {
	row, err := tx.GetAccount(ctx, id)
	if err != nil {
		return err
	}
	rows, err := tx.AccountGrants(ctx, id)
	if err != nil {
		return err
	}
	groups, err := tx.AccessGroups(ctx)
	if err != nil {
		return err
	}
	names := map[int64]string{}
	for _, g := range groups {
		names[g.ID] = g.Name
	}
	if err := deleteAccount(ctx, tx, id); err != nil {
		return err
	}
	grants := make([]map[string]string, 0, len(rows))
	for _, g := range rows {
		role := Role(g.Role)
		gone := Grant{AccountID: id, GroupID: g.GroupID, Path: g.Path, Origin: g.Origin}
		if err := grantEvent(ctx, tx, by, gone, &role, nil); err != nil {
			return err
		}
		grants = append(grants, map[string]string{"group": names[g.GroupID], "path": g.Path, "role": g.Role, "origin": g.Origin})
	}
	return tx.Event(ctx, meta.Event{
		Kind: "user.deleted", ActorID: by.ID, Subject: fmt.Sprintf("user %d", id), RequestID: by.RequestID,
		Detail: map[string]any{"before": map[string]any{"disabled": row.Disabled, "grants": grants}, "after": nil},
	})
}

// userNow runs a precondition on a user as it is, and keeps changes of users from robots and trust rules, which belong to their groups.
// ErrNotFound.
func userNow(ctx context.Context, tx *meta.Tx, id int64, check func(now *Account) error) error {
	row, err := tx.GetAccount(ctx, id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && row.Kind != string(User) {
		return fmt.Errorf("user %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return err
	}
	return checked(check, &Account{
		ID: row.ID, Name: row.Name, Disabled: row.Disabled, HasPassword: row.PasswordHash != "", CreatedAt: fromMicros(row.CreatedAt), UpdatedAt: fromMicros(row.UpdatedAt),
	})
}

func changedUser(ctx context.Context, tx *meta.Tx, by Actor, userID int64, kind string, rows int64, err error) error {
	if err != nil {
		return err
	}
	if rows == 0 {
		return fmt.Errorf("user %d: %w", userID, ErrNotFound)
	}
	return tx.Event(ctx, meta.Event{Kind: kind, ActorID: by.ID, Subject: fmt.Sprintf("user %d", userID), RequestID: by.RequestID})
}

// lockAdmins counts the administrators, and makes changes that may remove one follow each other: two of them must not each
// count the other.
func lockAdmins(ctx context.Context, tx *meta.Tx) (int64, error) {
	err := tx.PutSetting(ctx, query.PutSettingParams{Name: "access.administrators", Value: "locked by changes of administrators"})
	if err != nil {
		return 0, err
	}
	return tx.CountAdmins(ctx)
}

func keepAdmin(ctx context.Context, tx *meta.Tx, before int64) error {
	n, err := tx.CountAdmins(ctx)
	if err == nil && n == 0 && before > 0 {
		err = ErrLastAdmin
	}
	return err
}

// write is one transaction with its row in the change feed.
func (d *Directory) write(ctx context.Context, key string, fn func(context.Context, *meta.Tx) error) error {
	return d.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return tx.Change(ctx, 0, changeKind, key)
	})
}

func (d *Directory) hashPassword(ctx context.Context, password string, optional bool) (string, error) {
	if password == "" && optional {
		return "", nil
	}
	if len(password) < minPassword || len(password) > maxPassword || strings.HasPrefix(password, tokenPrefix) {
		return "", ErrPassword
	}
	return d.hasher.hash(ctx, password)
}

const (
	minPassword = 8 // of new ones
	maxPassword = 1024
	maxName     = 128
)

// validName keeps ":" out, which ends the name in Basic logins, and everything that would need quoting somewhere.
func validName(s string) bool {
	if s == "" || len(s) > maxName || s == string(Anonymous) || s == WorkloadUser {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && strings.IndexByte("._@+-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

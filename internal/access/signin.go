package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Identity is who somebody is elsewhere. It is all that SignIn needs to know, whatever has proved it: OpenID Connect does in package
// access/oidc; LDAP and SAML would fill in the same.
type Identity struct {
	Provider string // as the operator calls it
	Issuer   string // whose word it is; with Subject it names a person for good
	Subject  string
	Name     string // the user name that somebody new gets, if nobody has it
	Grants   []Mapped
}

// Mapped is a grant that a provider's claims stand for.
type Mapped struct {
	Group string // empty = the instance
	Path  string
	Role  Role
}

// ErrSignIn is returned for a person who may not sign in; its text is for that person.
var ErrSignIn = errors.New("you may not sign in here")

// SignIn is the user that an identity belongs to. Somebody new becomes a user: accounts are linked by issuer and subject alone, since
// names and mail addresses change hands. The grants that the provider mapped before become those that it maps now; what people have
// granted stays. ErrSignIn for a disabled user.
func (d *Directory) SignIn(ctx context.Context, i Identity, requestID string) (Principal, error) {
	if i.Issuer == "" || i.Subject == "" || i.Provider == "" {
		return Principal{}, fmt.Errorf("identity without issuer or subject: %w", ErrSignIn)
	}
	var id int64
	err := d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return err
		}
		if id, err = d.linked(ctx, tx, i, requestID); err != nil {
			return err
		}
		at := d.now().UnixMicro()
		if err := tx.PutIdentity(ctx, query.PutIdentityParams{Issuer: i.Issuer, Subject: i.Subject, AccountID: id, CreatedAt: at}); err != nil {
			return err
		}
		if err := d.mapGrants(ctx, tx, id, i); err != nil {
			return err
		}
		return keepAdmin(ctx, tx, admins)
	})
	if err != nil {
		return Principal{}, fmt.Errorf("sign in by %s: %w", i.Provider, err)
	}
	s, err := d.current(ctx)
	if err != nil {
		return Principal{}, err
	}
	u := s.users[id]
	if u == nil || u.disabled {
		return Principal{}, fmt.Errorf("the account is disabled: %w", ErrSignIn)
	}
	return u.principal(), nil
}

// linked is the account of an identity, made now if there is none.
func (d *Directory) linked(ctx context.Context, tx *meta.Tx, i Identity, requestID string) (int64, error) {
	row, err := tx.GetIdentity(ctx, query.GetIdentityParams{Issuer: i.Issuer, Subject: i.Subject})
	if err == nil {
		account, err := tx.GetAccount(ctx, row.AccountID)
		if err == nil && account.Disabled {
			err = fmt.Errorf("the account is disabled: %w", ErrSignIn)
		}
		return row.AccountID, err
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	id := tx.ID()
	base := userName(i.Name)
	for n := 1; n < 1000; n++ {
		name := base
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		err := d.insertUser(ctx, tx, Actor{ID: id, RequestID: requestID}, id, name, "")
		if !errors.Is(err, ErrExists) {
			return id, err
		}
	}
	return 0, fmt.Errorf("every name like yours is taken: %w", ErrSignIn)
}

// userName makes a user name of what a provider calls somebody.
func userName(s string) string {
	s = strings.TrimLeft(strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._@+-", r)) {
			return r
		}
		return '-'
	}, s), "._@+-")
	s = s[:min(len(s), maxName-4)]
	if !validName(s) {
		return "user"
	}
	return s
}

func (d *Directory) mapGrants(ctx context.Context, tx *meta.Tx, id int64, i Identity) error {
	if err := tx.DeleteMappedGrants(ctx, query.DeleteMappedGrantsParams{AccountID: id, Origin: i.Provider}); err != nil {
		return err
	}
	groups, err := tx.AccessGroups(ctx)
	if err != nil {
		return err
	}
	ids := map[string]int64{"": 0}
	for _, g := range groups {
		ids[g.Name] = g.ID
	}
	for _, m := range i.Grants {
		group, ok := ids[m.Group]
		g := Grant{AccountID: id, GroupID: group, Path: m.Path, Role: m.Role}
		means := false
		if ok && g.check() == nil {
			if means, err = roleMeans(ctx, tx, group, m.Role); err != nil {
				return err
			}
		}
		if !means { // the operator's mapping is ahead of the groups, or behind
			d.log.Warn("a sign-in maps a grant that cannot be", "provider", i.Provider, "group", m.Group, "path", m.Path, "role", string(m.Role))
			continue
		}
		err := tx.PutGrant(ctx, query.PutGrantParams{ID: tx.ID(), AccountID: id, GroupID: group, Path: m.Path, Role: string(m.Role), Origin: i.Provider})
		if err != nil {
			return err
		}
	}
	return nil
}

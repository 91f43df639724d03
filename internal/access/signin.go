package access

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Identity is who somebody is elsewhere, proved. It is all that SignIn needs to know, whatever has proved it, and the one thing that a
// way to do so has to deliver: OpenID Connect does in package access/oidc. SAML, to which a browser is sent and from which it comes back,
// would be another signin.Provider; LDAP, which checks a name with a password, would be asked by Directory.Login for
// names that are no user's with a password here. ADR 16 says what each puts into the fields.
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
// granted stays. What changes are events of that user. ErrSignIn for a disabled user.
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
		known := true
		if id, err = linked(ctx, tx, i); errors.Is(err, sql.ErrNoRows) {
			known, id, err = false, tx.ID(), nil
		}
		if err != nil {
			return err
		}
		who := event.ActorFrom(ctx)
		who.ID, who.Kind = id, string(User)
		ctx = event.WithActor(ctx, who)
		by := Actor{ID: id, RequestID: requestID}
		if !known {
			if err := d.signUp(ctx, tx, by, i); err != nil {
				return err
			}
		}
		at := d.now().UnixMicro()
		if err := tx.PutIdentity(ctx, query.PutIdentityParams{Issuer: i.Issuer, Subject: i.Subject, AccountID: id, CreatedAt: at}); err != nil {
			return err
		}
		if err := d.mapGrants(ctx, tx, by, i); err != nil {
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
		return Principal{}, disabledSignIn(id)
	}
	return u.principal(), nil
}

func disabledSignIn(id int64) error {
	const why = "the account is disabled"
	return fmt.Errorf("%s: %w", why, &event.RefusedError{Refusal: event.Refusal{Account: id, Reason: why}, Cause: ErrSignIn})
}

// linked is the account of an identity; sql.ErrNoRows without one.
func linked(ctx context.Context, tx *meta.Tx, i Identity) (int64, error) {
	row, err := tx.GetIdentity(ctx, query.GetIdentityParams{Issuer: i.Issuer, Subject: i.Subject})
	if err != nil {
		return 0, err
	}
	account, err := tx.GetAccount(ctx, row.AccountID)
	if err == nil && account.Disabled {
		err = disabledSignIn(account.ID)
	}
	return row.AccountID, err
}

// signUp makes the user of a new identity, by its name if that is free.
func (d *Directory) signUp(ctx context.Context, tx *meta.Tx, by Actor, i Identity) error {
	base := userName(i.Name)
	for n := 1; n < 1000; n++ {
		name := base
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		err := d.insertUser(ctx, tx, by, by.ID, name, "", i.Provider)
		if !errors.Is(err, ErrExists) {
			return err
		}
	}
	return fmt.Errorf("every name like yours is taken: %w", ErrSignIn)
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

// place is where a grant is.
type place struct {
	group int64
	path  string
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.group, o.group), cmp.Compare(p.path, o.path))
}

// mapGrants makes the grants that the provider maps those of the identity. Each that comes, changes or goes is an event.
func (d *Directory) mapGrants(ctx context.Context, tx *meta.Tx, by Actor, i Identity) error {
	want, err := d.mapped(ctx, tx, i)
	if err != nil {
		return err
	}
	rows, err := tx.AccountGrants(ctx, by.ID)
	if err != nil {
		return err
	}
	now := map[place]Role{}
	for _, row := range rows {
		if row.Origin == i.Provider {
			now[place{row.GroupID, row.Path}] = Role(row.Role)
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(union(now, want)), place.compare) {
		before, after := roleAt(now, at), roleAt(want, at)
		if before != nil && after != nil && *before == *after {
			continue
		}
		g := Grant{AccountID: by.ID, GroupID: at.group, Path: at.path, Origin: i.Provider}
		if after == nil {
			_, err = tx.DeleteGrant(ctx, query.DeleteGrantParams{AccountID: by.ID, GroupID: at.group, Path: at.path, Origin: i.Provider})
		} else {
			err = tx.PutGrant(ctx, query.PutGrantParams{
				ID: tx.ID(), AccountID: by.ID, GroupID: at.group, Path: at.path, Role: string(*after), Origin: i.Provider,
			})
		}
		if err := errors.Join(err, grantEvent(ctx, tx, by, g, before, after)); err != nil {
			return err
		}
	}
	return nil
}

func union(a, b map[place]Role) map[place]Role {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func roleAt(roles map[place]Role, at place) *Role {
	if role, ok := roles[at]; ok {
		return &role
	}
	return nil
}

// mapped are the roles that an identity comes with, without those that cannot be. Of two at one place the last counts.
func (d *Directory) mapped(ctx context.Context, tx *meta.Tx, i Identity) (map[place]Role, error) {
	groups, err := tx.AccessGroups(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]int64{"": 0}
	for _, g := range groups {
		ids[g.Name] = g.ID
	}
	out := map[place]Role{}
	for _, m := range i.Grants {
		group, ok := ids[m.Group]
		means := false
		if ok && (Grant{GroupID: group, Path: m.Path}).check() == nil {
			if means, err = roleMeans(ctx, tx, group, m.Role); err != nil {
				return nil, err
			}
		}
		if !means { // the operator's mapping is ahead of the groups, or behind
			d.log.Warn("a sign-in maps a grant that cannot be", "provider", i.Provider, "group", m.Group, "path", m.Path, "role", string(m.Role))
			continue
		}
		out[place{group, m.Path}] = m.Role
	}
	return out, nil
}

package access

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// cheap keeps tests quick; the cost is no part of what they check.
var cheap = Hashing{MemoryKiB: 64, Passes: 1}

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is a directory with the groups acme and rival.
type world struct {
	*Directory
	t     *testing.T
	clock *clock
	group map[string]int64
}

func newWorld(t *testing.T, db *meta.DB, change ...func(*Options)) *world {
	t.Helper()
	sealer, _, err := seal.OpenFile(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{at: time.Now()}
	o := Options{DB: db, Sealer: sealer, Hashing: cheap, Now: c.now}
	for _, f := range change {
		f(&o)
	}
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	w := &world{Directory: d, t: t, clock: c, group: map[string]int64{}}
	for _, name := range []string{"acme", "rival"} {
		w.group[name] = addGroup(t, db, name)
	}
	return w
}

func addGroup(t *testing.T, db *meta.DB, name string) (id int64) {
	t.Helper()
	err := db.Write(t.Context(), func(ctx ctxt, tx *meta.Tx) error {
		id = tx.ID()
		if err := tx.InsertGroup(ctx, query.InsertGroupParams{ID: id, Name: name, Enabled: true}); err != nil {
			return err
		}
		return tx.Change(ctx, id, meta.ChangeDefinition, "group")
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// user adds a user with grants written "role@group/path", "role@group" or "role@".
func (w *world) user(name, password string, grants ...string) Account {
	w.t.Helper()
	a, err := w.CreateUser(w.t.Context(), Actor{}, name, password)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, g := range grants {
		w.grant(a.ID, g)
	}
	return a
}

func (w *world) grant(user int64, text string) {
	w.t.Helper()
	if err := w.PutGrant(w.t.Context(), Actor{}, w.parseGrant(user, text), nil); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
}

func (w *world) parseGrant(user int64, text string) Grant {
	role, place, _ := cut(text, "@")
	group, path, _ := cut(place, "/")
	return Grant{AccountID: user, GroupID: w.group[group], Path: path, Role: Role(role)}
}

func (w *world) may(p Principal, a Action, path string) bool {
	w.t.Helper()
	d, err := w.Check(w.t.Context(), p, Request{Action: a, Path: path})
	if err != nil {
		w.t.Fatal(err)
	}
	return d.Allowed
}

func (w *world) token(user Account, name string, expires time.Time, c *Ceiling) (string, Token) {
	w.t.Helper()
	text, tok, err := w.CreateToken(w.t.Context(), Actor{}, user.ID, name, expires, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return text, tok
}

func onEach(t *testing.T, fn func(t *testing.T, w *world)) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) { fn(t, newWorld(t, db)) })
}

func TestAccounts(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice := w.user("alice", "pw-12345")
		if _, err := w.CreateUser(ctx, Actor{}, "alice", ""); !errors.Is(err, ErrExists) {
			t.Errorf("twice: %v", err)
		}
		for _, name := range []string{"", "a:b", "-a", "a b", "ä", "anonymous", string(make([]byte, 129))} {
			if _, err := w.CreateUser(ctx, Actor{}, name, ""); !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, password := range []string{"weir_looks-like-a-token", "1234567", string(make([]byte, 1025))} {
			if _, err := w.CreateUser(ctx, Actor{}, "bob", password); !errors.Is(err, ErrPassword) {
				t.Errorf("%q: %v", password, err)
			}
		}
		if err := w.SetPassword(ctx, Actor{}, alice.ID, ""); !errors.Is(err, ErrPassword) {
			t.Error(err)
		}
		if err := w.SetPassword(ctx, Actor{}, 42, "x-1234567"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		w.token(alice, "t", time.Time{}, nil)
		if err := w.DeleteUser(ctx, Actor{}, alice.ID, nil); err != nil {
			t.Error(err)
		}
		if _, err := w.Account(ctx, "alice"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestLastAdministratorStays(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		b, err := w.Bootstrap(ctx, "")
		if err != nil || b.Admin == 0 || b.Name != "admin" || len(b.Password) < 20 {
			t.Fatalf("%+v, %v", b, err)
		}
		if again, err := w.Bootstrap(ctx, "other-12345"); err != nil || again.Admin != 0 || again.Password != "" {
			t.Errorf("second start: %+v, %v", again, err)
		}
		if _, err := w.Login(ctx, "admin", b.Password, Credentials{}); err != nil {
			t.Error(err)
		}
		for name, change := range map[string]func() error{
			"delete":  func() error { return w.DeleteUser(ctx, Actor{}, b.Admin, nil) },
			"disable": func() error { return w.SetDisabled(ctx, Actor{}, b.Admin, true, nil) },
			"demote":  func() error { return w.PutGrant(ctx, Actor{}, Grant{AccountID: b.Admin, Role: Reader}, nil) },
			"revoke":  func() error { return w.DeleteGrant(ctx, Actor{}, Grant{AccountID: b.Admin}, nil) },
		} {
			if err := change(); !errors.Is(err, ErrLastAdmin) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.user("second", "pw-12345", "admin@")
		if err := w.DeleteUser(ctx, Actor{}, b.Admin, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestTwoAdministratorsCannotRemoveEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		a, b := w.user("a", "", "admin@"), w.user("b", "", "admin@")
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for i, victim := range []Account{a, b} {
			wg.Go(func() { errs[i] = w.DeleteUser(t.Context(), Actor{}, victim.ID, nil) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), ErrLastAdmin) {
			t.Error(errs)
		}
	})
}

func TestBootstrapByTwoReplicas(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			o := metatest.Options(t, engine)
			a := newWorld(t, metatest.Reopen(t, o))
			replicas := []*Directory{a.Directory, a.Directory}
			if engine == meta.PostgreSQL {
				d, err := Open(t.Context(), Options{DB: metatest.Reopen(t, o), Sealer: a.sealer, Hashing: cheap})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = d.Close() })
				replicas[1] = d
			}
			made := make([]int64, 2)
			var wg sync.WaitGroup
			for i, d := range replicas {
				wg.Go(func() {
					b, err := d.Bootstrap(t.Context(), "pw-12345")
					if err != nil {
						t.Error(err)
					}
					made[i] = b.Admin
				})
			}
			wg.Wait()
			if (made[0] == 0) == (made[1] == 0) {
				t.Errorf("administrators made: %v", made)
			}
		})
	}
}

func TestGrantsAreChecked(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice := w.user("alice", "")
		for name, tc := range map[string]struct {
			g    Grant
			want error
		}{
			"role":            {Grant{AccountID: alice.ID, GroupID: w.group["acme"], Role: "boss"}, ErrRole},
			"admin of group":  {Grant{AccountID: alice.ID, GroupID: w.group["acme"], Role: Admin}, ErrRole},
			"path":            {Grant{AccountID: alice.ID, GroupID: w.group["acme"], Path: "../x", Role: Reader}, ErrPath},
			"trailing slash":  {Grant{AccountID: alice.ID, GroupID: w.group["acme"], Path: "x/", Role: Reader}, ErrPath},
			"path everywhere": {Grant{AccountID: alice.ID, Path: "x", Role: Reader}, ErrPath},
			"user":            {Grant{AccountID: 1, GroupID: w.group["acme"], Role: Reader}, ErrNotFound},
			"group":           {Grant{AccountID: alice.ID, GroupID: 1, Role: Reader}, ErrNotFound},
		} {
			if err := w.PutGrant(ctx, Actor{}, tc.g, nil); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.grant(alice.ID, "reader@acme/app")
		w.grant(alice.ID, "owner@acme/app")
		grants, err := w.Grants(ctx, w.group["acme"])
		if err != nil || len(grants) != 1 || grants[0].Role != Owner || grants[0].User != "alice" || grants[0].Group != "acme" {
			t.Errorf("%+v, %v", grants, err)
		}
		if err := w.DeleteGrant(ctx, Actor{}, grants[0], nil); err != nil {
			t.Error(err)
		}
		if err := w.DeleteGrant(ctx, Actor{}, grants[0], nil); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

// What one replica changes counts on another one soon, and at once on its own.
func TestChangesReachOtherReplicas(t *testing.T) {
	o := metatest.Options(t, meta.PostgreSQL)
	a := newWorld(t, metatest.Reopen(t, o))
	b, err := Open(t.Context(), Options{DB: metatest.Reopen(t, o), Sealer: a.sealer, Hashing: cheap})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	alice := a.user("alice", "pw-12345", "reader@acme")
	text, tok := a.token(alice, "ci", time.Time{}, nil)
	header := Credentials{Authorization: "Bearer " + text}
	eventually(t, "login on the other replica", func() bool {
		p, err := b.Authenticate(t.Context(), header)
		if err != nil {
			return false
		}
		d, err := b.Check(t.Context(), p, Request{Action: Pull, Path: "acme/app"})
		return err == nil && d.Allowed
	})
	p, _ := a.Authenticate(t.Context(), header)
	issued, err := a.IssueBearer(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "bearer token on the other replica", func() bool {
		_, err := b.Authenticate(t.Context(), Credentials{Authorization: "Bearer " + issued.Text})
		return err == nil
	})
	if err := a.RevokeToken(t.Context(), Actor{}, alice.ID, tok.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), header); err == nil {
		t.Error("revoked here, but accepted")
	}
	for _, credential := range []string{text, issued.Text} {
		eventually(t, "revocation on the other replica", func() bool {
			_, err := b.Authenticate(t.Context(), Credentials{Authorization: "Bearer " + credential})
			return oci.ErrorCode(err) == oci.CodeUnauthorized
		})
	}
}

// eventually waits for the change feed's poll, which has a real clock.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not in time: ", what)
		}
	}
}

func TestLastUseIsWrittenOnClose(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		alice := w.user("alice", "")
		text, _ := w.token(alice, "ci", time.Time{}, nil)
		if _, err := w.Login(t.Context(), "any", text, Credentials{}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		tokens, err := w.Tokens(t.Context(), alice.ID)
		if err != nil || len(tokens) != 1 || tokens[0].LastUsedAt.IsZero() {
			t.Errorf("%+v, %v", tokens, err)
		}
	})
}

func TestSigningKeysRotate(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := Principal{ID: w.user("alice", "pw-12345").ID}
		old, err := w.IssueBearer(ctx, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.RotateSigningKey(ctx, Actor{}); err != nil {
			t.Fatal(err)
		}
		fresh, err := w.IssueBearer(ctx, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"old": old.Text, "fresh": fresh.Text} {
			if _, err := w.Authenticate(ctx, Credentials{Authorization: "Bearer " + text}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		s, err := w.current(ctx)
		if err != nil || len(s.keys) != 2 {
			t.Fatal(len(s.keys), err)
		}
		if fmt.Sprint(s.signing.id) == fmt.Sprint(s.keys[1].id) {
			t.Error("the old key still signs")
		}
	})
}

func TestAnotherKeysetIsAClearError(t *testing.T) {
	o := metatest.Options(t, meta.SQLite)
	db := metatest.Reopen(t, o)
	newWorld(t, db)
	sealer, _, err := seal.OpenFile(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{DB: db, Sealer: sealer}); !errors.Is(err, seal.ErrSealed) {
		t.Error(err)
	}
}

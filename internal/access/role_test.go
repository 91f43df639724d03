package access

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

func TestCustomRoles(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx, acme := t.Context(), w.group["acme"]
		for name, tc := range map[string]struct {
			r    RoleSet
			want error
		}{
			"built-in":   {RoleSet{GroupID: acme, Role: Reader, Actions: []Action{Pull}}, ErrRoleName},
			"name":       {RoleSet{GroupID: acme, Role: "a b", Actions: []Action{Pull}}, ErrRoleName},
			"empty":      {RoleSet{GroupID: acme, Role: "nothing"}, ErrActions},
			"unknown":    {RoleSet{GroupID: acme, Role: "pilot", Actions: []Action{Pull, "fly"}}, ErrActions},
			"administer": {RoleSet{Role: "root", Actions: []Action{Pull, Administer}}, ErrActions},
			"group":      {RoleSet{GroupID: 1, Role: "lost", Actions: []Action{Pull}}, ErrNotFound},
		} {
			if _, err := w.PutRole(ctx, Actor{}, tc.r, nil); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.role(acme, "pusher", Push, Pull)
		w.role(0, "auditor", View, Audit)
		bob := w.user("bob", "", "pusher@acme/app", "auditor@rival")
		p := bob.principal()
		w.wants(p, "acme/app/x", "pull push")
		w.wants(p, "acme/apple", "")
		w.wants(p, "rival/x", "view audit")

		w.role(acme, "pusher", Push, Delete) // changes for everybody who has it
		w.wants(p, "acme/app", "push delete")
		w.role(acme, "auditor", Audit) // the group's own comes first
		w.grant(bob.ID, "auditor@acme/logs")
		w.wants(p, "acme/logs", "audit")
		w.wants(p, "rival/x", "view audit")

		for _, d := range []struct {
			group int64
			role  Role
		}{{acme, "pusher"}, {0, "auditor"}} {
			if err := w.DeleteRole(ctx, Actor{}, d.group, d.role, nil); !errors.Is(err, ErrRoleInUse) {
				t.Errorf("%s: %v", d.role, err)
			}
		}
		refusal := errors.New("changed")
		if err := w.DeleteRole(ctx, Actor{}, acme, "pusher", func(*RoleSet) error { return refusal }); !errors.Is(err, refusal) {
			t.Error(err)
		}
		if err := w.DeleteGrant(ctx, Actor{}, w.parseGrant(bob.ID, "@acme/app"), nil); err != nil {
			t.Fatal(err)
		}
		if err := w.DeleteRole(ctx, Actor{}, acme, "pusher", nil); err != nil {
			t.Error(err)
		}
		if err := w.DeleteRole(ctx, Actor{}, acme, "pusher", nil); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if err := w.PutGrant(ctx, Actor{}, w.parseGrant(bob.ID, "pusher@acme"), nil); !errors.Is(err, ErrRole) {
			t.Error("granted a role that is gone: ", err)
		}
		roles, err := w.Roles(ctx, acme)
		if err != nil || len(roles) != 5 || roles[3].Role != Owner || roles[4].GroupID != acme {
			t.Errorf("%+v, %v", roles, err)
		}
	})
}

// Nobody gets more by a role of another group than what that group says.
func TestRolesStayInTheirGroup(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.role(w.group["rival"], "boss", Own, Push)
	bob := w.user("bob", "")
	if err := w.PutGrant(t.Context(), Actor{}, w.parseGrant(bob.ID, "boss@acme"), nil); !errors.Is(err, ErrRole) {
		t.Error(err)
	}
	w.role(w.group["acme"], "boss", Pull)
	w.grant(bob.ID, "boss@acme")
	w.wants(bob.principal(), "acme/app", "pull")
}

func TestPermissions(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	bob := w.user("bob", "", "reader@acme", "developer@acme/team")
	limited := bob.principal()
	limited.Ceiling = &Ceiling{Scopes: []Scope{{Path: "acme", Actions: []Action{Pull}}}}
	got, err := w.Permissions(t.Context(), limited, "acme/team/app", false)
	if err != nil || len(got) != len(Actions()) {
		t.Fatal(got, err)
	}
	want := map[Action]Cause{Pull: Granted, Catalog: Granted, View: Limited, Push: Limited, Delete: Ungranted, Administer: Ungranted}
	for _, p := range got {
		if c, ok := want[p.Action]; ok && (p.Cause != c || p.Allowed != (c == Granted)) {
			t.Errorf("%s: %+v", p.Action, p.Decision)
		}
		if p.Action == Pull && (p.Role != Developer || p.Scope != "acme/team") || p.Action == Push && p.Scope != "acme/team" {
			t.Errorf("%s by %+v", p.Action, p.Decision)
		}
	}
	nobody, err := w.Permissions(t.Context(), Nobody(), "acme/team/app", true)
	if err != nil || !nobody[0].Allowed || nobody[0].Cause != Public || nobody[1].Allowed {
		t.Errorf("%+v, %v", nobody, err)
	}
}

func (a Account) principal() Principal { return Principal{ID: a.ID, Name: a.Name, Kind: User} }

func (w *world) role(group int64, name Role, actions ...Action) {
	w.t.Helper()
	if _, err := w.PutRole(w.t.Context(), Actor{}, RoleSet{GroupID: group, Role: name, Actions: actions}, nil); err != nil {
		w.t.Fatal(err)
	}
}

// wants compares everything that p may do at a path.
func (w *world) wants(p Principal, path, actions string) {
	w.t.Helper()
	var got []string
	for _, a := range Actions() {
		if a != Administer && w.may(p, a, path) {
			got = append(got, string(a))
		}
	}
	want := strings.Fields(actions)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s at %s may %v, want %v", p.Name, path, got, want)
	}
}

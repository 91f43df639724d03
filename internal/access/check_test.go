package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

type ctxt = context.Context

func cut(s, sep string) (string, string, bool) { return strings.Cut(s, sep) }

// The matrix: who may what where. Everything that is not listed is denied.
func TestMatrix(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	who := map[string]Principal{"nobody": Nobody()}
	for name, grants := range map[string][]string{
		"none": nil, "reader": {"reader@acme"}, "developer": {"developer@acme"}, "maintainer": {"maintainer@acme"},
		"owner": {"owner@acme"}, "admin": {"admin@"}, "everywhere": {"reader@"}, "path": {"developer@acme/team/app"},
		"mixed": {"reader@acme", "owner@acme/team"}, "rival": {"owner@rival"},
	} {
		a := w.user(name, "", grants...)
		who[name] = Principal{ID: a.ID, Name: name, Kind: User}
	}
	all := "pull catalog push delete configure own"
	allowed := map[string]map[string]string{
		"acme": {
			"reader": "pull catalog", "developer": "pull catalog push", "maintainer": "pull catalog push delete configure",
			"owner": all, "admin": all, "everywhere": "pull catalog", "mixed": "pull catalog",
		},
		"acme/team/app": {
			"reader": "pull catalog", "developer": "pull catalog push", "maintainer": "pull catalog push delete configure",
			"owner": all, "admin": all, "everywhere": "pull catalog", "mixed": all, "path": "pull catalog push",
		},
		"acme/team/app/sub": {
			"reader": "pull catalog", "developer": "pull catalog push", "maintainer": "pull catalog push delete configure",
			"owner": all, "admin": all, "everywhere": "pull catalog", "mixed": all, "path": "pull catalog push",
		},
		"acme/team/application": { // shares letters, not segments
			"reader": "pull catalog", "developer": "pull catalog push", "maintainer": "pull catalog push delete configure",
			"owner": all, "admin": all, "everywhere": "pull catalog", "mixed": all,
		},
		"acme/team": {
			"reader": "pull catalog", "developer": "pull catalog push", "maintainer": "pull catalog push delete configure",
			"owner": all, "admin": all, "everywhere": "pull catalog", "mixed": all,
		},
		"acme/teams": {
			"reader": "pull catalog", "developer": "pull catalog push", "maintainer": "pull catalog push delete configure",
			"owner": all, "admin": all, "everywhere": "pull catalog", "mixed": "pull catalog",
		},
		"rival/team/app": {"admin": all, "everywhere": "pull catalog", "rival": all},
		"acmex/team/app": {"admin": all, "everywhere": "pull catalog"}, // no such group: the same as one that is not yours
		"team/app":       {"admin": all, "everywhere": "pull catalog"},
		// Never names of anything; not for the administrator either.
		"acme/../rival/app": {}, "acme//app": {}, "/acme/app": {}, "acme/app/": {}, "ACME/app": {}, "acme/app\x00": {}, "": {}, ".": {}, "acme/%2e%2e/rival": {},
	}
	for path, rights := range allowed {
		for name, p := range who {
			for action := range strings.FieldsSeq(all + " administer destroy") {
				want := strings.Contains(" "+rights[name]+" ", " "+action+" ")
				if path == "" {
					want = (action == "catalog" && name != "nobody") || (action == "administer" && name == "admin")
				}
				if got := w.may(p, Action(action), path); got != want {
					t.Errorf("%s %s %q: %v", name, action, path, got)
				}
			}
		}
	}
}

func TestPublicIsForPullAlone(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for _, action := range []Action{Pull, Catalog, Push, Delete, Configure, Own, Administer} {
		d, err := w.Check(t.Context(), Nobody(), Request{Action: action, Path: "acme/app", Public: true})
		if err != nil || d.Allowed != (action == Pull) {
			t.Errorf("%s: %+v, %v", action, d, err)
		}
	}
	if d, _ := w.Check(t.Context(), Nobody(), Request{Action: Pull, Path: "acme/../x", Public: true}); d.Allowed {
		t.Error("a bad path is public")
	}
}

// A forged or stale principal gets nothing: what it says of itself does not count.
func TestPrincipalsWithoutUser(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	a := w.user("alice", "", "owner@acme")
	p := Principal{ID: a.ID, Name: "alice", Kind: User}
	if err := w.SetDisabled(t.Context(), Actor{}, a.ID, true, nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Principal{p, {ID: -1, Kind: User}, {ID: 12345, Name: "admin", Kind: User}, {Kind: User, Name: "admin"}} {
		if w.may(p, Pull, "acme/app") {
			t.Errorf("%+v", p)
		}
	}
	if err := w.SetDisabled(t.Context(), Actor{}, a.ID, false, nil); err != nil {
		t.Fatal(err)
	}
	if !w.may(p, Pull, "acme/app") {
		t.Error("enabled again, but refused")
	}
}

func TestCeilings(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	a := w.user("alice", "", "owner@acme")
	with := func(c *Ceiling) Principal { return Principal{ID: a.ID, Name: "alice", Kind: User, Ceiling: c} }
	pullApp := &Ceiling{Scopes: []Scope{{Path: "acme/app", Actions: []Action{Pull}}}}
	exact := &Ceiling{Scopes: []Scope{{Path: "acme/app", Exact: true, Actions: []Action{Pull}}}}
	greedy := &Ceiling{Scopes: []Scope{{Actions: []Action{Pull, Push, Administer}}}}
	for _, tc := range []struct {
		c      *Ceiling
		action Action
		path   string
		want   bool
	}{
		{nil, Push, "acme/app", true}, {&Ceiling{}, Pull, "acme/app", false},
		{pullApp, Pull, "acme/app", true}, {pullApp, Pull, "acme/app/x", true}, {pullApp, Pull, "acme/apple", false},
		{pullApp, Push, "acme/app", false}, {pullApp, Catalog, "acme/app", true}, {pullApp, Catalog, "", true}, {pullApp, Catalog, "acme", false},
		{exact, Pull, "acme/app", true}, {exact, Pull, "acme/app/x", false}, {exact, Pull, "acme", false},
		{greedy, Push, "acme/x", true}, {greedy, Push, "rival/x", false}, {greedy, Administer, "", false}, {greedy, Delete, "acme/x", false},
	} {
		if got := w.may(with(tc.c), tc.action, tc.path); got != tc.want {
			t.Errorf("%s: %s %s: %v", tc.c, tc.action, tc.path, got)
		}
	}
	// The limit of the personal token behind a bearer token holds although the bearer token says more.
	p := with(greedy)
	p.Bearer, p.personal = true, pullApp
	if w.may(p, Push, "acme/app") {
		t.Error("a bearer token allows more than the token behind it")
	}
}

func TestDecisionErrors(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	a := w.user("alice", "", "reader@acme")
	alice := Principal{ID: a.ID, Name: "alice", Kind: User}
	limited := alice
	limited.Token, limited.TokenID, limited.Ceiling = "ci", 7, &Ceiling{Scopes: []Scope{{Path: "acme/app", Actions: []Action{Pull}}}}
	bearer := alice
	bearer.Bearer, bearer.Ceiling = true, &Ceiling{}
	for name, tc := range map[string]struct {
		p      Principal
		r      Request
		code   oci.Code
		status int
		want   string
	}{
		"nobody":    {Nobody(), Request{Action: Pull, Path: "acme/app"}, oci.CodeUnauthorized, 401, "log in to pull acme/app"},
		"ungranted": {alice, Request{Action: Push, Path: "acme/app"}, oci.CodeDenied, 403, "alice may not push to acme/app; it takes the role developer, which an owner of acme can grant"},
		"limited":   {limited, Request{Action: Pull, Path: "acme/x"}, oci.CodeDenied, 403, "token ci is limited to pull in acme/app; to pull acme/x, create another with `weir token create`"},
		"bearer":    {bearer, Request{Action: Pull, Path: "acme/x"}, oci.CodeUnauthorized, 401, "the bearer token does not cover this: ask for one to pull acme/x"},
		"instance":  {alice, Request{Action: Administer}, oci.CodeDenied, 403, "alice may not administer the instance; it takes an administrator"},
	} {
		d, err := w.Check(t.Context(), tc.p, tc.r)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := errors.AsType[*oci.Error](d.Err())
		if e == nil || e.Code != tc.code || e.Status() != tc.status || e.Message != tc.want {
			t.Errorf("%s: %v", name, d.Err())
		}
	}
}

// A refusal must not depend on what exists: neither the group, nor other users' grants.
func TestRefusalsTellNothing(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	a := w.user("alice", "")
	w.user("bob", "", "owner@rival")
	for _, p := range []Principal{Nobody(), {ID: a.ID, Name: "alice", Kind: User}} {
		real, err1 := w.Check(t.Context(), p, Request{Action: Pull, Path: "rival/app"})
		fake, err2 := w.Check(t.Context(), p, Request{Action: Pull, Path: "ghost/app"})
		if err1 != nil || err2 != nil || strings.ReplaceAll(real.Why, "rival", "ghost") != fake.Why || real.Cause != fake.Cause {
			t.Errorf("%+v\n%+v", real, fake)
		}
	}
}

// The check agrees with the rule said in another way: split paths and compare segment by segment.
func TestCoversAgreesWithSegments(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "ab", "a-b", "x"})
	path := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "segments"), "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		prefix, name := path.Draw(t, "prefix"), path.Draw(t, "name")
		p, n := strings.Split(prefix, "/"), strings.Split(name, "/")
		want := len(p) <= len(n) && fmt.Sprint(p) == fmt.Sprint(n[:min(len(p), len(n))])
		if got := covers(prefix, name); got != want {
			t.Fatalf("covers(%q, %q) = %v", prefix, name, got)
		}
	})
}

func FuzzCheckPath(f *testing.F) {
	f.Add("acme/app")
	f.Add("acme/../rival")
	s := &snapshot{
		users: map[int64]*user{1: {id: 1, grants: []grant{{group: 7, path: "app", role: Owner, actions: builtin(Owner)}}}}, groups: map[string]int64{"acme": 7},
		names: map[int64]string{7: "acme"},
	}
	f.Fuzz(func(t *testing.T, path string) {
		d := s.check(Principal{ID: 1, Kind: User}, Request{Action: Push, Path: path})
		if d.Allowed && path != "acme/app" && !strings.HasPrefix(path, "acme/app/") {
			t.Errorf("%q allowed", path)
		}
	})
}

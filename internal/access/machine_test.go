package access

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

func (w *world) robot(name string, grants ...Given) Machine {
	w.t.Helper()
	m, err := w.PutRobot(w.t.Context(), Actor{}, Machine{GroupID: w.group["acme"], Name: name, Grants: grants}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func TestRobots(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx, acme := t.Context(), w.group["acme"]
		w.user("ci", "pw-12345") // a user and a robot may have one name
		bot := w.robot("ci", Given{"app", Developer})
		for name, tc := range map[string]struct {
			m    Machine
			want error
		}{
			"name":  {Machine{GroupID: acme, Name: "a/b"}, ErrMachineName},
			"path":  {Machine{GroupID: acme, Name: "x", Grants: []Given{{"../x", Reader}}}, ErrPath},
			"role":  {Machine{GroupID: acme, Name: "x", Grants: []Given{{"x", "boss"}}}, ErrRole},
			"admin": {Machine{GroupID: acme, Name: "x", Grants: []Given{{"", Admin}}}, ErrRole},
			"twice": {Machine{GroupID: acme, Name: "x", Grants: []Given{{"x", Reader}, {"x", Owner}}}, ErrGrants},
			"group": {Machine{GroupID: 1, Name: "x"}, ErrNotFound},
			"none":  {Machine{Name: "x"}, ErrNotFound},
		} {
			if _, err := w.PutRobot(ctx, Actor{}, tc.m, nil); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		text, tok, err := w.CreateToken(ctx, Actor{}, bot.ID, "t", time.Time{}, &Ceiling{Scopes: []Scope{{Path: "acme/app/x", Actions: []Action{Push}}}})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.CreateToken(ctx, Actor{}, bot.ID, "more", time.Time{}, &Ceiling{Scopes: []Scope{{Path: "acme/lib", Actions: []Action{Push}}}})
		if !errors.Is(err, ErrCeiling) {
			t.Error("a limit beyond the grants: ", err)
		}
		p, err := w.Authenticate(ctx, bearer(text))
		if err != nil || p.Kind != Robot || p.Name != "acme/ci" || p.ID != bot.ID {
			t.Fatalf("%+v, %v", p, err)
		}
		w.wants(p, "acme/app/x", "push")
		w.wants(p, "acme/app/y", "")
		if as, err := w.As(ctx, Local(), "acme/ci"); err != nil || as.ID != bot.ID || as.Kind != Robot {
			t.Error(as, err)
		}
		w.wants(Principal{ID: bot.ID, Kind: Robot}, "acme/app", "pull catalog view push")
		if _, err := w.Login(ctx, "acme/ci", "pw-12345", Credentials{}); err == nil {
			t.Error("a robot has a password")
		}
		if _, err := w.Account(ctx, "acme/ci"); !errors.Is(err, ErrNotFound) {
			t.Error("a robot is a user")
		}
		for name, change := range map[string]error{
			"password": w.SetPassword(ctx, Actor{}, bot.ID, "pw-12345"), "disable": w.SetDisabled(ctx, Actor{}, bot.ID, true, nil), "delete": w.DeleteUser(ctx, Actor{}, bot.ID, nil),
		} {
			if !errors.Is(change, ErrNotFound) {
				t.Errorf("%s as if it were a user: %v", name, change)
			}
		}
		issued, err := w.IssueBearer(ctx, p, []Scope{{Path: "acme/app/x", Actions: []Action{Push}}})
		if err != nil {
			t.Fatal(err)
		}
		changed, err := w.PutRobot(ctx, Actor{}, Machine{GroupID: acme, Name: "ci", Disabled: true}, func(now *Machine) error {
			if now == nil || now.ID != bot.ID || len(now.Grants) != 1 {
				t.Errorf("%+v", now)
			}
			return nil
		})
		if err != nil || changed.ID != bot.ID {
			t.Fatal(changed, err)
		}
		for _, text := range []string{text, issued.Text} {
			if _, err := w.Authenticate(ctx, bearer(text)); err == nil {
				t.Error("a disabled robot is let in")
			}
		}
		w.robot("ci", Given{"", Reader})
		if p, err = w.Authenticate(ctx, bearer(text)); err != nil || w.may(p, Push, "acme/app/x") {
			t.Error("enabled again, with fewer grants: ", err)
		}
		if err := w.DeleteRobot(ctx, Actor{}, acme, "ci", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Authenticate(ctx, bearer(text)); err == nil {
			t.Error("a deleted robot is let in")
		}
		if tokens, err := w.Tokens(ctx, bot.ID); err != nil || len(tokens) != 0 {
			t.Error(tokens, tok, err)
		}
		if err := w.DeleteRobot(ctx, Actor{}, acme, "ci", nil); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if _, err := w.Login(ctx, "ci", "pw-12345", Credentials{}); err != nil {
			t.Error("the user of the same name: ", err)
		}
	})
}

func TestTokensRotate(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice := w.user("alice", "")
		ceiling := &Ceiling{Scopes: []Scope{{Path: "acme", Actions: []Action{Pull}}}}
		first, tok := w.token(alice, "ci", w.clock.now().Add(time.Hour), ceiling)
		w.clock.forward(30 * time.Minute)
		second, next, err := w.RotateToken(ctx, Actor{}, alice.ID, tok.ID, time.Time{}, 10*time.Minute)
		if err != nil || next.Name != "ci" || next.Ceiling == nil || next.ExpiresAt.Sub(next.CreatedAt) != time.Hour {
			t.Fatalf("%+v, %v", next, err)
		}
		for _, text := range []string{first, second} {
			if _, err := w.Authenticate(ctx, bearer(text)); err != nil {
				t.Error("within the overlap: ", err)
			}
		}
		w.clock.forward(11 * time.Minute)
		if _, err := w.Authenticate(ctx, bearer(first)); err == nil {
			t.Error("the old one lives on")
		}
		third, _, err := w.RotateToken(ctx, Actor{}, alice.ID, next.ID, time.Time{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Authenticate(ctx, bearer(second)); err == nil {
			t.Error("no overlap, but it lives on")
		}
		if _, err := w.Authenticate(ctx, bearer(third)); err != nil {
			t.Error(err)
		}
		for _, id := range []int64{tok.ID, next.ID, 1} {
			if _, _, err := w.RotateToken(ctx, Actor{}, alice.ID, id, time.Time{}, 0); !errors.Is(err, ErrNotFound) {
				t.Errorf("%d: %v", id, err)
			}
		}
	})
}

// A group that goes takes its robots, trust rules and roles along; a new one of its name has nothing of them.
func TestGroupTakesItsAccountsAlong(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx, acme := t.Context(), w.group["acme"]
		bot := w.robot("ci", Given{"", Owner})
		w.role(acme, "pusher", Push)
		if _, err := w.PutTrustRule(ctx, Actor{}, rule(acme), nil); err != nil {
			t.Fatal(err)
		}
		text, _, err := w.CreateToken(ctx, Actor{}, bot.ID, "t", time.Time{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Authenticate(ctx, bearer(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.db.Write(ctx, func(ctx ctxt, tx *meta.Tx) error { return tx.DeleteGroup(ctx, acme) }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Authenticate(ctx, bearer(text)); err == nil {
			t.Error("the robot of a deleted group is let in")
		}
		again := addGroup(t, w.db, "acme")
		robots, err1 := w.Robots(ctx, again)
		rules, err2 := w.TrustRules(ctx, again)
		roles, err3 := w.Roles(ctx, again)
		if err := errors.Join(err1, err2, err3); err != nil || len(robots)+len(rules) != 0 || len(roles) != 4 {
			t.Error(robots, rules, roles, err)
		}
	})
}

func rule(group int64) TrustRule {
	return TrustRule{
		Machine: Machine{GroupID: group, Name: "gitlab", Grants: []Given{{"app", Developer}}}, Issuer: "https://gitlab.test", Audience: "weir",
		Conditions: []Condition{{Claim: "project_path", Equals: "acme/app"}},
	}
}

// someKeys are the public keys of an issuer (RFC 8037, appendix A.2).
const someKeys = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

func TestTrustRulesAreChecked(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	ctx, acme := t.Context(), w.group["acme"]
	for field, change := range map[string]func(*TrustRule){
		"issuer":                func(r *TrustRule) { r.Issuer = "gitlab.test" },
		"issuer ":               func(r *TrustRule) { r.Issuer = "http://gitlab.test" },
		"issuer  ":              func(r *TrustRule) { r.Issuer = "http://127.0.0.1.gitlab.test:80" },
		"audience":              func(r *TrustRule) { r.Audience = "" },
		"lifetime_seconds":      func(r *TrustRule) { r.Lifetime = 25 * time.Hour },
		"conditions":            func(r *TrustRule) { r.Conditions = nil },
		"conditions[0]":         func(r *TrustRule) { r.Conditions[0].Matches = "x" },
		"conditions[0].matches": func(r *TrustRule) { r.Conditions[0] = Condition{Claim: "sub", Matches: "*"} },
		"keys":                  func(r *TrustRule) { r.Keys = `{"keys":[]}` },
	} {
		r := rule(acme)
		change(&r)
		_, err := w.PutTrustRule(ctx, Actor{}, r, nil)
		if e, ok := errors.AsType[*FieldError](err); !ok || e.Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for name, change := range map[string]func(*TrustRule){
		"near": func(r *TrustRule) { r.Issuer = "http://127.0.0.1:8080/realm" }, "near6": func(r *TrustRule) { r.Issuer = "http://[::1]:8080" },
		"here": func(r *TrustRule) { r.Issuer = "http://localhost" }, "given": func(r *TrustRule) { r.Issuer, r.Keys = "http://gitlab.test", someKeys },
	} {
		r := rule(acme)
		r.Name = name
		change(&r)
		if _, err := w.PutTrustRule(ctx, Actor{}, r, nil); err != nil {
			t.Errorf("%s: %v", r.Issuer, err)
		}
	}
	if _, err := w.PutTrustRule(ctx, Actor{}, rule(acme), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutRobot(ctx, Actor{}, Machine{GroupID: acme, Name: "gitlab"}, nil); !errors.Is(err, ErrExists) {
		t.Error("a robot with the name of a trust rule: ", err)
	}
	got, err := w.TrustRule(ctx, acme, "gitlab")
	if err != nil || got.Lifetime != DefaultLifetime || len(got.Grants) != 1 || got.Conditions[0].Equals != "acme/app" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := w.Robot(ctx, acme, "gitlab"); !errors.Is(err, ErrNotFound) {
		t.Error("a trust rule is a robot")
	}
}

func TestConditions(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	claims := map[string]any{
		"iat": 1_800_000_000.0, "exp": 1_800_000_060.0,
		"iss": "https://gitlab.test", "aud": []any{"other", "weir"}, "project_path": "acme/app", "ref_protected": true, "runner_id": 7.0,
		"groups": []any{"a", "b"}, "https://x.test/role": "dev", "kubernetes.io": map[string]any{"namespace": "prod", "pod": map[string]any{"name": "p-1"}},
	}
	for _, tc := range []struct {
		c    Condition
		want bool
	}{
		{Condition{Claim: "project_path", Equals: "acme/app"}, true}, {Condition{Claim: "project_path", Equals: "acme/*"}, false},
		{Condition{Claim: "project_path", Matches: "acme/*"}, true}, {Condition{Claim: "project_path", Matches: "Acme/*"}, false},
		{Condition{Claim: "ref_protected", Equals: "true"}, true}, {Condition{Claim: "runner_id", Equals: "7"}, true},
		{Condition{Claim: "groups", Equals: "b"}, true}, {Condition{Claim: "groups", Equals: "c"}, false},
		{Condition{Claim: "https://x.test/role", Equals: "dev"}, true}, {Condition{Claim: "kubernetes.io/namespace", Equals: "prod"}, true},
		{Condition{Claim: "kubernetes.io/pod/name", Matches: "p-?"}, true}, {Condition{Claim: "kubernetes.io/pod", Matches: "p*"}, false},
		{Condition{Claim: "absent", Matches: "a*"}, false},
	} {
		r := rule(1)
		r.Conditions = []Condition{tc.c}
		if lacks := r.Test(claims, now); (len(lacks) == 0) != tc.want {
			t.Errorf("%+v: %v", tc.c, lacks)
		}
	}
	r := rule(1)
	r.Issuer, r.Audience = "https://other.test", "else"
	if lacks := r.Test(claims, now); len(lacks) != 2 {
		t.Error(lacks)
	}
}

// What an exchange finds wrong with the times of a token, whoever tries its claims is told.
func TestTimesOfClaims(t *testing.T) {
	const now = 1_800_000_000
	for _, c := range []struct {
		iat, exp, nbf float64 // from now; 0 of exp and nbf: none
		want          string
	}{
		{0, 60, 0, ""}, {-3600, 1, -3600, ""}, {60, 120, 60, ""}, {-3600, 23 * 3600, 0, ""},
		{-60, -1, 0, "the token has expired: its exp is 2027-01-15T07:59:59Z"}, {-60, 1e-3, 0, "the token has expired"},
		{61, 120, 0, "the token is from the future: its iat is 2027-01-15T08:01:01Z"},
		{0, 120, 61, "the token is not valid yet: its nbf is 2027-01-15T08:01:01Z"},
		{-1, 24 * 3600, 0, "the token lives longer than 24 hours"}, {0, 0, 0, "there is no claim exp"},
	} {
		claims := map[string]any{"iss": rule(1).Issuer, "aud": "weir", "project_path": "acme/app", "iat": now + c.iat}
		for name, v := range map[string]float64{"exp": c.exp, "nbf": c.nbf} {
			if v != 0 {
				claims[name] = now + v
			}
		}
		lacks := strings.Join(rule(1).Test(claims, time.Unix(now, 0)), "; ")
		if (lacks == "") != (c.want == "") || !strings.HasPrefix(lacks, c.want) {
			t.Errorf("%+v: %q", c, lacks)
		}
	}
	if lacks := rule(1).Test(map[string]any{"iss": rule(1).Issuer, "aud": "weir", "project_path": "acme/app"}, time.Unix(now, 0)); len(lacks) != 2 {
		t.Error(lacks)
	}
}

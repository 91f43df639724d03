package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

const (
	aRobot = `{"grants": [{"path": "app", "role": "developer"}]}`
	aRule  = `{"issuer": "https://ci.test", "audience": "weir", "conditions": [{"claim": "sub", "equals": "x"}], "grants": [{"role": "reader"}]}`
	aRole  = `{"actions": ["pull", "push"]}`
)

func TestRobotLifecycle(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		made := w.wantAs(t, "owner", "PUT", "/groups/acme/robots/bot", aRobot, 201, `"enabled":true`, `"grants":[{"path":"app","role":"developer"}]`)
		tag := made.header.Get("ETag")
		read := w.wantAs(t, "owner", "GET", "/groups/acme/robots/bot", "", 200)
		if read.header.Get("ETag") != tag || read.body != made.body {
			t.Errorf("%s %s\n%s %s", tag, made.body, read.header.Get("ETag"), read.body)
		}
		if r := w.send(t, "owner", "PUT", "/groups/acme/robots/bot", aRobot, "If-None-Match", "*"); r.status != 412 {
			t.Error(r.status, r.body)
		}
		changed := w.send(t, "owner", "PATCH", "/groups/acme/robots/bot", `{"enabled": false}`, "If-Match", tag)
		if changed.status != 200 || !strings.Contains(changed.body, `"enabled":false,"grants":[{"path":"app"`) {
			t.Error(changed.status, changed.body)
		}
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			if r := w.send(t, "owner", method, "/groups/acme/robots/bot", aRobot, "If-Match", tag); r.status != 412 {
				t.Errorf("%s with an old ETag: %d %s", method, r.status, r.body)
			}
		}
		w.wantAs(t, "owner", "PUT", "/groups/acme/robots/bot", aRobot, 200)
		w.wantAs(t, "owner", "PUT", "/groups/acme/robots/bad", `{"grants": [{"role": "boss"}]}`, 422, `"location":"body.grants`)
		w.wantAs(t, "owner", "PUT", "/groups/acme/robots/B", `{}`, 422, `"location":"body.name"`)
		w.wantAs(t, "owner", "POST", "/groups/acme/robots/bot/tokens", `{"name": "x", "limit": {"scopes": [{"path": "acme/lib", "actions": ["push"]}]}}`, 422)
		var tok api.NewToken
		r := w.wantAs(t, "owner", "POST", "/groups/acme/robots/bot/tokens", `{"name": "ci"}`, 201, `"user":"acme/bot"`)
		if err := json.Unmarshal([]byte(r.body), &tok); err != nil {
			t.Fatal(err)
		}
		if p, err := w.dir.Authenticate(t.Context(), access.Credentials{Authorization: "Bearer " + tok.Text}); err != nil || p.Kind != access.Robot {
			t.Error(p, err)
		}
		next := w.wantAs(t, "owner", "POST", "/groups/acme/robots/bot/tokens/"+tok.ID+"/rotate", `{"overlap_seconds": 60}`, 201, `"name":"ci"`, `"token":"weir_`)
		w.wantAs(t, "owner", "POST", "/groups/acme/robots/bot/tokens/17/rotate", `{}`, 404)
		_ = json.Unmarshal([]byte(next.body), &tok)
		w.wantAs(t, "owner", "DELETE", "/groups/acme/robots/bot/tokens/"+tok.ID, "", 204)
		list := w.wantAs(t, "owner", "GET", "/groups/acme/robots/bot/tokens?limit=1", "", 200)
		if !strings.Contains(list.header.Get("Link"), `rel="next"`) {
			t.Error(list.header, list.body)
		}
		w.wantAs(t, "owner", "DELETE", "/groups/acme/robots/bot?dry_run=true", "", 200, `"action":"remove"`, `"applied":false`)
		w.wantAs(t, "owner", "DELETE", "/groups/acme/robots/bot", "", 204)
		w.wantAs(t, "owner", "GET", "/groups/acme/robots/bot", "", 404)
		w.wantAs(t, "owner", "DELETE", "/groups/acme/robots/bot", "", 404)
	})
}

// Nobody gives away more than he has, whichever way he tries.
func TestNobodyGivesMoreThanHeHas(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "admin", "PUT", "/groups/acme/roles/keeper", `{"actions": ["view", "own"]}`, 201)
	w.wantAs(t, "admin", "PUT", "/groups/acme/roles/own-pull", `{"actions": ["view", "own", "pull", "catalog"]}`, 201)
	w.wantAs(t, "admin", "PUT", "/groups/acme/robots/strong", `{"grants": [{"role": "owner"}]}`, 201)
	w.wantAs(t, "admin", "PUT", "/groups/acme/grants/stranger/-", `{"role": "own-pull"}`, 201)
	for path, body := range map[string]string{
		"robots/x": aRobot, "trust-rules/x": strings.Replace(aRule, "reader", "owner", 1), "roles/x": aRole, "roles/keeper": aRole,
		"grants/stranger/-": `{"role": "owner"}`, "grants/reader/app": `{"role": "maintainer"}`,
	} {
		w.wantAs(t, "stranger", "PUT", "/groups/acme/"+path, body, 403, "you cannot give what you do not have")
	}
	w.wantAs(t, "stranger", "POST", "/groups/acme/robots/strong/tokens", `{"name": "mine"}`, 403)
	w.wantAs(t, "stranger", "PUT", "/groups/acme/grants/reader/app", `{"role": "keeper"}`, 201)
	w.wantAs(t, "owner", "PUT", "/groups/acme/roles/root", `{"actions": ["administer"]}`, 403)
	w.wantAs(t, "admin", "PUT", "/groups/acme/roles/root", `{"actions": ["administer"]}`, 422, `"location":"body.actions"`)
	r := w.wantAs(t, "admin", "PUT", "/groups/acme/roles/root", `{"actions": ["fly"]}`, 422, `"location":"body.actions"`)
	if strings.Contains(r.body, "administer") {
		t.Error("offers what no role of people can have: ", r.body)
	}
	// An owner of a path is an owner there and nowhere else.
	w.wantAs(t, "owner", "PUT", "/groups/acme/grants/developer/team", `{"role": "owner"}`, 201)
	w.wantAs(t, "developer", "PUT", "/groups/acme/grants/reader/team%2Fapp", `{"role": "owner"}`, 201)
	w.wantAs(t, "developer", "PUT", "/groups/acme/grants/reader/teams", `{"role": "reader"}`, 403)
	w.wantAs(t, "developer", "PUT", "/groups/acme/grants/reader/-", `{"role": "reader"}`, 403)
	w.wantAs(t, "developer", "DELETE", "/groups/acme/grants/reader/team%2Fapp", "", 204)
}

func TestGrantsByAPI(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	made := w.wantAs(t, "owner", "PUT", "/groups/acme/grants/stranger/team%2Fapp", `{"role": "developer"}`, 201, `"path":"team/app"`)
	read := w.wantAs(t, "owner", "GET", "/groups/acme/grants/stranger/team%2Fapp", "", 200)
	if made.header.Get("ETag") == "" || made.header.Get("ETag") != read.header.Get("ETag") {
		t.Error(made.header, read.header)
	}
	w.wantAs(t, "owner", "PUT", "/groups/acme/grants/ghost/-", `{"role": "reader"}`, 422, `"location":"body.user"`)
	w.wantAs(t, "owner", "PUT", "/groups/acme/grants/stranger/-", `{"role": "boss"}`, 422)
	w.wantAs(t, "owner", "PUT", "/groups/acme/robots/bot", aRobot, 201)
	w.wantAs(t, "owner", "GET", "/groups/acme/grants", "", 200, `"account":"acme/bot","kind":"robot"`, `"account":"stranger","kind":"user","path":"team/app"`)
	if r := w.wantAs(t, "owner", "GET", "/groups/acme/declaration", "", 200, `"robots":[{"name":"bot"`); strings.Contains(r.body, "acme/bot") {
		t.Error("the declaration has the robot's grants among those of users: ", r.body)
	}
	w.reset(t) // applies with prune
	w.wantAs(t, "owner", "GET", "/groups/acme/robots/bot", "", 404)
	w.wantAs(t, "owner", "GET", "/groups/acme/grants/stranger/team%2Fapp", "", 404)
	w.wantAs(t, "admin", "PUT", "/grants/stranger", `{"role": "reader"}`, 200)
	w.wantAs(t, "stranger", "GET", "/groups/acme/roles", "", 200)
	w.wantAs(t, "admin", "GET", "/grants", "", 200, `"account":"stranger"`)
	w.wantAs(t, "admin", "DELETE", "/grants/stranger", "", 204)
	w.wantAs(t, "admin", "DELETE", "/grants/admin", "", 409)
	w.wantAs(t, "stranger", "GET", "/groups/acme/roles", "", 404)
}

func TestTrustRulesByAPI(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "owner", "PUT", "/groups/acme/trust-rules/gitlab", aRule, 201, `"lifetime_seconds":3600`, `"enabled":true`)
	for field, body := range map[string]string{
		"body.issuer": `{}`, "body.audience": `{"issuer": "https://ci.test"}`, "body.conditions": `{"issuer": "https://ci.test", "audience": "a"}`,
		"body.lifetime_seconds": strings.Replace(aRule, `"audience"`, `"lifetime_seconds": 9223372036854775807, "audience"`, 1),
	} {
		w.wantAs(t, "owner", "PUT", "/groups/acme/trust-rules/x", body, 422, `"location":"`+field+`"`)
	}
	w.wantAs(t, "owner", "PATCH", "/groups/acme/trust-rules/gitlab", `{"single_use": true}`, 200, `"single_use":true`, `"https://ci.test"`)
	try := func(claims string, issued time.Time, parts ...string) {
		t.Helper()
		in := fmt.Sprintf(`{"claims": {"iss": "https://ci.test", "iat": %d, "exp": %d, %s}}`, issued.Unix(), issued.Add(10*time.Hour).Unix(), claims)
		w.wantAs(t, "owner", "POST", "/groups/acme/trust-rules/gitlab/test", in, 200, parts...)
	}
	now := time.Now()
	try(`"aud": "weir", "sub": "x"`, now, `"matches":true`, `"lacks":[]`)
	try(`"aud": ["weir"], "sub": "y"`, now, `"matches":false`, `["the claim sub is not x"]`)
	try(`"aud": "weir", "sub": "x"`, now.Add(-24*time.Hour), `"matches":false`, `["the token has expired: `)
	try(`"aud": "weir", "sub": "x"`, now.Add(24*time.Hour), `"matches":false`, `["the token is from the future: `)
	const rule, robot = "the name is taken by a trust rule of the group: robots", "the name is taken by a robot of the group: robots"
	w.wantAs(t, "owner", "PUT", "/groups/acme/robots/gitlab", `{}`, 409, `"detail":"`+rule)
	w.wantAs(t, "owner", "PUT", "/groups/acme/robots/bot", `{}`, 201)
	w.wantAs(t, "owner", "PUT", "/groups/acme/trust-rules/bot", aRule, 409, `"detail":"`+robot)
	w.wantAs(t, "owner", "DELETE", "/groups/acme/trust-rules/gitlab", "", 204)
	w.wantAs(t, "owner", "POST", "/groups/acme/trust-rules/gitlab/test", `{"claims": {}}`, 404)
}

func TestRolesByAPI(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "admin", "PUT", "/roles/auditor", `{"actions": ["view", "audit"]}`, 201, `"instance":true`)
	w.wantAs(t, "owner", "PUT", "/groups/acme/roles/pusher", aRole, 201)
	w.wantAs(t, "owner", "PUT", "/groups/acme/roles/reader", aRole, 422, `"location":"body.name"`)
	w.wantAs(t, "owner", "PUT", "/groups/acme/roles/fly", `{"actions": ["fly"]}`, 422)
	w.wantAs(t, "owner", "GET", "/groups/acme/roles?name=er", "", 200, `"name":"pusher"`, `"name":"reader"`)
	w.wantAs(t, "owner", "GET", "/groups/acme/roles/auditor", "", 200)
	w.wantAs(t, "owner", "PUT", "/groups/acme/grants/stranger/-", `{"role": "pusher"}`, 201)
	w.wantAs(t, "owner", "DELETE", "/groups/acme/roles/pusher", "", 409)
	w.wantAs(t, "owner", "PATCH", "/groups/acme/roles/pusher", `{"actions": ["pull"]}`, 200)
	w.wantAs(t, "owner", "DELETE", "/groups/acme/roles/auditor", "", 404)
	w.wantAs(t, "admin", "DELETE", "/roles/auditor", "", 204)
}

func TestPermissionsByAPI(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "developer", "GET", "/permissions?path=acme/app", "", 200,
		`{"action":"push","allowed":true,"cause":"granted","role":"developer","scope":"acme","why":"developer is developer of acme"}`, `{"action":"own","allowed":false,"cause":"ungranted"`)
	w.wantAs(t, "owner", "GET", "/permissions?path=acme/app&as=reader", "", 200, `"as":"reader"`, `{"action":"push","allowed":false`)
	w.wantAs(t, "owner", "GET", "/permissions?path=acme&as=anonymous", "", 200, `"kind":"anonymous"`, `"cause":"login"`)
	w.wantAs(t, "owner", "GET", "/permissions?path=acme&as=ghost", "", 404)
	w.wantAs(t, "developer", "GET", "/permissions?path=acme&as=reader", "", 403)
	real := w.wantAs(t, "stranger", "GET", "/permissions?path=acme", "", 200)
	ghost := w.wantAs(t, "stranger", "GET", "/permissions?path=nope", "", 200)
	if strings.ReplaceAll(real.body, "acme", "nope") != ghost.body {
		t.Errorf("%s\n%s", real.body, ghost.body)
	}
	if r := w.wantAs(t, "stranger", "GET", "/permissions?path=acme&as=owner", "", 404); r.body != w.wantAs(t, "stranger", "GET", "/permissions?path=nope&as=owner", "", 404).body {
		t.Error(r.body)
	}
}

func TestUsersByAPI(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "admin", "POST", "/users", `{"name": "zoe", "password": "correct-horse"}`, http.StatusCreated)
	first := w.wantAs(t, "admin", "GET", "/users?limit=2", "", 200, `"name":"admin"`)
	if !strings.Contains(first.header.Get("Link"), "after=") {
		t.Error(first.header)
	}
	w.wantAs(t, "admin", "GET", "/users?name=zo&enabled=true", "", 200, `"name":"zoe"`, `"has_password":true`)
	tag := w.wantAs(t, "zoe", "GET", "/users/zoe", "", 200).header.Get("ETag")
	if r := w.send(t, "admin", "PATCH", "/users/zoe", `{"enabled": false}`, "If-Match", tag); r.status != 200 {
		t.Error(r.status, r.body)
	}
	if r := w.send(t, "admin", "DELETE", "/users/zoe", "", "If-Match", tag); r.status != 412 {
		t.Error(r.status, r.body)
	}
	w.wantAs(t, "admin", "DELETE", "/users/zoe", "", 204)
	w.wantAs(t, "admin", "GET", "/users/zoe", "", 404)
	w.wantAs(t, "admin", "DELETE", "/users/admin", "", 409)
}

// Login pages are shown who is not logged in: the names of providers, and nothing about anybody.
func TestSignInProviders(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for _, user := range roles {
		r := w.wantAs(t, user, "GET", "/session/providers", "", 200)
		if r.body != `{"items":[{"name":"corp"},{"name":"github"}]}`+"\n" {
			t.Errorf("as %s: %s", user, r.body)
		}
	}
}

// What cannot be is said of the field that it is about, without what was sent.
func TestFieldsOfIdentities(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "owner", "PUT", "/groups/acme/robots/bot", aRobot, 201)
	const past = `"expires_at": "2001-02-03T04:05:06Z"`
	for _, c := range []struct{ request, in, field string }{
		{"POST /users", `{"name": "Mal ory"}`, "name"},
		{"POST /users", `{"name": "mallory", "password": "short"}`, "password"},
		{"PUT /users/reader/password", `{"password": "short"}`, "password"},
		{"POST /tokens", `{"name": ""}`, "name"},
		{"POST /tokens", `{"name": "x", ` + past + `}`, "expires_at"},
		{"POST /tokens", `{"name": "x", "limit": {"scopes": []}}`, "limit"},
		{"POST /groups/acme/robots/bot/tokens", `{"name": "x", ` + past + `}`, "expires_at"},
		{"POST /groups/acme/robots/bot/tokens", `{"name": "x", "limit": {"scopes": [{"path": "acme", "actions": ["own"]}]}}`, "limit"},
		{"PUT /groups/acme/robots/new", `{"grants": [{"path": "nope/../x", "role": "reader"}]}`, "grants[0].path"},
		{"PUT /groups/acme/grants/reader/-", `{"role": "boss"}`, "role"},
		{"PUT /grants/reader", `{"role": "boss"}`, "role"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		r := w.wantAs(t, "admin", method, path, c.in, 422, `"location":"body.`+c.field+`"`)
		if strings.Contains(r.body, "Mal ory") || c.field == "name" && path == "/tokens" && strings.Contains(r.body, "user name") {
			t.Errorf("%s %s: %s", c.request, c.in, r.body)
		}
	}
	for _, in := range []string{`{"grants": [{"role": "no-such-role"}]}`, `{"grants": [{"path": "x-path", "role": "reader"}, {"path": "x-path", "role": "owner"}]}`} {
		if r := w.wantAs(t, "owner", "PUT", "/groups/acme/robots/new", in, 422); strings.Contains(r.body, "no-such-role") || strings.Contains(r.body, "x-path") {
			t.Errorf("repeats what was sent: %s", r.body)
		}
	}
	w.wantAs(t, "owner", "PUT", "/groups/acme/grants/reader/te%20am", `{"role": "reader"}`, 422, `"location":"path.path"`)
}

func TestPatchInstanceRole(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	tag := w.wantAs(t, "admin", "PUT", "/roles/auditor", `{"actions": ["view", "audit"]}`, 201).header.Get("ETag")
	if r := w.send(t, "admin", "PATCH", "/roles/auditor", `{"actions": ["audit"]}`, "If-Match", tag); r.status != 200 || !strings.Contains(r.body, `"actions":["audit"]`) {
		t.Error(r.status, r.body)
	}
	if r := w.send(t, "admin", "PATCH", "/roles/auditor", `{"actions": ["view"]}`, "If-Match", tag); r.status != 412 {
		t.Error(r.status, r.body)
	}
	w.wantAs(t, "admin", "PATCH", "/roles/none", `{"actions": ["view"]}`, 404)
	w.wantAs(t, "admin", "PATCH", "/roles/reader", `{"actions": ["view"]}`, 422, `"location":"body.name"`)
	w.wantAs(t, "admin", "PATCH", "/roles/auditor", `{"actions": ["administer"]}`, 422, `"location":"body.actions"`)
}

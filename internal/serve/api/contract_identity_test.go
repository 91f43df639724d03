package api_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// What identities and events take: of a group to own it, of the instance to administer it, of oneself nothing.
const (
	ofOwners    = "401 404 403 403 403 200 200"
	ofReaders   = "401 404 200 200 200 200 200"
	ofAdmins    = "401 403 403 403 403 403 200"
	ofEverybody = "401 200 200 200 200 200 200"
)

// identityContract is as contract, for people and machines and what they may, and for what they did. In paths {role} is who asks,
// {token} a token of that account, {bot} one of a robot.
var identityContract = []row{
	{"whoami", "GET /whoami", "", ofEverybody},
	{"get-permissions", "GET /permissions?path=acme", "", ofEverybody},
	{"get-permissions", "GET /permissions?path=acme&as=spare", "", ofOwners},
	{"get-permissions", "GET /permissions?as=spare", "", ofAdmins},
	{"list-users", "GET /users", "", ofAdmins},
	{"create-user", "POST /users", `{"name": "newcomer"}`, created(ofAdmins)},
	{"get-user", "GET /users/spare", "", ofAdmins},
	{"get-user", "GET /users/ghost", "", "401 403 403 403 403 403 404"},
	{"get-user", "GET /users/{role}", "", ofEverybody},
	{"change-user", "PATCH /users/spare", `{"enabled": false}`, ofAdmins},
	{"set-password", "PUT /users/spare/password", `{"password": "correct-horse-2"}`, gone(ofAdmins)},
	{"set-password", "PUT /users/stranger/password", `{"password": "correct-horse-2", "old_password": "wrong"}`, "401 422 403 403 403 403 204"},
	{"delete-user", "DELETE /users/spare", "", gone(ofAdmins)},
	{"erase-user", "POST /users/spare/erase", "", gone(ofAdmins)},
	{"erase-user", "POST /users/ghost/erase", "", "401 403 403 403 403 403 404"},

	{"list-tokens", "GET /tokens", "", ofEverybody},
	{"list-tokens", "GET /tokens?user=spare", "", ofAdmins},
	{"create-token", "POST /tokens", `{"name": "mine"}`, created(ofEverybody)},
	{"create-token", "POST /tokens", `{"name": "another's", "user": "spare"}`, created(ofAdmins)},
	{"revoke-token", "DELETE /tokens/{token}", "", gone(ofEverybody)},
	{"revoke-token", "DELETE /tokens/{token}?user=spare", "", "401 403 403 403 403 403 404"},
	{"rotate-token", "POST /tokens/{token}/rotate", `{}`, created(ofEverybody)},
	{"rotate-token", "POST /tokens/{bot}/rotate", `{}`, "401 404 404 404 404 404 404"},

	{"create-session", "POST /session", `{"user": "admin", "password": "correct-horse"}`, "201 201 201 201 201 201 201"},
	{"delete-session", "DELETE /session", "", gone(ofEverybody)},
	{"list-sign-in-providers", "GET /session/providers", "", "200 200 200 200 200 200 200"},
	{"list-sessions", "GET /sessions", "", ofEverybody},
	{"revoke-session", "DELETE /sessions/17", "", "401 404 404 404 404 404 404"},

	{"list-roles", "GET /groups/acme/roles", "", ofReaders},
	{"get-role", "GET /groups/acme/roles/role", "", ofReaders},
	{"put-role", "PUT /groups/acme/roles/role", aRole, ofOwners},
	{"patch-role", "PATCH /groups/acme/roles/role", `{"actions": ["pull"]}`, ofOwners},
	{"delete-role", "DELETE /groups/acme/roles/role", "", gone(ofOwners)},
	{"list-instance-roles", "GET /roles", "", ofEverybody},
	{"get-instance-role", "GET /roles/everywhere", "", ofEverybody},
	{"put-instance-role", "PUT /roles/everywhere", aRole, ofAdmins},
	{"patch-instance-role", "PATCH /roles/everywhere", `{"actions": ["pull"]}`, ofAdmins},
	{"delete-instance-role", "DELETE /roles/everywhere", "", gone(ofAdmins)},

	{"list-robots", "GET /groups/acme/robots", "", ofOwners},
	{"get-robot", "GET /groups/acme/robots/bot", "", ofOwners},
	{"put-robot", "PUT /groups/acme/robots/bot", aRobot, ofOwners},
	{"patch-robot", "PATCH /groups/acme/robots/bot", `{"enabled": false}`, ofOwners},
	{"delete-robot", "DELETE /groups/acme/robots/bot", "", gone(ofOwners)},
	{"list-robot-tokens", "GET /groups/acme/robots/bot/tokens", "", ofOwners},
	{"create-robot-token", "POST /groups/acme/robots/bot/tokens", `{"name": "of {role}"}`, created(ofOwners)},
	{"revoke-robot-token", "DELETE /groups/acme/robots/bot/tokens/{bot}", "", gone(ofOwners)},
	{"revoke-robot-token", "DELETE /groups/acme/robots/bot/tokens/{token}", "", "401 404 403 403 403 404 404"},
	{"rotate-robot-token", "POST /groups/acme/robots/bot/tokens/{bot}/rotate", `{}`, created(ofOwners)},

	{"list-trust-rules", "GET /groups/acme/trust-rules", "", ofOwners},
	{"get-trust-rule", "GET /groups/acme/trust-rules/rule", "", ofOwners},
	{"put-trust-rule", "PUT /groups/acme/trust-rules/rule", aRule, ofOwners},
	{"patch-trust-rule", "PATCH /groups/acme/trust-rules/rule", `{"enabled": false}`, ofOwners},
	{"delete-trust-rule", "DELETE /groups/acme/trust-rules/rule", "", gone(ofOwners)},
	{"test-trust-rule", "POST /groups/acme/trust-rules/rule/test", `{"claims": {"sub": "x"}}`, ofOwners},

	{"list-grants", "GET /groups/acme/grants", "", ofOwners},
	{"get-grant", "GET /groups/acme/grants/spare/app", "", ofOwners},
	{"put-grant", "PUT /groups/acme/grants/spare/app", `{"role": "reader"}`, ofOwners},
	{"put-grant", "PUT /groups/acme/grants/spare/te%20am", `{"role": "reader"}`, "401 404 422 422 422 422 422"},
	{"delete-grant", "DELETE /groups/acme/grants/spare/app", "", gone(ofOwners)},
	{"list-instance-grants", "GET /grants", "", ofAdmins},
	{"get-instance-grant", "GET /grants/spare", "", ofAdmins},
	{"put-instance-grant", "PUT /grants/spare", `{"role": "developer"}`, ofAdmins},
	{"delete-instance-grant", "DELETE /grants/spare", "", gone(ofAdmins)},

	{"list-events", "GET /events", "", ofAdmins},
	{"export-events", "GET /events/export", "", ofAdmins},
	{"export-sealed-events", "GET /events/sealed", "", ofAdmins},
	{"verify-events", "GET /events/verification", "", ofAdmins},
	{"list-group-events", "GET /groups/acme/events", "", "401 404 403 403 200 200 200"},
	{"export-group-events", "GET /groups/acme/events/export", "", "401 404 403 403 200 200 200"},
}

func created(outcomes string) string { return strings.ReplaceAll(outcomes, "200", "201") }
func gone(outcomes string) string    { return strings.ReplaceAll(outcomes, "200", "204") }

func TestIdentityContract(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		f := furniture{world: w}
		f.furnish(t)
		for _, c := range identityContract {
			w.keeps(t, c, func(role, text string) string {
				return strings.NewReplacer("{role}", role, "{token}", f.token(t, role), "{bot}", f.robotToken(t)).Replace(text)
			}, func() { f.furnish(t) })
		}
	})
}

// furniture is what the rows of the identity contract name.
type furniture struct{ *world }

// furnish makes what is not there, or not there any more.
func (f furniture) furnish(t *testing.T) {
	t.Helper()
	if err := f.dir.DeleteUser(t.Context(), access.Actor{}, f.account(t, "newcomer"), nil); err != nil && !errors.Is(err, access.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := f.dir.CreateUser(t.Context(), access.Actor{}, "spare", ""); err != nil && !errors.Is(err, access.ErrExists) {
		t.Fatal(err)
	}
	for path, body := range map[string]string{
		"/groups/acme/roles/role": aRole, "/groups/acme/robots/bot": aRobot, "/groups/acme/trust-rules/rule": aRule, "/groups/acme/grants/spare/app": `{"role": "reader"}`,
		"/roles/everywhere": aRole, "/grants/spare": `{"role": "reader"}`,
	} {
		if path != "/grants/spare" && f.send(t, "admin", "GET", path, "").status == 200 {
			continue
		}
		if r := f.send(t, "admin", "PUT", path, body); r.status >= 300 {
			t.Fatal(path, r.status, r.body)
		}
	}
}

// account is the id of one; 0 for none.
func (f furniture) account(t *testing.T, name string) int64 {
	t.Helper()
	a, err := f.dir.Account(t.Context(), name)
	if err != nil && !errors.Is(err, access.ErrNotFound) {
		t.Fatal(err)
	}
	return a.ID
}

// token is one in use of the account of a role.
func (f furniture) token(t *testing.T, role string) string {
	t.Helper()
	if role == "nobody" {
		return "17"
	}
	return f.tokenOf(t, f.account(t, role))
}

func (f furniture) robotToken(t *testing.T) string {
	t.Helper()
	p, err := f.dir.As(t.Context(), access.Local(), "acme/bot")
	if err != nil {
		t.Fatal(err)
	}
	return f.tokenOf(t, p.ID)
}

func (f furniture) tokenOf(t *testing.T, account int64) string {
	t.Helper()
	tokens, err := f.dir.Tokens(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range tokens {
		if v.RevokedAt.IsZero() {
			return strconv.FormatInt(v.ID, 10)
		}
	}
	_, made, err := f.dir.CreateToken(t.Context(), access.Actor{}, account, "t", time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(made.ID, 10)
}

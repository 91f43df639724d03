package api_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// Each part of a declaration takes what it takes by itself, whether it is applied or tried.
func TestApplyTakesWhatItsPartsTake(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	const configure, own = "403 403 200 200 200", "403 403 403 200 200" // as reader, developer, maintainer, owner, admin
	for part, outcomes := range map[string]string{
		`"upstreams": [{"name": "new", "url": "https://new.test"}]`:                                                                             configure,
		`"registries": [{"name": "all", "members": [{"upstream": "two"}]}]`:                                                                     configure,
		`"registries": [{"name": "all", "rules": []}]`:                                                                                          configure,
		`"hosted": [{"prefix": "lib", "anonymous_pull": true}]`:                                                                                 configure,
		`"host_bindings": [{"host": "all.acme.test", "registry": "all"}]`:                                                                       configure,
		`"upstreams": [{"name": "new", "url": "https://two.test", "credential": "ci"}]`:                                                         configure, // listed by an owner
		`"upstreams": [{"name": "new", "url": "https://evil.test", "credential": "open"}]`:                                                      own,
		`"upstreams": [{"name": "one", "url": "https://one.test", "realm_hosts": ["evil.test"]}]`:                                               own,
		`"credentials": [{"name": "ci", "hosts": ["one.test", "two.test", "three.test"]}]`:                                                      own,
		`"credentials": [{"name": "ci", "password": "s3cret-1"}]`:                                                                               own, // the one that it has: whether a guess is right shows to owners alone
		`"grants": [{"user": "stranger", "role": "reader"}]`:                                                                                    own,
		`"grants": [{"user": "reader", "role": "reader"}]`:                                                                                      own, // given already
		`"roles": [{"name": "pusher", "actions": ["pull", "push"]}]`:                                                                            own,
		`"robots": [{"name": "bot", "grants": [{"role": "reader"}]}]`:                                                                           own,
		`"trust_rules": [{"name": "gitlab", "issuer": "https://ci.test", "audience": "weir", "conditions": [{"claim": "sub", "equals": "x"}]}]`: own,
		`"enabled": false`: own,
		`"enabled": true`:  "200 200 200 200 200", // nothing that is not seen anyway
	} {
		for i, role := range roles[2:] {
			for _, dry := range []string{"true", "false"} {
				r := w.send(t, role, "POST", "/apply", `{"groups": [{"name": "acme", `+part+`}], "dry_run": `+dry+`}`)
				if want := strings.Fields(outcomes)[i]; want != status(r) {
					t.Errorf("%s as %s, dry run %s: %s, want %s: %s", part, role, dry, status(r), want, r.body)
				}
				if r.status == 403 && !strings.Contains(r.body, `"location":"groups[acme]`) {
					t.Errorf("%s as %s: which part it is does not show: %s", part, role, r.body)
				}
				if r.status == 200 && dry == "false" {
					w.reset(t)
				}
			}
		}
	}
}

// A document of several groups takes what it takes in each, and one that may not be seen is none.
func TestApplyToSeveralGroups(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "admin", "POST", "/apply", `{"groups": [{"name": "other"}, {"name": "seen", "grants": [{"user": "owner", "role": "reader"}]}]}`, 200)
	for _, role := range roles[2:5] { // would it remove grants? That is for owners to know
		w.wantAs(t, role, "POST", "/apply", `{"groups": [{"name": "acme"}], "prune": true, "dry_run": true}`, 403, `"location":"groups[acme]"`)
	}
	w.wantAs(t, "stranger", "POST", "/apply", `{"groups": [{"name": "new"}]}`, 404)
	w.wantAs(t, "admin", "PUT", "/grants/stranger", `{"role": "owner"}`, 200)
	w.wantAs(t, "stranger", "POST", "/apply", `{"groups": [{"name": "new"}]}`, 403, "it takes an administrator")
	w.wantAs(t, "admin", "DELETE", "/grants/stranger", "", 204)
	const mine = `{"name": "acme", "upstreams": [{"name": "one", "timeout": "7s"}]}`
	hidden := w.want(t, "POST", "/apply", `{"groups": [`+mine+`, {"name": "other"}]}`, 404)
	none := w.want(t, "POST", "/apply", `{"groups": [`+mine+`, {"name": "none"}], "dry_run": true}`, 404)
	if strings.ReplaceAll(hidden.body, "other", "none") != none.body || !strings.Contains(none.body, `"location":"groups[none]"`) {
		t.Errorf("whether a group exists shows:\n%s\n%s", hidden.body, none.body)
	}
	w.want(t, "POST", "/apply", `{"groups": [`+mine+`, {"name": "seen"}], "dry_run": true}`, 200, `"timeout"`)
	w.want(t, "POST", "/apply", `{"groups": [`+mine+`, {"name": "seen", "upstreams": [{"name": "x", "url": "https://x.test"}]}]}`, 403, `groups[seen].upstreams[x]`, "it takes the role maintainer")
	w.want(t, "GET", "/groups/acme/upstreams/one", "", 200, `"credential":"ci"`)
	if r := w.want(t, "GET", "/groups/acme/upstreams/one", "", 200); strings.Contains(r.body, "7s") {
		t.Error("a part was applied: ", r.body)
	}
	both := w.wantAs(t, "reader", "POST", "/apply", `{"groups": [{"name": "acme", "enabled": false, "upstreams": [{"name": "one", "timeout": "7s"}]}]}`, 403, "parts of this")
	if strings.Count(both.body, "it takes") != 2 {
		t.Error("not both parts are named: ", both.body)
	}
}

// What an owner has exported he can apply, as it is and changed; what he does not have he cannot give.
func TestOwnerAppliesHisGroup(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		w.want(t, "PUT", "/groups/acme/robots/bot", aRobot, 201)
		out := w.want(t, "GET", "/groups/acme/declaration", "", 200).body
		_, group, _ := strings.Cut(out, `"generation":`)
		_, group, _ = strings.Cut(group, ",")
		document := `{"groups": [{` + group[:strings.LastIndex(group, "}")] + `}], "prune": true}`
		w.want(t, "POST", "/apply", document, 200, `"changes":[]`)
		w.want(t, "POST", "/apply", strings.Replace(document, `"user":"reader","role":"reader"`, `"user":"reader","role":"developer"`, 1), 200, `"kind":"grant"`)

		w.wantAs(t, "admin", "PUT", "/groups/acme/roles/keeper", `{"actions": ["view", "own"]}`, 201)
		w.wantAs(t, "admin", "PUT", "/groups/acme/grants/stranger/-", `{"role": "keeper"}`, 201)
		for part, at := range map[string]string{
			`"grants": [{"user": "stranger", "role": "owner"}]`:                                                   "grants[stranger].role",
			`"grants": [{"user": "stranger", "role": "reader"}]`:                                                  "grants[stranger].role",
			`"roles": [{"name": "keeper", "actions": ["own", "pull"]}]`:                                           "roles[keeper].actions",
			`"robots": [{"name": "bot", "grants": [{"role": "reader"}]}]`:                                         "robots[bot].grants[0].role",
			`"roles": [{"name": "r", "actions": ["push"]}], "robots": [{"name": "b", "grants": [{"role": "r"}]}]`: "robots[b].grants[0].role",
		} {
			r := w.wantAs(t, "stranger", "POST", "/apply", `{"groups": [{"name": "acme", `+part+`}]}`, 403, "you cannot give what you do not have")
			if !strings.Contains(r.body, at) && !strings.Contains(r.body, "roles[r].actions") {
				t.Errorf("%s: not at %s: %s", part, at, r.body)
			}
		}
		w.wantAs(t, "stranger", "POST", "/apply", `{"groups": [{"name": "acme", "grants": [{"user": "reader", "path": "app", "role": "keeper"}]}]}`, 200)
	})
}

func status(r response) string { return strconv.Itoa(r.status) }

package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// gift is something that gives others rights, as a request of its own and as a part of a declaration.
type gift struct{ path, section, key, body string }

func robotWith(grants string) gift {
	return gift{"robots/new", "robots", `"name": "new"`, `"grants": ` + grants}
}

func ruleWith(grants string) gift {
	return gift{
		"trust-rules/new", "trust_rules", `"name": "new"`,
		`"issuer": "https://ci.test", "audience": "weir", "conditions": [{"claim": "sub", "equals": "x"}], "grants": ` + grants,
	}
}

func roleWith(actions string) gift {
	return gift{"roles/new", "roles", `"name": "new"`, `"actions": ` + actions}
}

func grantOf(role string) gift {
	return gift{"grants/spare/-", "grants", `"user": "spare"`, `"role": "` + role + `"`}
}

// What somebody may give does not depend on how he tries: by itself or in a declaration, it is given, denied for the same reasons, or
// found wrong.
func TestGivenByRequestAndByDeclaration(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "admin", "POST", "/users", `{"name": "spare", "password": "correct-horse"}`, 201)
	begin := func() {
		w.reset(t)
		w.wantAs(t, "admin", "PUT", "/groups/acme/roles/keeper", `{"actions": ["pull", "view", "own"]}`, 201)
		w.wantAs(t, "admin", "PUT", "/groups/acme/grants/stranger/-", `{"role": "keeper"}`, 201)
	}
	begin()
	outcomes := map[int]int{}
	for _, g := range []gift{
		robotWith(`[{"role": "keeper"}]`), robotWith(`[{"role": "reader"}]`), robotWith(`[{"path": "app", "role": "owner"}, {"role": "developer"}]`),
		robotWith(`[{"role": "boss"}]`), robotWith(`[{"role": "boss"}, {"path": "app", "role": "developer"}]`), robotWith(`[{"role": "admin"}]`),
		robotWith(`[{"path": "a//b", "role": "developer"}]`), robotWith(`[{"path": "a//b", "role": "keeper"}]`),
		ruleWith(`[{"role": "keeper"}]`), ruleWith(`[{"path": "app", "role": "maintainer"}]`), ruleWith(`[{"role": "admin"}]`),
		roleWith(`["pull", "own"]`), roleWith(`["push", "delete"]`), roleWith(`["administer"]`), roleWith(`["pull", "administer"]`), roleWith(`["fly", "pull"]`),
		grantOf("keeper"), grantOf("reader"), grantOf("owner"), grantOf("admin"), grantOf("boss"),
	} {
		for _, user := range []string{"reader", "stranger", "owner", "admin"} {
			one := w.send(t, user, "PUT", "/groups/acme/"+g.path, "{"+g.body+"}")
			if one.status < 300 {
				begin()
			}
			part := w.send(t, user, "POST", "/apply", `{"groups": [{"name": "acme", "`+g.section+`": [{`+g.key+", "+g.body+`}]}]}`)
			if part.status < 300 {
				begin()
			}
			same := outcome(one) == outcome(part)
			if user != "reader" && one.status == 403 { // who may change nothing is told so at once
				same = same && slices.Equal(reasons(t, one), reasons(t, part))
			}
			if !same {
				t.Errorf("%s gives %s %s: by itself %d %s\nin a declaration %d %s", user, g.path, g.body, one.status, one.body, part.status, part.body)
			}
			outcomes[outcome(one)]++
		}
	}
	if outcomes[200] < 10 || outcomes[422] < 10 || len(outcomes) != 3 {
		t.Errorf("the cases are not what they were: %v", outcomes)
	}
}

// outcome is a status, and the same whether something is made or changed.
func outcome(r response) int {
	if r.status == 201 {
		return 200
	}
	return r.status
}

// reasons are what a problem says of its parts, in one order.
func reasons(t *testing.T, r response) (out []string) {
	t.Helper()
	var p struct{ Errors []struct{ Message string } }
	if err := json.NewDecoder(strings.NewReader(r.body)).Decode(&p); err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Errors {
		out = append(out, e.Message)
	}
	slices.Sort(out)
	return out
}

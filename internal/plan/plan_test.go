package plan_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const example = "../../deploy/examples/acme.yaml"

func newPlanner(t *testing.T, db *meta.DB) (*plan.Planner, *seal.Sealer) {
	t.Helper()
	keyset, err := seal.Generate()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(keyset)
	if err != nil {
		t.Fatal(err)
	}
	return &plan.Planner{DB: db, Sealer: sealer}, sealer
}

// parse reads a declaration as the command line does.
func parse(t *testing.T, text string) desired.Document {
	t.Helper()
	file := filepath.Join(t.TempDir(), "declaration.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readFile(t, file)
}

func readFile(t *testing.T, file string) desired.Document {
	t.Helper()
	env := func(name string) (string, bool) { return "s3cret", name == "HUB_TOKEN" }
	d, err := client.Reader{LookupEnv: env}.Read([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func apply(t *testing.T, p *plan.Planner, d desired.Document, o plan.Options) *plan.Plan {
	t.Helper()
	out, err := p.Apply(t.Context(), d, o)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return out
}

func TestExample(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		p, sealer := newPlanner(t, db)
		dry := apply(t, p, readFile(t, example), plan.Options{DryRun: true})
		if groups, err := db.Groups(t.Context()); err != nil || len(groups) != 0 {
			t.Fatalf("a dry run changed something: %v %v", groups, err)
		}
		real := apply(t, p, readFile(t, example), plan.Options{ActorID: 7, RequestID: "r"})
		if dry.Text() != real.Text() {
			t.Errorf("a dry run showed\n%s\nbut this happened:\n%s", dry.Text(), real.Text())
		}
		if strings.Contains(real.Text(), "s3cret") || !strings.Contains(real.Text(), "secret: set") {
			t.Errorf("the secret shows, or does not show as set:\n%s", real.Text())
		}
		g, err := db.Group(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		c := g.Credentials[0]
		if secret, err := sealer.Open(plan.CredentialPlace(g.ID, c.ID, c.Version), c.Secret); err != nil || string(secret) != "s3cret" {
			t.Errorf("sealed secret: %q %v", secret, err)
		}
		if again := apply(t, p, readFile(t, example), plan.Options{Prune: true}); !again.Empty() {
			t.Errorf("applied twice, it still changes:\n%s", again.Text())
		}
		if after, err := db.Group(t.Context(), "acme"); err != nil || after.Generation != g.Generation {
			t.Errorf("an empty plan raised the generation: %v", err)
		}
		events, err := db.Read().ListEvents(t.Context(), query.ListEventsParams{GroupID: g.ID, ID: db.ID(), Limit: 100})
		if err != nil || len(events) != len(real.Changes) || events[0].ActorID != 7 {
			t.Errorf("%d events for %d changes, %v", len(events), len(real.Changes), err)
		}
		for _, e := range events {
			if strings.Contains(e.Detail, "s3cret") {
				t.Errorf("the secret is in an event: %s", e.Detail)
			}
		}
	})
}

// What is read out can be declared, and then changes nothing.
func TestDescribeIsADeclaration(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	apply(t, p, parse(t, everything), plan.Options{})
	g, err := db.Group(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	again := apply(t, p, desired.Document{Groups: []desired.Group{plan.Describe(g)}}, plan.Options{})
	if !again.Empty() {
		t.Error(again.Text())
	}
}

const everything = `
groups:
  - name: acme
    enabled: false
    credentials: [{name: hub, username: ci, password: x, hosts: [Registry.Example.com]}]
    upstreams:
      - name: hub
        url: HTTPS://registry.example.com:443/team/
        credential: hub
        on_unknown: stop
        on_upstream_delete: refuse
        freshness: {default: forever, classes: [{pattern: "*:latest", for: always}]}
        rules: [{deny: "*:nightly"}]
        hosts: [hub.example.com]
        realm_hosts: [auth.example.com:8443]
        revalidate_wait: 250ms
        timeout: 90s
        idle_timeout: 1m
        concurrency: 4
      - {name: own, local: acme/team}
    registries:
      - name: all
        enabled: false
        anonymous_pull: true
        digest_first: allow
        strict_precedence: true
        members: [{upstream: own, claims: ["team/*"]}, {upstream: hub, enabled: false}]
        rules: [{allow: "*", upstream: hub}]
      - {name: quiet, anonymous_pull_on_loopback: true}
    hosted: [{prefix: team, anonymous_pull: true, allow_sparse_index: true}]
    host_bindings: [{host: Docker.Acme.test, registry: all, mirror: true, networks: [10.1.2.3/8]}]
    roles: [{name: publisher, actions: [push, pull, push]}]
    robots: [{name: ci, enabled: false, grants: [{path: team/, role: publisher}, {role: reader}]}]
    trust_rules:
      - name: gitlab
        issuer: https://gitlab.test
        audience: weir.test
        conditions: [{claim: project_path, matches: "acme/*"}]
        grants: [{role: publisher}]
        lifetime_seconds: 600
        single_use: true
`

func TestChanges(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	apply(t, p, parse(t, everything), plan.Options{})
	for _, c := range []struct {
		name, from, to string
		prune          bool
		want           []string // lines of the plan
	}{
		{"secret", "password: x", "password: y", false, []string{"~ credential hub", "secret: changed"}},
		{"secret left out", "password: x, ", "", false, []string{"Nothing to do"}},
		{"user", "username: ci", "username: robot", false, []string{"~ credential hub", "username: ci → robot", "~ upstream hub", "note: another place"}},
		{"path", "/team/\n", "/other\n", false, []string{"url: https://registry.example.com/team → https://registry.example.com/other", "note: another place"}},
		{"policy", "on_unknown: stop", "on_unknown: continue", false, []string{"~ upstream hub", "on_unknown: stop → continue"}},
		{"order", `{upstream: own, claims: ["team/*"]}, {upstream: hub, enabled: false}`, `{upstream: hub, enabled: false}, {upstream: own, claims: ["team/*"]}`, false, []string{"~ registry all", "members: "}},
		{"removal needs prune", "      - {name: quiet, anonymous_pull_on_loopback: true}\n", "", false, []string{"Nothing to do"}},
		{"removal", "      - {name: quiet, anonymous_pull_on_loopback: true}\n", "", true, []string{"- registry quiet", "0 to add, 0 to change, 1 to remove"}},
		{"actions", "[push, pull, push]", "[pull]", false, []string{"~ role publisher", "actions: [pull, push] → [pull]"}},
		{"robot", "name: ci, enabled: false", "name: ci, enabled: true", false, []string{"~ robot ci", "enabled: false → true"}},
		{"trust rule", "lifetime_seconds: 600", "lifetime_seconds: 60", false, []string{"~ trust_rule gitlab", "lifetime_seconds: 600 → 60"}},
		{"group", "enabled: false\n    cred", "enabled: true\n    cred", false, []string{"~ the group", "enabled: false → true"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := strings.Replace(everything, c.from, c.to, 1)
			if changed == everything {
				t.Fatal("the test changes nothing")
			}
			text := apply(t, p, parse(t, changed), plan.Options{DryRun: true, Prune: c.prune}).Text()
			for _, line := range c.want {
				if !strings.Contains(text, line) {
					t.Errorf("no %q in\n%s", line, text)
				}
			}
		})
	}
}

// A file takes nothing away by not mentioning it.
func TestOmittedStays(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	apply(t, p, parse(t, everything), plan.Options{})
	for _, c := range []struct {
		name, in string
		prune    bool
		want     []string
	}{
		{"names alone", `{name: acme, credentials: [{name: hub}], upstreams: [{name: hub}, {name: own}], registries: [{name: all}, {name: quiet}],
			hosted: [{prefix: team}], host_bindings: [{host: docker.acme.test}],
			roles: [{name: publisher}], robots: [{name: ci}], trust_rules: [{name: gitlab}]}`, false, []string{"Nothing to do"}},
		{"one boolean", "{name: acme, registries: [{name: all, strict_precedence: false}]}", false, []string{"      strict_precedence: true → false\n0 to add, 1 to change"}},
		{"one freshness", "{name: acme, upstreams: [{name: hub, freshness: {default: 1h}}]}", false, []string{"classes: [{for: always, pattern: *:latest}], default: 1h}"}},
		{"confirmed", "{name: acme, registries: [{name: quiet, anonymous_pull: true}]}", false, []string{"anonymous_pull: true", "anonymous_pull_on_loopback: true → (none)"}},
		{"refused", "{name: acme, registries: [{name: quiet, anonymous_pull: false}]}", false, []string{"anonymous_pull: false", "anonymous_pull_on_loopback: true → (none)"}},
		{"an empty list", "{name: acme, registries: [{name: all, rules: []}]}", false, []string{"rules: [{allow: *, upstream: hub}] → (none)\n0 to add, 1 to change"}},
		{"members in another order keep their claims", "{name: acme, registries: [{name: all, members: [{upstream: hub}, {upstream: own}]}]}", false, []string{
			"→ [{enabled: false, upstream: hub}, {claims: [team/*], enabled: true, upstream: own}]",
		}},
		{"no members", "{name: acme, registries: [{name: all, members: [], rules: []}]}", false, []string{"note: warning: it has no members"}},
		{"another kind of upstream", "{name: acme, upstreams: [{name: hub, local: acme/other}]}", false, []string{"local: acme/other", "credential: hub → (none)"}},
		{"prune", "{name: acme, upstreams: [{name: own, local: acme/team}], registries: [{name: all, members: [{upstream: own}]}]}", true, []string{
			"anonymous_pull: true → false", "- registry quiet", "- credential hub", "enabled: false → true",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := apply(t, p, parse(t, "groups: ["+c.in+"]"), plan.Options{DryRun: true, Prune: c.prune}).Text()
			for _, line := range c.want {
				if !strings.Contains(text, line) {
					t.Errorf("no %q in\n%s", line, text)
				}
			}
		})
	}
}

// A new secret leaves the epoch alone; another place or login starts a new one.
func TestEpoch(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	epochIn := func(group, text string) int64 {
		t.Helper()
		apply(t, p, parse(t, text), plan.Options{})
		g, err := db.Group(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(g.Upstreams, func(u meta.Upstream) bool { return u.Name == "hub" })
		return g.Upstreams[i].Epoch
	}
	epoch := func(text string) int64 { return epochIn("acme", text) }
	first := epoch(everything)
	if epoch(strings.Replace(everything, "password: x", "password: y", 1)) != first {
		t.Error("a new secret started a new epoch")
	}
	robot := strings.Replace(everything, "username: ci", "username: robot", 1)
	second := epoch(robot)
	if second == first {
		t.Error("another user name did not start a new epoch")
	}
	if epoch(strings.Replace(robot, "/team/\n", "/other\n", 1)) == second {
		t.Error("another path did not start a new epoch")
	}
	hub := func(host string) int64 {
		return epochIn("hubs", "groups: [{name: hubs, upstreams: [{name: hub, url: \"https://"+host+"\"}]}]")
	}
	if third := hub("docker.io"); hub("registry-1.docker.io") != third || hub("quay.io") == third {
		t.Error("another name of Docker Hub is no other place, and another host is one")
	}
}

func TestPrune(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		p, _ := newPlanner(t, db)
		apply(t, p, parse(t, everything), plan.Options{})
		apply(t, p, parse(t, "groups: [{name: acme}]"), plan.Options{Prune: true})
		g, err := db.Group(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		want := meta.Group{ID: g.ID, Name: "acme", Enabled: true, Generation: g.Generation}
		if diff := cmp.Diff(want, g); diff != "" {
			t.Errorf("left over (+):\n%s", diff)
		}
	})
}

// Robots, roles and trust rules are those that package access has, with its events, and a name can pass from one kind to another.
func TestAccounts(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		p, _ := newPlanner(t, db)
		apply(t, p, parse(t, everything), plan.Options{ActorID: 7, RequestID: "r"})
		owned := func() access.Owned {
			var out access.Owned
			err := db.Snapshot(t.Context(), func(q *query.Queries) (err error) {
				out, err = access.ReadOwned(t.Context(), q)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		now := owned()
		robot, rule := now.Robots[0], now.TrustRules[0]
		if robot.Name != "ci" || !robot.Disabled || len(robot.Grants) != 2 || !rule.SingleUse || rule.Lifetime != 10*time.Minute || len(now.Roles[0].Actions) != 2 {
			t.Errorf("%+v", now)
		}
		events, err := db.Read().ListEvents(t.Context(), query.ListEventsParams{GroupID: robot.GroupID, ID: db.ID(), Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]int{}
		for _, e := range events {
			if kinds[e.Kind]++; e.ActorID != 7 || e.RequestID != "r" {
				t.Errorf("an event does not say who: %+v", e)
			}
		}
		if kinds["role.put"] != 1 || kinds["robot.put"] != 1 || kinds["trust_rule.put"] != 1 {
			t.Errorf("events %v", kinds)
		}
		const swapped = `groups: [{name: acme, roles: [{name: publisher, actions: [pull]}], robots: [{name: gitlab, grants: [{role: publisher}]}],
			trust_rules: [{name: ci, issuer: "https://gitlab.test", audience: w, conditions: [{claim: sub, equals: x}]}]}]`
		apply(t, p, parse(t, swapped), plan.Options{Prune: true})
		if now := owned(); now.Robots[0].Name != "gitlab" || now.Robots[0].ID == rule.ID || now.TrustRules[0].Name != "ci" || len(now.TrustRules) != 1 {
			t.Errorf("%+v", now)
		}
		apply(t, p, parse(t, `groups: [{name: acme}]`), plan.Options{Prune: true})
		if now := owned(); len(now.Roles)+len(now.Robots)+len(now.TrustRules) != 0 {
			t.Errorf("left over: %+v", now)
		}
	})
}

// An edit of something else leaves roles, robots and trust rules alone; the end of the group takes them along.
func TestEditKeepsAccounts(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	apply(t, p, parse(t, everything), plan.Options{})
	edit := func(change func(*plan.State) error) *plan.Plan {
		out, err := p.Edit(t.Context(), "acme", change, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	off := false
	if text := edit(func(s *plan.State) error { s.Group.Hosted[0].AnonymousPull = &off; return nil }).Text(); !strings.Contains(text, "0 to add, 1 to change, 0 to remove") {
		t.Error(text)
	}
	if text := edit(func(s *plan.State) error { s.Remove = true; return nil }).Text(); !strings.Contains(text, "- robot ci") || !strings.Contains(text, "- role publisher") {
		t.Error(text)
	}
}

// A binding can move to another group in one step, in whichever order the groups stand.
func TestMoveHost(t *testing.T) {
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		db := metatest.Open(t, meta.SQLite)
		p, _ := newPlanner(t, db)
		apply(t, p, parse(t, `groups: [{name: a, registries: [{name: r}], host_bindings: [{host: h.test, registry: r}]}]`), plan.Options{})
		d := parse(t, `groups: [{name: `+order[0]+`, registries: [{name: r}]}, {name: `+order[1]+`, registries: [{name: r}]}]`)
		for i := range d.Groups {
			if d.Groups[i].Name == "b" {
				d.Groups[i].HostBindings = []desired.HostBinding{{Host: "h.test", Registry: "r"}}
			}
		}
		if _, err := p.Apply(t.Context(), d, plan.Options{}); err == nil {
			t.Error("bound twice")
		}
		apply(t, p, d, plan.Options{Prune: true})
		if g, err := db.Group(t.Context(), "b"); err != nil || len(g.HostBindings) != 1 {
			t.Error(g.HostBindings, err)
		}
	}
}

func TestGrants(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return tx.InsertAccount(ctx, query.InsertAccountParams{Kind: "user", ID: tx.ID(), Name: "ann"})
	})
	if err != nil {
		t.Fatal(err)
	}
	const declaration = `groups: [{name: a, grants: [{user: ann, path: team, role: developer}]}]`
	if text := apply(t, p, parse(t, declaration), plan.Options{}).Text(); !strings.Contains(text, "+ grant ann team") {
		t.Error(text)
	}
	if again := apply(t, p, parse(t, declaration), plan.Options{}); !again.Empty() {
		t.Error(again.Text())
	}
	apply(t, p, parse(t, `groups: [{name: a}]`), plan.Options{Prune: true})
	if grants, err := db.Read().AccessGrants(t.Context()); err != nil || len(grants) != 0 {
		t.Error(grants, err)
	}
	err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return tx.PutRole(ctx, query.PutRoleParams{ID: tx.ID(), Name: "pusher", Actions: `["push"]`})
	})
	if err != nil {
		t.Fatal(err)
	}
	if text := apply(t, p, parse(t, `groups: [{name: a, grants: [{user: ann, role: pusher}]}]`), plan.Options{}).Text(); !strings.Contains(text, "+ grant ann") {
		t.Error("a role that people made: ", text)
	}
	var invalid *plan.InvalidError
	if _, err := p.Apply(t.Context(), parse(t, `groups: [{name: a, grants: [{user: bob, role: admin}]}]`), plan.Options{}); !errors.As(err, &invalid) || len(invalid.Problems) != 2 {
		t.Errorf("want two problems: %v", err)
	}
}

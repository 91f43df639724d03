package plan_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// Each row replaces a part of a valid declaration; the problems must be exactly the wanted ones, as "path: part of message".
func TestProblems(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	const upstream = "groups[acme].upstreams[hub]"
	for _, c := range []struct {
		from, to string
		want     []string
	}{
		{"name: acme", "name: Acme", []string{`groups[Acme].name: "Acme" is not a group name`, "leads to group"}},
		{"username: ci, ", "", []string{"credentials[hub].username: want a user name"}},
		{"password: x, ", "", []string{"credentials[hub].password: is missing"}},
		{"username: ci", "kind: magic, username: ci", []string{"credentials[hub].kind"}},
		{"hosts: [Registry.Example.com]", "hosts: [other.test]", []string{"credentials[hub].hosts: does not hold registry.example.com, the host of upstream hub"}},
		{"hosts: [Registry.Example.com]", `hosts: ["registry.example.com", "a b"]`, []string{`credentials[hub].hosts[1]: "a b" is not a host`}},
		{"HTTPS://registry.example.com:443/team/", "https://u:p@registry.example.com", []string{upstream + ".url: holds a user name"}},
		{"HTTPS://registry.example.com:443/team/", "https://registry.example.com/?a=b", []string{upstream + ".url: must not have a query"}},
		{"HTTPS://registry.example.com:443/team/", "https://registry.example.com/v2/", []string{upstream + ".url: leave out /v2"}},
		{"HTTPS://registry.example.com:443/team/", "registry.example.com/team", []string{upstream + ".url: want an absolute URL"}},
		{"HTTPS://registry.example.com:443/team/", "https://registry.example.com/Team", []string{upstream + ".url: its path"}},
		{"credential: hub", "credential: nope", []string{upstream + `.credential: the group has no credential "nope"`}},
		{"credential: hub", "credential: hub\n        local: acme/x", []string{upstream + ": give either url"}},
		{"on_unknown: stop", "on_unknown: maybe", []string{upstream + `.on_unknown: "maybe": want continue or stop`}},
		{"on_upstream_delete: refuse", "on_upstream_delete: x", []string{upstream + ".on_upstream_delete"}},
		{"default: forever", "default: 3 days", []string{upstream + ".freshness.default"}},
		{`"*:latest", for: always`, `"*:", for: -1s`, []string{"classes[0].pattern", "classes[0].for"}},
		{`deny: "*:nightly"`, `deny: x, allow: y`, []string{upstream + ".rules[0]: give either allow or deny"}},
		{`deny: "*:nightly"`, `deny: x, upstream: own`, []string{upstream + ".rules[0].upstream: only rules of a registry"}},
		{"timeout: 90s", "timeout: soon", []string{upstream + ".timeout"}},
		{"concurrency: 4", "concurrency: -1", []string{upstream + ".concurrency"}},
		{"concurrency: 4", "ca: nonsense", []string{upstream + ".ca: holds no certificate"}},
		{"local: acme/team", "local: other/team", []string{`upstreams[own].local: leads to group "other"`}},
		{"local: acme/team", "local: acme/all/x", []string{"upstreams[own].local: lies below registry"}},
		{"local: acme/team", "local: acme/team, credential: hub", []string{"upstreams[own].credential: a local upstream needs none"}},
		{"{name: own, local: acme/team}", "{name: own, url: https://registry.example.com/team, credential: hub}", []string{"upstreams[own]: is the same place with the same credential as upstream hub"}},
		{"{name: own, local: acme/team}", "{name: own, url: https://docker.io}\n      - {name: a, url: https://registry-1.docker.io}\n      - {name: b, url: https://index.docker.io}", []string{
			"upstreams[a]: is the same place with the same credential as upstream own", "upstreams[b]: is the same place with the same credential as upstream own",
		}},
		{"digest_first: allow", "format: maven", []string{"registries[all].format"}},
		{"digest_first: allow", "digest_first: perhaps", []string{"registries[all].digest_first"}},
		{"digest_first: allow", "anonymous_pull_on_loopback: true", []string{"not both"}},
		{`upstream: own, claims: ["team/*"]`, `upstream: nope, claims: ["team/*:x"]`, []string{`members[0].upstream: the group has no upstream "nope"`, "members[0].claims[0]"}},
		{"upstream: hub, enabled: false", `upstream: own`, []string{`members[1].upstream: "own" is a member already`, `rules[0].upstream: "hub" is not a member`}},
		{"upstream: hub, enabled: false", `upstream: hub, claims: ["team/*"]`, []string{`members[1].claims[0]: "team/*" is claimed by own too`}},
		{"{prefix: team,", "{prefix: all/x,", []string{`hosted[all/x].prefix: begins with "all", which is a registry`}},
		{"{prefix: team,", "{prefix: Team,", []string{"hosted[Team].prefix"}},
		{"host: Docker.Acme.test", "host: http://x", []string{"host_bindings[http://x].host"}},
		{"registry: all, mirror: true", "registry: nope, mirror: true", []string{`registry: the group has no registry "nope"`}},
		{"registry: all, mirror: true", "registry: quiet, mirror: true", []string{"mirror: a mirror answers without login"}},
		{"networks: [10.1.2.3/8]", "networks: [10.1.2.3]", []string{"networks[0]"}},
		{"- {name: quiet,", "- {name: all,", []string{"registries[all]: is declared twice"}},
	} {
		t.Run(c.to, func(t *testing.T) {
			text := strings.Replace(everything, c.from, c.to, 1)
			if text == everything {
				t.Fatal("the test changes nothing")
			}
			_, err := p.Apply(t.Context(), parse(t, text), plan.Options{})
			var invalid *plan.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("applied: %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(invalid.Error(), w) {
					t.Errorf("no %q in\n%v", w, invalid)
				}
			}
			if len(invalid.Problems) != len(c.want) {
				t.Errorf("%d problems, want %d:\n%v", len(invalid.Problems), len(c.want), invalid)
			}
		})
	}
	if groups, err := db.Groups(t.Context()); err != nil || len(groups) != 0 {
		t.Errorf("an invalid declaration changed something: %v %v", groups, err)
	}
}

func TestMemberLimit(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	var upstreams, members strings.Builder
	for i := range plan.DefaultMaxMembers + 1 {
		fmt.Fprintf(&upstreams, "{name: u%d, url: https://r%d.test},", i, i)
		fmt.Fprintf(&members, "{upstream: u%d},", i)
	}
	text := fmt.Sprintf("groups: [{name: a, upstreams: [%s], registries: [{name: r, members: [%s]}]}]", upstreams.String(), members.String())
	_, err := p.Apply(t.Context(), parse(t, text), plan.Options{})
	if err == nil || !strings.Contains(err.Error(), "has 21 members; the limit is 20 (server setting limits.members_per_registry)") {
		t.Errorf("got %v", err)
	}
	p.MaxMembers = 21
	apply(t, p, parse(t, text), plan.Options{})
}

// The server's own address leads to every group; a binding would leave one.
func TestOwnHost(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	p.Hosts = []string{"127.0.0.1:5000", "weir.test"}
	for _, host := range []string{"127.0.0.1:5000", "Weir.test", "weir.test:443"} {
		text := fmt.Sprintf("groups: [{name: a, upstreams: [{name: u, url: https://r.test}], registries: [{name: r, members: [{upstream: u}]}], host_bindings: [{host: %q, registry: r}]}]", host)
		if _, err := p.Apply(t.Context(), parse(t, text), plan.Options{}); err == nil || !strings.Contains(err.Error(), "is the server's own address") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestMemberTwice(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	p, _ := newPlanner(t, db)
	text := "groups: [{name: a, upstreams: [{name: u, url: https://r.test}], registries: [{name: r, members: [" + strings.Repeat("{upstream: u}, ", 20) + "]}]}]"
	_, err := p.Apply(t.Context(), parse(t, text), plan.Options{})
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), `members[1].upstream: "u" is a member already`) {
		t.Errorf("got %v", err)
	}
}

// A registry must not take the name of repositories that people have pushed.
func TestRegistryOverHosted(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		p, _ := newPlanner(t, db)
		apply(t, p, parse(t, "groups: [{name: a}]"), plan.Options{})
		g, err := db.Group(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			for _, name := range []string{"team/app", "tea-pot"} {
				_, err := tx.Conn().ExecContext(ctx, "INSERT INTO repositories (id, group_id, upstream_id, epoch, format, name, created_at) VALUES ($1, $2, 0, 0, 'container', $3, 0)", tx.ID(), g.ID, name)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Apply(t.Context(), parse(t, "groups: [{name: a, registries: [{name: team}]}]"), plan.Options{})
		if err == nil || !strings.Contains(err.Error(), "the hosted repository a/team/app begins with it") {
			t.Errorf("got %v", err)
		}
		apply(t, p, parse(t, "groups: [{name: a, registries: [{name: tea}]}]"), plan.Options{})
	})
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// TestExportIsWhatApplyTakes makes any definitions there can be and reads them out: to apply that, also with --prune, changes nothing,
// and a diff finds nothing.
func TestExportIsWhatApplyTakes(t *testing.T) {
	w := newWorld(t)
	c, err := client.New(client.Options{Data: w.data})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "export.yaml")
	made := 0
	rapid.Check(t, func(r *rapid.T) {
		d := desired.Document{Groups: []desired.Group{definitions(r)}}
		if _, err := c.Apply(t.Context(), d, true, false); err != nil {
			if _, refused := errors.AsType[*client.Problem](err); !refused {
				r.Fatal(err)
			}
			r.Skip(err)
		}
		made++
		if err := os.WriteFile(file, []byte(w.run("export", "--group", "acme")), 0o600); err != nil {
			r.Fatal(err)
		}
		prune := fmt.Sprintf("--prune=%v", rapid.Bool().Draw(r, "prune"))
		for _, args := range [][]string{{"diff", "-f", file, prune}, {"apply", "-f", file, prune}} {
			code, out, errs := w.try(args...)
			if text, _ := os.ReadFile(file); code != 0 || !strings.HasPrefix(out, "Nothing to do") {
				r.Fatalf("%v: exit code %d: %s%s\nof\n%s", args, code, out, errs, text)
			}
		}
	})
	if made < 20 {
		t.Errorf("only %d definitions were accepted", made)
	}
}

func maybe[T any](r *rapid.T, name string, values ...T) (out T) {
	if rapid.Bool().Draw(r, "has "+name) {
		out = rapid.SampledFrom(values).Draw(r, name)
	}
	return out
}

func flagOf(r *rapid.T, name string) *bool { return maybe(r, name, new(bool), yes()) }

func yes() *bool {
	b := true
	return &b
}

func some[T any](r *rapid.T, name string, values ...T) []T {
	n := rapid.IntRange(0, len(values)).Draw(r, "number of "+name)
	return rapid.Permutation(values).Draw(r, name)[:n]
}

var patterns = []string{"*", "library/*", "team/app", "*:*-rc", "a?c:1.*"}

// definitions is a group as somebody may declare it.
func definitions(r *rapid.T) desired.Group {
	g := desired.Group{Name: "acme", Enabled: flagOf(r, "enabled")}
	for _, name := range some(r, "credentials", "one", "two") {
		password := desired.Password("s3cret")
		g.Credentials = append(g.Credentials, desired.Credential{Name: name, Username: "ci", Password: &password,
			Hosts: some(r, "hosts", "a.test", "b.test", "c.test", "auth.test")})
	}
	for _, name := range some(r, "upstreams", "a", "b", "c", "own") {
		g.Upstreams = append(g.Upstreams, upstream(r, name, g.Credentials))
	}
	for _, name := range some(r, "registries", "hub", "open") {
		g.Registries = append(g.Registries, registry(r, name, g.Upstreams))
	}
	for _, prefix := range some(r, "hosted", "", "team", "team/app") {
		g.Hosted = append(g.Hosted, desired.Hosted{Prefix: prefix, AnonymousPull: flagOf(r, "anonymous"), AllowSparseIndex: flagOf(r, "sparse")})
	}
	for i, reg := range g.Registries {
		if rapid.Bool().Draw(r, "bound") {
			g.HostBindings = append(g.HostBindings, desired.HostBinding{Host: fmt.Sprintf("h%d.test", i), Registry: reg.Name,
				Mirror: maybe(r, "mirror", reg.AnonymousPull), Networks: some(r, "networks", "10.0.0.0/8", "192.168.1.7/24", "::/0")})
		}
	}
	accounts(r, &g)
	return g
}

// accounts adds roles, robots, trust rules and grants, which may give the roles.
func accounts(r *rapid.T, g *desired.Group) {
	roles := []string{"reader", "developer", "maintainer", "owner"}
	for _, name := range some(r, "roles", "publisher", "auditor") {
		actions := some(r, "actions", "push", "pull", "view", "audit", "delete")
		g.Roles, roles = append(g.Roles, desired.Role{Name: name, Actions: append(actions, "catalog")}), append(roles, name)
	}
	given := func() (out []desired.Given) {
		for _, path := range some(r, "given", "", "team", "team/app/", "other") {
			out = append(out, desired.Given{Path: path, Role: rapid.SampledFrom(roles).Draw(r, "role")})
		}
		return out
	}
	for _, name := range some(r, "robots", "ci", "deployer") {
		g.Robots = append(g.Robots, desired.Robot{Name: name, Enabled: flagOf(r, "enabled"), Grants: given()})
	}
	for _, name := range some(r, "trust rules", "gitlab", "cluster") {
		rule := desired.TrustRule{
			Name: name, Enabled: flagOf(r, "enabled"), Issuer: "https://" + name + ".test", Audience: "weir.test", Grants: given(),
			Conditions:      append(some(r, "conditions", desired.Condition{Claim: "ref", Matches: "v*"}), desired.Condition{Claim: "kubernetes.io/namespace", Equals: "a: #b"}),
			LifetimeSeconds: maybe(r, "lifetime", int64(60), 3600, 86400), SingleUse: flagOf(r, "single use"),
			Keys: maybe[desired.PEM](r, "keys", testKeys, testKeys+"\n"),
		}
		g.TrustRules = append(g.TrustRules, rule)
	}
	for _, user := range some(r, "grants", "ann", "bob") {
		g.Grants = append(g.Grants, desired.Grant{User: user, Path: maybe(r, "path", "team", "team/app"), Role: rapid.SampledFrom(roles).Draw(r, "role")})
	}
}

// testKeys are the example of RFC 8037, appendix A.2.
const testKeys = `{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "1"}]}`

func upstream(r *rapid.T, name string, credentials []desired.Credential) desired.Upstream {
	u := desired.Upstream{
		Name: name, URL: "https://" + name + ".test" + maybe(r, "path", "/mirror", "/a/b"), Enabled: flagOf(r, "enabled"),
		OnUnknown: maybe(r, "on_unknown", "continue", "stop"), OnUpstreamDelete: maybe(r, "on_upstream_delete", "serve", "refuse"),
		Freshness: desired.Freshness{Default: maybe(r, "default", "24h", "forever", "always", "90m")}, Rules: rules(r, nil),
		Hosts: some(r, "hosts", "docker.io", "GHCR.io"), RevalidateWait: maybe(r, "wait", "400ms", "2s"), Timeout: maybe(r, "timeout", "10s", "1m30s"),
		Concurrency: maybe(r, "concurrency", 1, 64),
	}
	for _, p := range some(r, "classes", patterns...) {
		u.Freshness.Classes = append(u.Freshness.Classes, desired.FreshnessClass{Pattern: p, For: "1h"})
	}
	if name == "own" {
		u.URL, u.Local = "", "acme/own"
	} else if len(credentials) > 0 {
		u.Credential = maybe(r, "credential", credentials[0].Name)
	}
	return u
}

func rules(r *rapid.T, members []desired.Member) (out []desired.Rule) {
	for _, p := range some(r, "rules", patterns...) {
		rule := desired.Rule{Deny: p}
		if rapid.Bool().Draw(r, "allows") {
			rule = desired.Rule{Allow: p}
		}
		if len(members) > 0 {
			rule.Upstream = maybe(r, "for", members[0].Upstream)
		}
		out = append(out, rule)
	}
	return out
}

func registry(r *rapid.T, name string, upstreams []desired.Upstream) desired.Registry {
	reg := desired.Registry{Name: name, Enabled: flagOf(r, "enabled"), AnonymousPull: flagOf(r, "anonymous"), DigestFirst: maybe(r, "digest_first", "deny", "allow"),
		StrictPrecedence: flagOf(r, "strict")}
	if !desired.IsTrue(reg.AnonymousPull) {
		reg.AnonymousPullOnLoopback = flagOf(r, "loopback")
	}
	for i, u := range some(r, "members", upstreams...) {
		reg.Members = append(reg.Members, desired.Member{Upstream: u.Name, Enabled: flagOf(r, "enabled"), Claims: some(r, "claims", fmt.Sprintf("m%d/*", i), fmt.Sprintf("x%d", i))})
	}
	reg.Rules = rules(r, reg.Members)
	return reg
}

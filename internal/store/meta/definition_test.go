package meta_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// acme stores a group with one of everything.
func acme(t *testing.T, db *meta.DB) meta.Group {
	t.Helper()
	var g meta.Group
	write(t, db, func(ctx context.Context, tx *meta.Tx) error {
		g = meta.Group{Name: "acme", Enabled: true}
		if err := tx.SaveGroup(ctx, &g); err != nil {
			return err
		}
		c := meta.Credential{Name: "hub", Kind: "static", Username: "ci", Secret: []byte{0, 1}, Fingerprint: []byte{2}, Hosts: []string{"h"}, Version: 1}
		if err := tx.SaveCredential(ctx, g.ID, &c); err != nil {
			return err
		}
		remote := meta.Upstream{
			Name: "dockerhub", URL: "https://registry-1.docker.io", CredentialID: c.ID, Enabled: true,
			OnUnknown: meta.Continue, OnUpstreamDelete: meta.Serve,
			Freshness: meta.Freshness{Default: "24h", Classes: []meta.FreshnessClass{{Pattern: "*:latest", For: "10m"}}},
			Settings:  meta.UpstreamSettings{Timeout: time.Second, Hosts: []string{"docker.io"}},
			Rules:     []meta.Rule{{Action: "deny", Pattern: "*:*-alpha*"}, {Action: "allow", Pattern: "*"}},
		}
		local := meta.Upstream{Name: "payments", Local: "acme/payments", Enabled: true, OnUnknown: meta.Stop, OnUpstreamDelete: meta.Serve}
		if err := errors.Join(tx.SaveUpstream(ctx, g.ID, &remote), tx.SaveUpstream(ctx, g.ID, &local)); err != nil {
			return err
		}
		r := meta.Registry{
			Name: "hub", Format: "container", Enabled: true, AnonymousPull: "yes", DigestFirst: "deny", StrictPrecedence: true,
			Members: []meta.Member{{UpstreamID: local.ID, Enabled: true, Claims: []string{"payments/*"}}, {UpstreamID: remote.ID}},
			Rules:   []meta.Rule{{Action: "allow", Pattern: "library/*", OnlyUpstreamID: remote.ID}},
		}
		p := meta.HostedPrefix{Prefix: "payments", AnonymousPull: true, AllowSparseIndex: true}
		b := meta.HostBinding{Host: "docker.acme.test", Prefix: "acme/hub", Mirror: true, Networks: []string{"10.0.0.0/8"}}
		err := errors.Join(tx.SaveRegistry(ctx, g.ID, &r), tx.SaveHostedPrefix(ctx, g.ID, &p), tx.SaveHostBinding(ctx, g.ID, &b))
		g.Credentials, g.Upstreams = []meta.Credential{c}, []meta.Upstream{remote, local}
		g.Registries, g.HostedPrefixes, g.HostBindings = []meta.Registry{r}, []meta.HostedPrefix{p}, []meta.HostBinding{b}
		return err
	})
	return g
}

func TestDefinitions(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		want := acme(t, db)
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			return tx.SaveGroup(ctx, &meta.Group{Name: "zeta"})
		})
		groups, err := db.Groups(t.Context())
		if err != nil || len(groups) != 2 || groups[1].Name != "zeta" {
			t.Fatal(groups, err)
		}
		want.Generation = groups[0].Generation
		if diff := cmp.Diff(want, groups[0]); diff != "" {
			t.Errorf("stored (-) and read (+) differ:\n%s", diff)
		}
		one, err := db.Group(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(groups[0], one); diff != "" {
			t.Errorf("Groups (-) and Group (+) differ:\n%s", diff)
		}
		if _, err := db.Group(t.Context(), "nobody"); !errors.Is(err, meta.ErrNotFound) {
			t.Errorf("an unknown group: %v", err)
		}
	})
}

func TestDefinitionUpdates(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		g := acme(t, db)
		f := follow(t, db)
		before, err := db.Group(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			g.Upstreams[0].Rules = g.Upstreams[0].Rules[1:]
			g.Upstreams[0].Epoch = 0
			g.Registries[0].Members = []meta.Member{g.Registries[0].Members[1], g.Registries[0].Members[0]}
			g.Registries[0].Rules = nil
			g.HostBindings[0].Mirror = false
			return errors.Join(tx.SaveUpstream(ctx, g.ID, &g.Upstreams[0]), tx.SaveRegistry(ctx, g.ID, &g.Registries[0]),
				tx.SaveHostBinding(ctx, g.ID, &g.HostBindings[0]), tx.SaveCredential(ctx, g.ID, &g.Credentials[0]))
		})
		after, err := db.Group(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		if after.Generation != before.Generation+1 {
			t.Errorf("generation %d after %d: want one step for one transaction", after.Generation, before.Generation)
		}
		if after.Upstreams[0].Epoch == before.Upstreams[0].Epoch {
			t.Error("no new epoch")
		}
		g.Generation = after.Generation
		if diff := cmp.Diff(g, after); diff != "" {
			t.Errorf("stored (-) and read (+) differ:\n%s", diff)
		}
		if f.times("upstream/dockerhub") != 1 || f.times("registry/hub") != 1 {
			t.Errorf("changes: %v", f.keys)
		}
	})
}

func TestDefinitionsInUse(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		g := acme(t, db)
		for name, remove := range map[string]func(ctx context.Context, tx *meta.Tx) error{
			"credential": func(ctx context.Context, tx *meta.Tx) error {
				return tx.DeleteCredential(ctx, g.ID, g.Credentials[0].ID)
			},
			"upstream": func(ctx context.Context, tx *meta.Tx) error { return tx.DeleteUpstream(ctx, g.ID, g.Upstreams[0].ID) },
			"registry": func(ctx context.Context, tx *meta.Tx) error { return tx.DeleteRegistry(ctx, g.ID, g.Registries[0].ID) },
			"group":    func(ctx context.Context, tx *meta.Tx) error { return tx.DeleteGroup(ctx, g.ID) },
		} {
			if err := db.Write(t.Context(), remove); !errors.Is(err, meta.ErrInUse) {
				t.Errorf("%s: %v", name, err)
			}
		}
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			return errors.Join(
				tx.DeleteHostBinding(ctx, g.ID, "docker.acme.test"), tx.DeleteHostedPrefix(ctx, g.ID, "payments"),
				tx.DeleteRegistry(ctx, g.ID, g.Registries[0].ID),
				tx.DeleteUpstream(ctx, g.ID, g.Upstreams[0].ID), tx.DeleteUpstream(ctx, g.ID, g.Upstreams[1].ID),
				tx.DeleteCredential(ctx, g.ID, g.Credentials[0].ID), tx.DeleteGroup(ctx, g.ID),
			)
		})
		if groups, err := db.Groups(t.Context()); err != nil || len(groups) != 0 {
			t.Error(groups, err)
		}
	})
}

// A definition of one group must not be reachable through another.
func TestDefinitionsOfOtherGroups(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		g := acme(t, db)
		other := meta.Group{Name: "other"}
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			other.ID = 0
			return tx.SaveGroup(ctx, &other)
		})
		for name, change := range map[string]func(ctx context.Context, tx *meta.Tx) error{
			"upstream": func(ctx context.Context, tx *meta.Tx) error { return tx.SaveUpstream(ctx, other.ID, &g.Upstreams[0]) },
			"registry": func(ctx context.Context, tx *meta.Tx) error { return tx.SaveRegistry(ctx, other.ID, &g.Registries[0]) },
			"delete": func(ctx context.Context, tx *meta.Tx) error {
				return tx.DeleteRegistry(ctx, other.ID, g.Registries[0].ID)
			},
			"hosted": func(ctx context.Context, tx *meta.Tx) error { return tx.DeleteHostedPrefix(ctx, other.ID, "payments") },
		} {
			if err := db.Write(t.Context(), change); !errors.Is(err, meta.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return tx.SaveHostBinding(ctx, other.ID, &meta.HostBinding{Host: "docker.acme.test", Prefix: "other/x"})
		})
		if !errors.Is(err, meta.ErrInUse) {
			t.Errorf("another group's host: %v", err)
		}
	})
}

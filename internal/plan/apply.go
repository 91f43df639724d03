package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// apply makes the plan so. What refers is removed before, and made after, what it refers to.
func (r *run) apply(ctx context.Context, p *Plan) error {
	groups := make([]*group, len(p.targets))
	for i, t := range p.targets {
		g := &group{run: r, target: t, now: r.group(t.want.Name)}
		groups[i] = g
		if err := g.removeBindings(ctx); err != nil {
			return err
		}
	}
	for _, g := range groups {
		for _, step := range []func(context.Context) error{
			g.save, g.saveCredentials, g.saveUpstreams, g.saveRegistries, g.saveHosted, g.saveBindings,
			g.saveRoles, g.removeMachines, g.saveMachines, g.saveGrants, g.removeRoles, g.removeRegistries, g.removeHosted, g.removeUpstreams, g.removeCredentials, g.remove,
		} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	for _, c := range p.Changes {
		if c.Kind == KindRole || c.Kind == KindRobot || c.Kind == KindTrustRule {
			continue // package access tells of them, whichever way they are changed
		}
		c = r.nameless(c)
		err := r.tx.Event(ctx, meta.Event{
			GroupID: groupID(groups, c.Group), Kind: "definition." + eventWords[c.Action], ActorID: r.options.ActorID,
			Subject: c.Group + ": " + title(c), Detail: c, RequestID: r.options.RequestID,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nameless is a change for an event, which must not hold what a person is called.
func (r *run) nameless(c Change) Change {
	if c.Kind != KindGrant {
		return c
	}
	user, path, _ := strings.Cut(c.Name, " ")
	c.Name = strings.TrimSpace(fmt.Sprintf("account %d %s", r.users[user], path))
	c.Fields = slices.DeleteFunc(slices.Clone(c.Fields), func(f Field) bool { return f.Name == "user" })
	return c
}

var eventWords = map[Action]string{Add: "added", Modify: "changed", Remove: "removed"}

func groupID(groups []*group, name string) int64 {
	for _, g := range groups {
		if g.now.Name == name {
			return g.now.ID
		}
	}
	return 0
}

// group applies the part of a plan that is about one group. Its ids are filled in as rows are made.
type group struct {
	*run
	target      *target
	now         meta.Group
	credentials map[string]int64
	upstreams   map[string]int64
}

func (g *group) save(ctx context.Context) error {
	if g.now.ID != 0 && g.now.Enabled == *g.target.want.Enabled {
		return nil
	}
	g.now.Enabled = *g.target.want.Enabled
	return g.tx.SaveGroup(ctx, &g.now)
}

func (g *group) saveCredentials(ctx context.Context) error {
	g.credentials = map[string]int64{}
	for _, w := range g.target.want.Credentials {
		i := slices.IndexFunc(g.now.Credentials, func(c meta.Credential) bool { return c.Name == w.Name })
		var c meta.Credential
		if i >= 0 {
			c = g.now.Credentials[i]
		}
		changed, err := g.fillCredential(&c, w)
		if err != nil {
			return fmt.Errorf("credential %s: %w", w.Name, err)
		}
		if changed || i < 0 || differs(g.target.now.Credentials, w, credentialName) {
			if err := g.tx.SaveCredential(ctx, g.now.ID, &c); err != nil {
				return err
			}
		}
		g.credentials[w.Name] = c.ID
	}
	return nil
}

// Overlap is how long the secret that a new one replaces is used where the new one is refused.
const Overlap = time.Hour

// fillCredential takes the declared fields over, and seals a secret that is new.
func (g *group) fillCredential(c *meta.Credential, w desired.Credential) (changed bool, err error) {
	before := c.Username
	c.Name, c.Kind, c.Username, c.Hosts = w.Name, w.Kind, w.Username, w.Hosts
	if w.Password == nil {
		return false, nil
	}
	if c.ID == 0 {
		c.ID = g.tx.ID()
	}
	secret, sealer := []byte(*w.Password), g.planner.Sealer
	f, err := sealer.Fingerprint(CredentialPlace(g.now.ID, c.ID, c.Version), secret)
	if err != nil || slices.Equal(f, c.Fingerprint) {
		return false, err
	}
	c.Previous = g.replaced(c, before == w.Username)
	c.Version++
	c.Fingerprint = f
	c.Secret, err = sealer.Seal(CredentialPlace(g.now.ID, c.ID, c.Version), secret)
	return true, err
}

// replaced is the secret that takes over where a new one of c is refused: the present one. If that is not known to have been taken by
// an upstream, and itself replaced another less than Overlap ago, it stays that other: two slips of the hand must not lose the good one.
func (g *group) replaced(c *meta.Credential, sameUser bool) meta.PreviousSecret {
	if c.Version == 0 || !sameUser {
		return meta.PreviousSecret{}
	}
	until := time.Now().Add(Overlap)
	accepted := g.planner.Accepted
	if len(c.Previous.Secret) > 0 && time.Now().Before(c.Previous.Until) && accepted != nil && !accepted(g.now.Name, c.ID, c.Version) {
		return meta.PreviousSecret{Secret: c.Previous.Secret, Version: c.Previous.Version, Until: until}
	}
	return meta.PreviousSecret{Secret: c.Secret, Version: c.Version, Until: until}
}

// differs reports whether what is declared is not what is there.
func differs[T any](now []T, want T, name func(T) string) bool {
	n, exists := find(now, name, name(want))
	return !exists || len(fields(n, want)) > 0
}

func (g *group) saveUpstreams(ctx context.Context) error {
	g.upstreams = map[string]int64{}
	for _, w := range g.target.want.Upstreams {
		i := slices.IndexFunc(g.now.Upstreams, func(u meta.Upstream) bool { return u.Name == w.Name })
		u := meta.Upstream{Name: w.Name}
		if i >= 0 {
			u = g.now.Upstreams[i]
		}
		moved := newEpoch(g.target.now, g.target.want, w.Name)
		if moved || differs(g.target.now.Upstreams, w, upstreamName) {
			if moved {
				u.Epoch = 0
			}
			if err := g.fillUpstream(&u, w); err != nil {
				return fmt.Errorf("upstream %s: %w", w.Name, err)
			}
			if err := g.tx.SaveUpstream(ctx, g.now.ID, &u); err != nil {
				return err
			}
		}
		g.upstreams[w.Name] = u.ID
	}
	return nil
}

func (g *group) fillUpstream(u *meta.Upstream, w desired.Upstream) error {
	u.URL, u.Local, u.CredentialID, u.Enabled = w.URL, w.Local, g.credentials[w.Credential], *w.Enabled
	u.OnUnknown, u.OnUpstreamDelete = w.OnUnknown, w.OnUpstreamDelete
	u.Freshness = meta.Freshness{Default: w.Freshness.Default}
	for _, c := range w.Freshness.Classes {
		u.Freshness.Classes = append(u.Freshness.Classes, meta.FreshnessClass(c))
	}
	u.Rules = g.rules(w.Rules)
	u.Settings = meta.UpstreamSettings{Hosts: w.Hosts, CA: string(w.CA), RealmHosts: w.RealmHosts, Concurrency: w.Concurrency}
	for _, d := range []struct {
		text string
		into *time.Duration
	}{
		{w.RevalidateWait, &u.Settings.RevalidateWait}, {w.Timeout, &u.Settings.Timeout}, {w.IdleTimeout, &u.Settings.IdleTimeout},
	} {
		if d.text == "" {
			continue
		}
		v, err := time.ParseDuration(d.text)
		if err != nil {
			return err
		}
		*d.into = v
	}
	return nil
}

func (g *group) rules(rules []desired.Rule) []meta.Rule {
	var out []meta.Rule
	for _, r := range rules {
		m := meta.Rule{Action: "allow", Pattern: r.Allow, OnlyUpstreamID: g.upstreams[r.Upstream]}
		if r.Deny != "" {
			m.Action, m.Pattern = "deny", r.Deny
		}
		out = append(out, m)
	}
	return out
}

func (g *group) saveRegistries(ctx context.Context) error {
	for _, w := range g.target.want.Registries {
		if !differs(g.target.now.Registries, w, registryName) {
			continue
		}
		m := meta.Registry{
			Name: w.Name, Format: w.Format, Enabled: *w.Enabled, AnonymousPull: anonymousNo,
			DigestFirst: w.DigestFirst, StrictPrecedence: *w.StrictPrecedence, Rules: g.rules(w.Rules),
		}
		switch {
		case desired.IsTrue(w.AnonymousPull):
			m.AnonymousPull = anonymousYes
		case desired.IsTrue(w.AnonymousPullOnLoopback):
			m.AnonymousPull = anonymousLoopback
		}
		if i := slices.IndexFunc(g.now.Registries, func(r meta.Registry) bool { return r.Name == w.Name }); i >= 0 {
			m.ID = g.now.Registries[i].ID
		}
		for _, member := range w.Members {
			m.Members = append(m.Members, meta.Member{UpstreamID: g.upstreams[member.Upstream], Enabled: *member.Enabled, Claims: member.Claims})
		}
		if err := g.tx.SaveRegistry(ctx, g.now.ID, &m); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) saveHosted(ctx context.Context) error {
	for _, w := range g.target.want.Hosted {
		if !differs(g.target.now.Hosted, w, hostedName) {
			continue
		}
		p := meta.HostedPrefix{Prefix: w.Prefix, AnonymousPull: *w.AnonymousPull, AllowSparseIndex: *w.AllowSparseIndex}
		if err := g.tx.SaveHostedPrefix(ctx, g.now.ID, &p); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) saveBindings(ctx context.Context) error {
	for _, w := range g.target.want.HostBindings {
		if !differs(g.target.now.HostBindings, w, bindingName) {
			continue
		}
		b := meta.HostBinding{Host: w.Host, Prefix: g.now.Name + "/" + w.Registry, Mirror: *w.Mirror, Networks: w.Networks}
		if err := g.tx.SaveHostBinding(ctx, g.now.ID, &b); err != nil {
			return err
		}
	}
	return nil
}

// saveGrants makes the grants so. They live in package access, which follows this change.
func (g *group) saveGrants(ctx context.Context) error {
	changed := false
	for _, w := range g.target.want.Grants {
		if !differs(g.target.now.Grants, w, grantName) {
			continue
		}
		changed = true
		err := g.tx.PutGrant(ctx, query.PutGrantParams{ID: g.tx.ID(), AccountID: g.users[w.User], GroupID: g.now.ID, Path: w.Path, Role: w.Role})
		if err != nil {
			return fmt.Errorf("grant for %s: %w", w.User, err)
		}
	}
	for _, n := range gone(g.target.now.Grants, g.target.want.Grants, grantName) {
		changed = true
		if _, err := g.tx.DeleteGrant(ctx, query.DeleteGrantParams{AccountID: g.users[n.User], GroupID: g.now.ID, Path: n.Path}); err != nil {
			return fmt.Errorf("grant for %s: %w", n.User, err)
		}
	}
	if !changed {
		return nil
	}
	return access.DirectoryChanged(ctx, g.tx)
}

// gone lists what is there and is not wanted.
func gone[T any](now, want []T, name func(T) string) []T {
	var out []T
	for _, n := range now {
		if _, kept := find(want, name, name(n)); !kept {
			out = append(out, n)
		}
	}
	return out
}

func (g *group) removeBindings(ctx context.Context) error {
	for _, b := range gone(g.target.now.HostBindings, g.target.want.HostBindings, bindingName) {
		if err := g.tx.DeleteHostBinding(ctx, g.now.ID, b.Host); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) removeRegistries(ctx context.Context) error {
	for _, d := range gone(g.target.now.Registries, g.target.want.Registries, registryName) {
		i := slices.IndexFunc(g.now.Registries, func(r meta.Registry) bool { return r.Name == d.Name })
		if err := g.tx.DeleteRegistry(ctx, g.now.ID, g.now.Registries[i].ID); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) removeHosted(ctx context.Context) error {
	for _, d := range gone(g.target.now.Hosted, g.target.want.Hosted, hostedName) {
		if err := g.tx.DeleteHostedPrefix(ctx, g.now.ID, d.Prefix); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) removeUpstreams(ctx context.Context) error {
	for _, d := range gone(g.target.now.Upstreams, g.target.want.Upstreams, upstreamName) {
		i := slices.IndexFunc(g.now.Upstreams, func(u meta.Upstream) bool { return u.Name == d.Name })
		if err := g.tx.DeleteUpstream(ctx, g.now.ID, g.now.Upstreams[i].ID); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) removeCredentials(ctx context.Context) error {
	for _, d := range gone(g.target.now.Credentials, g.target.want.Credentials, credentialName) {
		i := slices.IndexFunc(g.now.Credentials, func(c meta.Credential) bool { return c.Name == d.Name })
		if err := g.tx.DeleteCredential(ctx, g.now.ID, g.now.Credentials[i].ID); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the group itself, of which nothing is defined any more.
func (g *group) remove(ctx context.Context) error {
	if !g.target.remove {
		return nil
	}
	return g.tx.DeleteGroup(ctx, g.now.ID)
}

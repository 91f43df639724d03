// Package assemble makes live registries of definition rows: the only package that imports all kinds. Package app calls it at
// start and on every change of the configuration, and swaps the result into the namespace.
//
// What has state worth keeping, the connection to an upstream with its tokens, budget and breaker, survives a rebuild as long
// as what it was made from did not change. Everything else is made anew: caches and virtual registries hold no state.
package assemble

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/guard"
	"github.com/weir-registry/weir/internal/registry/hosted"
	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Options are the parts that every registry shares, and the server's defaults for upstreams.
type Options struct {
	Store  *store.Store
	Fills  *cache.Fills
	Sealer *seal.Sealer
	Log    *slog.Logger

	// MayPull returns nil when the caller in ctx may read the hosted repository at path ("<group>/<…>"), where public says
	// that its prefix allows anonymous pull; UNAUTHORIZED or DENIED otherwise.
	MayPull func(ctx context.Context, path string, public bool) error

	// MaySee reports whether grants let the caller in ctx read at path, be it public or not. Such callers are told in errors
	// which upstreams were asked and what they said; nil tells everybody.
	MaySee func(ctx context.Context, path string) bool

	Version  string // of Weir, for the User-Agent
	Instance string // for Via headers

	AllowPrivateNetworks bool
	Timeout              time.Duration
	IdleTimeout          time.Duration
	RevalidateWait       time.Duration
	NegativeFor          time.Duration
	Concurrency          int

	CacheMetrics    cache.Metrics                          // nil = none
	UpstreamMetrics func(upstream string) upstream.Metrics // of "<group>/<upstream>"; nil = none
}

// Assembler builds. It is safe for concurrent use.
type Assembler struct {
	opt Options

	mu      sync.Mutex
	remotes map[int64]remote
}

// remote is a live connection and what it was made from.
type remote struct {
	made     string
	registry *upstream.Registry
}

// New returns an Assembler.
func New(opt Options) *Assembler {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Assembler{opt: opt, remotes: map[int64]remote{}}
}

// Group is a group brought to life.
type Group struct {
	meta.Group
	Hosted  *hosted.Registry
	Virtual map[string]*virtual.Registry // by name; turned-off ones too
	Caches  map[string]*cache.Registry   // by name of the upstream
	// Remotes are the connections of the upstreams that can be used, by name.
	Remotes  map[string]*upstream.Registry
	prefixes prefixes
}

// Build brings all groups to life. A definition that cannot be used (the planner refuses those, so an older row or a missing
// key) does not stop the others: it is logged, and answers "unknown" with the reason.
func (a *Assembler) Build(groups []meta.Group) []*Group {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.remotes
	a.remotes = make(map[int64]remote, len(before))
	live := make([]*Group, 0, len(groups))
	for _, g := range groups {
		live = append(live, a.group(g, before))
	}
	for id, r := range before {
		if a.remotes[id].registry != r.registry {
			r.registry.Close()
		}
	}
	return live
}

func (a *Assembler) group(g meta.Group, before map[int64]remote) *Group {
	live := &Group{Group: g, Virtual: map[string]*virtual.Registry{}, Caches: map[string]*cache.Registry{}, Remotes: map[string]*upstream.Registry{}, prefixes: newPrefixes(g.HostedPrefixes)}
	live.Hosted = hosted.New(a.opt.Store, g.ID, live.AllowsSparseIndex)
	members := make(map[int64]virtual.MemberConfig, len(g.Upstreams))
	for _, u := range g.Upstreams {
		members[u.ID] = a.member(live, u, before)
	}
	for _, r := range g.Registries {
		live.Virtual[r.Name] = a.virtual(g, r, members)
	}
	return live
}

// member makes an upstream a member, without what only a registry can say of it.
func (a *Assembler) member(g *Group, u meta.Upstream, before map[int64]remote) virtual.MemberConfig {
	m := virtual.MemberConfig{
		Name: u.Name, Enabled: u.Enabled, Local: u.Local != "", StopOnUnknown: u.OnUnknown == meta.Stop,
		UpstreamRules: a.rules(g.Name, u.Rules, 0),
	}
	if m.Local {
		m.Member = guard.NewMember(hosted.NewMember(g.Hosted, localPrefix(g.Name, u.Local)), func(ctx context.Context, _ guard.Action, name string) error {
			return a.opt.MayPull(ctx, g.Name+"/"+name, g.AllowsAnonymousPull(name))
		})
		return m
	}
	c := a.cache(g, u, before)
	g.Caches[u.Name] = c
	m.Member = c
	m.Hosts = append([]string{hostOf(u.URL)}, u.Settings.Hosts...)
	m.Hub = slices.ContainsFunc(m.Hosts, isHub)
	return m
}

func (a *Assembler) cache(g *Group, u meta.Upstream, before map[int64]remote) *cache.Registry {
	freshness, err := cache.ParseFreshness(u.Freshness)
	if err != nil {
		a.opt.Log.Error("unusable freshness; using the default", "group", g.Name, "upstream", u.Name, "error", err)
		freshness, _ = cache.ParseFreshness(meta.Freshness{})
	}
	var from registry.Registry
	name := g.Name + "/" + u.Name
	if r, err := a.remote(g, u, name, before); err == nil {
		from, g.Remotes[u.Name] = r, r
	} else {
		a.opt.Log.Error("unusable upstream", "group", g.Name, "upstream", u.Name, "error", err)
		from = broken{reason: fmt.Sprintf("upstream %s is misconfigured: %v", u.Name, err)}
	}
	return cache.New(cache.Options{
		GroupID: g.ID, UpstreamID: u.ID, Epoch: u.Epoch, Generation: g.Generation, Name: name,
		Freshness: freshness, RefuseDeleted: u.OnUpstreamDelete == meta.Refuse,
		StaleBefore: u.StaleBefore, RevalidateWait: or(u.Settings.RevalidateWait, a.opt.RevalidateWait), NegativeFor: a.opt.NegativeFor,
		Remote: from, Store: a.opt.Store, Fills: a.opt.Fills, Log: a.opt.Log, Metrics: a.opt.CacheMetrics,
	})
}

func (a *Assembler) virtual(g meta.Group, r meta.Registry, members map[int64]virtual.MemberConfig) *virtual.Registry {
	opt := virtual.Options{
		Group: g.Name, Name: r.Name, Generation: g.Generation, NewID: rand.Text,
		AllowDigestFirst: r.DigestFirst == "allow", StrictPrecedence: r.StrictPrecedence,
		Rules: a.rules(g.Name, r.Rules, 0), Visible: a.visible(g, r),
	}
	for _, row := range r.Members {
		m, ok := members[row.UpstreamID]
		if !ok {
			continue // a foreign key forbids it
		}
		m.Enabled = m.Enabled && row.Enabled
		m.Claims = a.patterns(g.Name, row.Claims)
		m.Rules = a.rules(g.Name, r.Rules, row.UpstreamID)
		opt.Members = append(opt.Members, m)
	}
	return virtual.New(opt)
}

// visible hides what stands behind a public registry from those who only pull there. A registry that is open to this machine
// alone has no such callers.
func (a *Assembler) visible(g meta.Group, r meta.Registry) func(context.Context, string) bool {
	if a.opt.MaySee == nil || r.AnonymousPull == "loopback" {
		return nil
	}
	return func(ctx context.Context, _ string) bool { return a.opt.MaySee(ctx, g.Name+"/"+r.Name) }
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

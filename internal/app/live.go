package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/registry/assemble"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/store/meta"
)

// live is the configuration in force: it is built anew after every change of a definition, here or on another replica, and
// swapped into the namespace in one step.
type live struct {
	db        *meta.DB
	assembler *assemble.Assembler
	table     *namespace.Table
	own       []string // hosts of this instance
	log       *slog.Logger

	groups atomic.Pointer[map[string]*assemble.Group]
	mu     sync.Mutex // one build at a time
	wake   chan struct{}
}

func newLive(db *meta.DB, a *assemble.Assembler, table *namespace.Table, own []string, log *slog.Logger) *live {
	l := &live{db: db, assembler: a, table: table, own: own, log: log, wake: make(chan struct{}, 1)}
	l.groups.Store(&map[string]*assemble.Group{})
	return l
}

// rebuild reads the definitions and puts them in force.
func (l *live) rebuild(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.db.Groups(ctx)
	if err != nil {
		return fmt.Errorf("read the definitions: %w", err)
	}
	byName := make(map[string]*assemble.Group, len(rows))
	var groups []namespace.Group
	var bindings []namespace.Binding
	for _, g := range l.assembler.Build(rows) {
		byName[g.Name] = g
		groups = append(groups, namespaceGroup(g))
		bindings = append(bindings, l.bindings(g)...)
	}
	l.groups.Store(&byName)
	l.table.Swap(namespace.NewSnapshot(groups, bindings, l.own))
	return nil
}

func namespaceGroup(g *assemble.Group) namespace.Group {
	out := namespace.Group{ID: g.ID, Name: g.Name, Enabled: g.Enabled, Hosted: g.Hosted}
	for _, row := range g.HostedPrefixes {
		p := namespace.Prefix{Path: row.Prefix, Anonymous: namespace.AnonymousNo}
		if row.AnonymousPull {
			p.Anonymous = namespace.AnonymousYes
		}
		out.Prefixes = append(out.Prefixes, p)
	}
	for _, row := range g.Registries {
		out.Registries = append(out.Registries, namespace.Registry{
			ID: row.ID, Name: row.Name, Format: row.Format, Enabled: row.Enabled,
			Anonymous: namespace.Anonymous(row.AnonymousPull), Registry: g.Virtual[row.Name],
		})
	}
	return out
}

func (l *live) bindings(g *assemble.Group) []namespace.Binding {
	var out []namespace.Binding
	for _, row := range g.HostBindings {
		b := namespace.Binding{Host: row.Host, Prefix: row.Prefix, Mirror: row.Mirror}
		for _, text := range row.Networks {
			n, err := netip.ParsePrefix(text)
			if err != nil {
				l.log.Error("unreadable network of a host binding", "group", g.Name, "host", row.Host, "network", text)
				n = netip.PrefixFrom(netip.IPv6Unspecified(), 128) // fail closed: it must not become "any client"
			}
			b.Networks = append(b.Networks, n)
		}
		out = append(out, b)
	}
	return out
}

// group returns a group in force.
func (l *live) named(name string) *assemble.Group { return (*l.groups.Load())[name] }

// accepted implements plan.Planner.Accepted with what this replica knows from its own requests.
func (l *live) accepted(group string, credential, version int64) bool {
	g := l.named(group)
	return g != nil && g.Accepted(credential, version)
}

// fill finds the cache that an interrupted fill belonged to; false when its upstream is gone or another one by now.
func (l *live) fill(id cache.Identity) (cache.Fill, bool) {
	for _, g := range *l.groups.Load() {
		if g.ID != id.Group {
			continue
		}
		for _, c := range g.Caches {
			if c.UpstreamID == id.Upstream && c.Epoch == id.Epoch {
				return c.FillOf(id)
			}
		}
	}
	return cache.Fill{}, false
}

// now puts a change that was just made in force, so that a script can go on with a pull. If that fails, follow goes on trying.
func (l *live) now(ctx context.Context) {
	if err := l.rebuild(ctx); err != nil {
		l.log.Warn("a change is not in force yet", "error", err)
	}
}

// follow rebuilds after changes until ctx ends.
func (l *live) follow(ctx context.Context) {
	l.db.Follow(ctx, func(c meta.Change) {
		if c.Kind == meta.ChangeDefinition || c.Kind == meta.ChangeAll {
			l.again()
		}
	})
	l.again() // for what has changed since the first build
	const retry = time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		if err := l.rebuild(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("the configuration in force is outdated", "error", err, "retry", retry)
			time.AfterFunc(retry, l.again)
		}
	}
}

func (l *live) again() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

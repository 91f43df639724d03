// Package growth makes a store as large as it is asked to and looks at what has grown with it: `make growth SIZE=110000` writes
// the figures into docs/performance.md, and the tests assert on a small store what must hold for a large one.
package growth

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Options say what store to make. The same options make the same content.
type Options struct {
	Artifacts int       // manifests with a tag
	Layers    int       // of each image, beside those it shares; default 12, for about 14 links of each artifact
	Seed      uint64    // of everything random
	Now       time.Time // the history ends here
	Progress  func(done, of int)
}

// Store tells what was made.
type Store struct {
	Group        string
	Repositories []Repository
	Manifests    int
	Links        int
}

// Repository is one that was made. Name is below the group; a cached one is below the registry that has it.
type Repository struct {
	ID     int64
	Name   string
	Cached bool
	Tags   []string
	Digest []oci.Digest // by tag
}

// Path is what a client pulls.
func (r Repository) Path() string {
	if r.Cached {
		return group + "/" + registry + "/" + r.Name
	}
	return group + "/" + r.Name
}

const (
	group    = "acme"
	registry = "hub"

	perRepository = 22 // artifacts of most repositories; the first holds a tenth of all
	bases         = 50 // base images, each of baseLayers that images share
	baseLayers    = 2
	ownLayers     = 12 // unless told otherwise
	historyDays   = 300
)

// Generate fills an empty database: one group with hosted and cached repositories, of which one is large; images on shared base
// layers, indexes of two platforms, charts, signatures; labels, admissions, tags with their history, pulls. There are rows
// and no bytes: a check finds nothing but that.
func Generate(ctx context.Context, db *meta.DB, o Options) (*Store, error) {
	o.Layers = cmp.Or(o.Layers, ownLayers)
	g := &generator{db: db, o: o, random: rand.New(rand.NewPCG(o.Seed, 1)), made: &Store{Group: group}} //nolint:gosec // content
	if err := g.widen(ctx); err != nil {
		return nil, err
	}
	if err := g.define(ctx); err != nil {
		return nil, fmt.Errorf("define the group: %w", err)
	}
	for left := o.Artifacts; left > 0; {
		n := min(left, perRepository)
		if len(g.made.Repositories) == 0 {
			n = min(left, max(perRepository, o.Artifacts/10))
		}
		if err := g.repository(ctx, n); err != nil {
			return nil, err
		}
		left -= n
		o.Progress(o.Artifacts-left, o.Artifacts)
	}
	if err := g.flush(ctx); err != nil {
		return nil, err
	}
	return g.made, g.finish(ctx)
}

type generator struct {
	db     *meta.DB
	o      Options
	random *rand.Rand
	made   *Store

	groupID, upstreamID int64
	blobs               int // made so far: each has a digest of its number
	rows                rows
}

// widen gives SQLite's writer a larger cache, without which most of the time would go into reading the same pages again. It is
// this connection's alone, and not that of the server that is measured.
func (g *generator) widen(ctx context.Context) error {
	if g.db.Engine() != meta.SQLite {
		return nil
	}
	return g.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.Conn().ExecContext(ctx, "PRAGMA cache_size = -1000000")
		return err
	})
}

// define makes the group, which anybody may pull from.
func (g *generator) define(ctx context.Context) error {
	return g.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		acme := meta.Group{Name: group, Enabled: true}
		if err := tx.SaveGroup(ctx, &acme); err != nil {
			return err
		}
		hub := meta.Upstream{
			Name: registry, URL: "http://127.0.0.1:1", Epoch: 1, Enabled: true, OnUnknown: meta.Continue, OnUpstreamDelete: meta.Serve,
			Freshness: meta.Freshness{Default: "forever"},
		}
		if err := tx.SaveUpstream(ctx, acme.ID, &hub); err != nil {
			return err
		}
		r := meta.Registry{
			Name: registry, Format: "container", Enabled: true, AnonymousPull: "yes", DigestFirst: "deny",
			Members: []meta.Member{{UpstreamID: hub.ID, Enabled: true}},
		}
		if err := tx.SaveRegistry(ctx, acme.ID, &r); err != nil {
			return err
		}
		g.groupID, g.upstreamID = acme.ID, hub.ID
		return tx.SaveHostedPrefix(ctx, acme.ID, &meta.HostedPrefix{AnonymousPull: true})
	})
}

// repository makes a repository of n artifacts; two of five are cached.
func (g *generator) repository(ctx context.Context, n int) error {
	number := len(g.made.Repositories)
	r := Repository{ID: g.db.ID(), Name: fmt.Sprintf("team-%02d/app-%05d", number%40, number)}
	params := query.InsertRepositoryParams{ID: r.ID, GroupID: g.groupID, Format: "container", CreatedAt: g.at(historyDays)}
	if number%5 >= 3 {
		r.Cached, r.Name = true, fmt.Sprintf("library/image-%05d", number)
		params.UpstreamID, params.Epoch = g.upstreamID, 1
	}
	params.Name = r.Name
	g.rows.repositories = append(g.rows.repositories, []any{
		params.ID, params.GroupID, params.UpstreamID, params.Epoch, params.Format, params.Name, params.CreatedAt, params.CreatedAt,
	})
	b := builder{generator: g, repository: &r, base: number % bases}
	for i := range n {
		b.artifact(i, n)
		if g.rows.full() {
			if err := g.flush(ctx); err != nil {
				return err
			}
		}
	}
	g.made.Repositories = append(g.made.Repositories, r)
	return nil
}

// at is a time some days before the end of the history, in microseconds.
func (g *generator) at(days float64) int64 {
	return g.o.Now.Add(-time.Duration(days * 24 * float64(time.Hour))).UnixMicro()
}

// finish writes what follows from the rows, and what the engine knows about them.
func (g *generator) finish(ctx context.Context) error {
	return g.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		cached, err := tx.CheckCachedBytes(ctx)
		if err != nil {
			return err
		}
		if err := tx.AddCachedBytes(ctx, query.AddCachedBytesParams{Bytes: cached.Counted}); err != nil {
			return err
		}
		// The weekly check would run beside what is measured, and find that the bytes are missing.
		later := g.o.Now.Add(6 * 24 * time.Hour).UnixMicro()
		if _, err := tx.EnsureJob(ctx, query.EnsureJobParams{ID: tx.ID(), Kind: "check", Payload: "null", RunAfter: later, CreatedAt: later}); err != nil {
			return err
		}
		analyze := "ANALYZE"
		if tx.Engine() == meta.SQLite {
			analyze = "ANALYZE main" // the other file is not this connection's to write
		}
		_, err = tx.Conn().ExecContext(ctx, analyze)
		return err
	})
}

// Package gc collects what nothing refers to any more, while the server serves: the job that makes deletes give their space
// back, and the one that keeps the cache within its bytes.
//
// Transactions that may orphan something leave a candidate with it. The collector lets the store decide on each in one short
// transaction, deletes the bytes whose row that transaction took away, and then forgets them. It may be stopped or killed
// anywhere: what was doomed stays written down until its bytes are gone. There is no read-only mode; a push or a fill that
// needs what is being collected either comes first and keeps it, or comes later and stores it anew.
package gc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/work"
)

// Kinds of job.
const (
	KindCollect = "gc"
	KindEvict   = "evict"
)

// Content is what the collector needs of *store.Store.
type Content interface {
	ClaimCandidates(ctx context.Context, now time.Time, n int) ([]store.Candidate, error)
	Postpone(ctx context.Context, c store.Candidate, until time.Time) error
	ReviewManifest(ctx context.Context, repository int64, digest oci.Digest) (collected bool, err error)
	ReviewLink(ctx context.Context, repository int64, digest oci.Digest) (collected bool, err error)
	ReviewBlob(ctx context.Context, digest oci.Digest) (key string, collected bool, err error)
	DoomedKeys(ctx context.Context, n int) ([]store.DoomedKey, error)
	ForgetDoomed(ctx context.Context, key string) error
	CachedBytes(ctx context.Context) (int64, error)
	EvictionCandidates(ctx context.Context, n int) ([]store.Evictable, error)
	EvictManifest(ctx context.Context, repository int64, digest oci.Digest) error
}

// Metrics counts what was collected. Calls must not block.
type Metrics interface {
	// Collected counts content that went. kind is manifest, link or blob; bytes is what was freed.
	Collected(kind string, n, bytes int64)
	// Evicted counts bytes of cached content evicted; Usage sets how many there are, and how many there may be (0 = any).
	Evicted(bytes int64)
	Usage(bytes, budget int64)
}

// Options of a Collector. Log is required.
type Options struct {
	Log     *slog.Logger
	Metrics Metrics          // may be nil
	Now     func() time.Time // time.Now when nil

	Every time.Duration // how often to look for candidates; default 30s. Half as often at the cache's size

	// The cache may grow to HighBytes; then it is brought down to LowBytes. 0 is no budget.
	HighBytes, LowBytes int64
	// MinFree is how many bytes the blob store must have free, or cached content is evicted for it; on a small device half of
	// what is free or cached is enough. It must be more than what fills leave free (cache.FillOptions.Floor), or neither
	// would ever go on. Default 512 MiB; negative = none.
	MinFree int64
}

// Collector is the online collector.
type Collector struct {
	store Content
	blobs blob.Store
	o     Options
}

// New returns a collector over a store and its bytes.
func New(s Content, blobs blob.Store, o Options) *Collector {
	o.Every = cmp.Or(o.Every, 30*time.Second)
	o.MinFree = cmp.Or(o.MinFree, 512<<20)
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Collector{store: s, blobs: blobs, o: o}
}

type noMetrics struct{}

func (noMetrics) Collected(string, int64, int64) {}
func (noMetrics) Evicted(int64)                  {}
func (noMetrics) Usage(int64, int64)             {}

// Handlers are the collector's jobs.
func (c *Collector) Handlers() []work.Handler {
	return []work.Handler{
		{Kind: KindCollect, Every: c.o.Every, Run: func(ctx context.Context, _ json.RawMessage) error { return c.Collect(ctx) }},
		{Kind: KindEvict, Every: 2 * c.o.Every, Run: func(ctx context.Context, _ json.RawMessage) error { return c.Evict(ctx) }},
	}
}

const (
	batch = 100

	// maxReviews bounds one run, so that a fault which leaves candidates due cannot keep the collector turning.
	maxReviews = 100_000

	backoffMin = time.Minute
	backoffMax = 6 * time.Hour
)

// Collect deletes the bytes that were doomed earlier and decides on every candidate whose time has come. A candidate or an
// object that gives an error is put off and does not stop the others; the first such error is returned in the end.
func (c *Collector) Collect(ctx context.Context) error {
	failed := c.deleteDoomed(ctx)
	for range maxReviews / batch {
		candidates, err := c.store.ClaimCandidates(ctx, c.o.Now(), batch)
		if err != nil {
			return fmt.Errorf("claim candidates: %w", err)
		}
		if len(candidates) == 0 {
			break
		}
		for _, candidate := range candidates {
			err := c.review(ctx, candidate)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				continue
			}
			failed = cmp.Or(failed, err)
			if err := c.postpone(ctx, candidate, err); err != nil {
				return err
			}
		}
	}
	return failed
}

// review decides on one candidate.
func (c *Collector) review(ctx context.Context, candidate store.Candidate) error {
	var collected bool
	var key string
	var err error
	switch candidate.Kind {
	case store.CandidateManifest:
		collected, err = c.store.ReviewManifest(ctx, candidate.Repository, candidate.Digest)
	case store.CandidateLink:
		collected, err = c.store.ReviewLink(ctx, candidate.Repository, candidate.Digest)
	case store.CandidateBlob:
		key, collected, err = c.store.ReviewBlob(ctx, candidate.Digest)
	default:
		err = fmt.Errorf("review %s %s: unknown kind of candidate, written by a newer version?", candidate.Kind, candidate.Digest)
	}
	if err != nil || !collected {
		return err
	}
	if key == "" {
		c.o.Metrics.Collected(string(candidate.Kind), 1, 0)
		return nil
	}
	if err := c.deleteBytes(ctx, key); err != nil {
		// The candidate is gone; the key is among the doomed ones, where the next run finds it.
		c.o.Log.Warn("delete the bytes of a collected blob: the next run tries again", "key", key, "error", err)
	}
	return nil
}

func (c *Collector) postpone(ctx context.Context, candidate store.Candidate, cause error) error {
	wait := backoffMax
	if candidate.Attempts < 20 {
		wait = min(wait, backoffMin<<candidate.Attempts)
	}
	c.o.Log.Warn("a candidate is put off", "kind", candidate.Kind, "repository", candidate.Repository, "digest", candidate.Digest,
		"attempts", candidate.Attempts+1, "again_in", wait.String(), "error", cause)
	if err := c.store.Postpone(ctx, candidate, c.o.Now().Add(wait)); err != nil {
		return fmt.Errorf("put off %s %s: %w", candidate.Kind, candidate.Digest, err)
	}
	return nil
}

// deleteDoomed deletes bytes that an earlier run did not come to delete. It goes on while there is progress, and returns the
// first error.
func (c *Collector) deleteDoomed(ctx context.Context) error {
	var failed error
	for {
		keys, err := c.store.DoomedKeys(ctx, batch)
		if err != nil {
			return fmt.Errorf("list doomed keys: %w", err)
		}
		progress := false
		for _, doomed := range keys {
			if err := c.deleteBytes(ctx, doomed.Key); err != nil {
				failed = cmp.Or(failed, err)
				continue
			}
			progress = true
		}
		if !progress || ctx.Err() != nil {
			return cmp.Or(ctx.Err(), failed)
		}
	}
}

// deleteBytes deletes an object whose row is gone, and forgets it only then.
func (c *Collector) deleteBytes(ctx context.Context, key string) error {
	info, err := c.blobs.Stat(ctx, key) // for the metrics alone
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("delete bytes: %w", err)
	}
	if err := c.blobs.Delete(ctx, key); err != nil {
		return fmt.Errorf("delete bytes: %w", err)
	}
	if err := c.store.ForgetDoomed(ctx, key); err != nil {
		return fmt.Errorf("forget deleted bytes: %w", err)
	}
	c.o.Metrics.Collected(string(store.CandidateBlob), 1, info.Size)
	return nil
}

// Package gc collects what nothing refers to any more, while the server serves: the job that makes deletes give their space
// back, and the one that keeps the cache within its bytes.
//
// Transactions that may orphan something leave a candidate with it. The collector lets the store decide on batches of them in
// short transactions, deletes the bytes whose rows those took away, and then forgets them. It may be stopped or killed
// anywhere: what was doomed stays written down until its bytes are gone. There is no read-only mode; a push or a fill that
// needs what is being collected either comes first and keeps it, or comes later and stores it anew.
package gc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
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
	KindTrim    = "trim"
)

// Content is what the collector needs of *store.Store.
type Content interface {
	ClaimCandidates(ctx context.Context, now time.Time, n int) ([]store.Candidate, error)
	Postpone(ctx context.Context, c store.Candidate, until time.Time) error
	Review(ctx context.Context, batch []store.Candidate) (store.Collected, error)
	DoomedKeys(ctx context.Context, n int) ([]store.DoomedKey, error)
	ForgetDoomed(ctx context.Context, keys ...string) error
	CachedBytes(ctx context.Context) (int64, error)
	EvictionCandidates(ctx context.Context, n int) ([]store.Evictable, error)
	EvictManifest(ctx context.Context, repository int64, digest oci.Digest) error
	TrimHistory(ctx context.Context, before time.Time) (int64, error)
	TrimPulls(ctx context.Context) (int64, error)
}

// Metrics counts what was collected. Calls must not block.
type Metrics interface {
	// Collected counts what went. kind is manifest, link, blob or repository; bytes is what was freed.
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

	// History is for how long the moves of tags, events, and tokens that have ended are remembered. Default 365 days.
	History time.Duration
}

// Collector is the online collector.
type Collector struct {
	store Content
	blobs blob.Store
	o     Options

	steady func() time.Time
}

// New returns a collector over a store and its bytes.
func New(s Content, blobs blob.Store, o Options) *Collector {
	o.Every = cmp.Or(o.Every, 30*time.Second)
	o.MinFree = cmp.Or(o.MinFree, 512<<20)
	o.History = cmp.Or(o.History, 365*24*time.Hour)
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Collector{store: s, blobs: blobs, o: o, steady: work.Steady(o.Now)}
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
		{Kind: KindTrim, Every: trimEvery, Run: func(ctx context.Context, _ json.RawMessage) error { return c.Trim(ctx) }},
	}
}

const (
	claim = 500 // candidates looked up at once

	// maxReviews bounds one run, so that a fault which leaves candidates due cannot keep the collector turning.
	maxReviews = 100_000

	backoffMin = time.Minute
	backoffMax = 6 * time.Hour
)

// batchSize is how many candidates one transaction decides on: few enough that a push which waits for it hardly notices.
func batchSize(kind store.CandidateKind) int {
	switch kind {
	case store.CandidateBlob, store.CandidateLink:
		return 100 // a statement for all, or a few for each
	case store.CandidateManifest, store.CandidatePurged:
		return 25
	}
	return 1 // a repository may be a transaction full of work
}

// Collect deletes the bytes that were doomed earlier and decides on every candidate whose time has come. A candidate or an
// object that gives an error is put off and does not stop the others; the first such error is returned in the end.
func (c *Collector) Collect(ctx context.Context) error {
	failed := c.deleteDoomed(ctx)
	for range maxReviews / claim {
		candidates, err := c.store.ClaimCandidates(ctx, c.o.Now(), claim)
		if err != nil {
			return fmt.Errorf("claim candidates: %w", err)
		}
		if len(candidates) == 0 {
			break
		}
		for batch := range batches(candidates) {
			began := time.Now()
			err := c.reviewOrPostpone(ctx, batch)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = cmp.Or(failed, err)
			c.rest(ctx, time.Since(began))
		}
	}
	return failed
}

// batches yields candidates of one kind and repository together, in the order in which the first of each came.
func batches(candidates []store.Candidate) iter.Seq[[]store.Candidate] {
	type place struct {
		kind       store.CandidateKind
		repository int64
	}
	var order []place
	at := map[place][]store.Candidate{}
	for _, candidate := range candidates {
		p := place{candidate.Kind, candidate.Repository}
		if at[p] == nil {
			order = append(order, p)
		}
		at[p] = append(at[p], candidate)
	}
	return func(yield func([]store.Candidate) bool) {
		for _, p := range order {
			for batch := range slices.Chunk(at[p], batchSize(p.kind)) {
				if !yield(batch) {
					return
				}
			}
		}
	}
}

// restMax bounds a rest after a transaction that waited for others itself.
const restMax = time.Second

// rest leaves the database to others for as long as the collector has just had it, so that it takes at most half of it.
func (c *Collector) rest(ctx context.Context, worked time.Duration) {
	timer := time.NewTimer(min(worked, restMax))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// reviewOrPostpone decides on a batch. When that fails it decides on each candidate by itself, and puts off those that fail.
func (c *Collector) reviewOrPostpone(ctx context.Context, batch []store.Candidate) error {
	err := c.review(ctx, batch)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if len(batch) == 1 {
		return errors.Join(err, c.postpone(ctx, batch[0], err))
	}
	var failed error
	for i := range batch {
		failed = cmp.Or(failed, c.reviewOrPostpone(ctx, batch[i:i+1]))
	}
	return failed
}

// review decides on a batch of candidates and deletes the bytes that nobody needs any more.
func (c *Collector) review(ctx context.Context, batch []store.Candidate) error {
	collected, err := c.store.Review(ctx, batch)
	if err != nil {
		return err
	}
	if batch[0].Kind != store.CandidateBlob {
		kind := batch[0].Kind
		if kind == store.CandidatePurged {
			kind = store.CandidateManifest
		}
		c.o.Metrics.Collected(string(kind), int64(collected.N), 0)
		return nil
	}
	if _, err := c.deleteBytes(ctx, collected.Keys); err != nil {
		// The candidates are gone; the keys are among the doomed ones, where the next run finds them.
		c.o.Log.Warn("delete the bytes of collected blobs: the next run tries again", "error", err)
	}
	return nil
}

// postpone puts off a candidate that cannot be decided on now.
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

// doomedBatch is how many objects are deleted before they are forgotten.
const doomedBatch = 100

// deleteDoomed deletes the bytes that an earlier run, or one that died, could not delete.
func (c *Collector) deleteDoomed(ctx context.Context) error {
	var failed error
	for {
		doomed, err := c.store.DoomedKeys(ctx, doomedBatch)
		if err != nil {
			return fmt.Errorf("list doomed keys: %w", err)
		}
		keys := make([]string, len(doomed))
		for i, d := range doomed {
			keys[i] = d.Key
		}
		deleted, err := c.deleteBytes(ctx, keys)
		failed = cmp.Or(failed, err)
		if deleted == 0 || ctx.Err() != nil {
			return cmp.Or(ctx.Err(), failed)
		}
	}
}

// deleteBytes deletes doomed objects and then forgets those that are gone. One that cannot be deleted does not stop the others.
func (c *Collector) deleteBytes(ctx context.Context, keys []string) (deleted int, err error) {
	var gone []string
	var bytes int64
	for _, key := range keys {
		info, statErr := c.blobs.Stat(ctx, key) // for the metrics alone
		if errors.Is(statErr, blob.ErrNotFound) {
			statErr = nil
		}
		if deleteErr := cmp.Or(statErr, c.blobs.Delete(ctx, key)); deleteErr != nil {
			err = cmp.Or(err, fmt.Errorf("delete bytes: %w", deleteErr))
			continue
		}
		gone = append(gone, key)
		bytes += info.Size
	}
	if len(gone) == 0 {
		return 0, err
	}
	if forgetErr := c.store.ForgetDoomed(ctx, gone...); forgetErr != nil {
		return 0, cmp.Or(err, fmt.Errorf("forget deleted bytes: %w", forgetErr))
	}
	c.o.Metrics.Collected(string(store.CandidateBlob), int64(len(gone)), bytes)
	return len(gone), err
}

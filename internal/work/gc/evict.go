package gc

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-registry/weir/internal/store"
)

// evictBatch is how many candidates are looked up at once, and how many go before the next look at the cache's size.
const evictBatch = 100

// Evict brings the cache down to its low watermark if it is above the high one, and frees space if the blob store runs out of
// it: least recently pulled manifests go first, with what only they need. Hosted content is never touched.
func (c *Collector) Evict(ctx context.Context) error {
	freed, err := c.evictExcess(ctx)
	c.o.Metrics.Evicted(freed)
	if err != nil {
		return err
	}
	if freed == 0 {
		return nil
	}
	c.o.Log.Info("evicted cached content", "freed_bytes", freed)
	return c.Collect(ctx) // the rows are gone; now the bytes
}

func (c *Collector) evictExcess(ctx context.Context) (freed int64, err error) {
	cached, err := c.cachedBytes(ctx)
	if err != nil {
		return 0, err
	}
	excess, err := c.excess(ctx, cached)
	if err != nil || excess <= 0 {
		return 0, err
	}
	left, err := c.evictTo(ctx, cached, cached-excess)
	return cached - left, err
}

func (c *Collector) cachedBytes(ctx context.Context) (int64, error) {
	cached, err := c.store.CachedBytes(ctx)
	if err != nil {
		return 0, fmt.Errorf("size of the cache: %w", err)
	}
	c.o.Metrics.Usage(cached, c.o.HighBytes)
	return cached, nil
}

// excess is how many bytes have to go.
func (c *Collector) excess(ctx context.Context, cached int64) (int64, error) {
	var excess int64
	if c.o.HighBytes > 0 && cached > c.o.HighBytes {
		excess = cached - min(c.o.LowBytes, c.o.HighBytes)
	}
	if c.o.MinFree < 0 {
		return excess, nil
	}
	free, err := c.blobs.Space(ctx)
	if err != nil {
		return 0, fmt.Errorf("free space of the blob store: %w", err)
	}
	if free >= 0 {
		excess = max(excess, min(c.o.MinFree, (free+cached)/2)-free)
	}
	return excess, nil
}

// evictTo evicts until the cache holds at most target bytes, or nothing can be evicted. What one manifest frees is known only
// afterwards, since layers are shared. So it evicts one, looks, and then goes on in steps of half of what the average so far
// says is needed: a handful of looks, and hardly anything too much.
func (c *Collector) evictTo(ctx context.Context, cached, target int64) (left int64, err error) {
	left = cached
	evicted := int64(0)
	for step := int64(1); left > target; {
		n, err := c.evictSome(ctx, int(step))
		if err != nil || n == 0 {
			return left, err
		}
		evicted += int64(n)
		if left, err = c.cachedBytes(ctx); err != nil {
			return left, err
		}
		average := max(1, (cached-left)/evicted)
		step = min(max(1, (left-target)/average/2), evictBatch)
	}
	return left, nil
}

// evictSome evicts n manifests, or as many as there are, and returns how many went. One that cannot be evicted is passed over
// as long as others can.
func (c *Collector) evictSome(ctx context.Context, n int) (evicted int, err error) {
	candidates, err := c.store.EvictionCandidates(ctx, evictBatch)
	if err != nil {
		return 0, fmt.Errorf("list what may be evicted: %w", err)
	}
	var failed error
	for _, m := range candidates {
		if evicted == n {
			break
		}
		if err := c.evictOne(ctx, m); err != nil {
			failed = err
			continue
		}
		evicted++
	}
	if evicted == 0 {
		return 0, failed
	}
	return evicted, ctx.Err()
}

func (c *Collector) evictOne(ctx context.Context, m store.Evictable) error {
	err := c.store.EvictManifest(ctx, m.Repository, m.Digest)
	if err == nil {
		c.o.Metrics.Collected(string(store.CandidateManifest), 1, 0)
	}
	if err == nil || errors.Is(err, store.ErrNotFound) { // somebody else was first
		return nil
	}
	c.o.Log.Warn("evict a cached manifest", "repository", m.Repository, "digest", m.Digest, "error", err)
	return fmt.Errorf("evict manifest %s: %w", m.Digest, err)
}

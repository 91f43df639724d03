package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Evictable is a cached manifest that the byte budget may take, with when it was last wanted.
type Evictable struct {
	Repository int64
	Digest     oci.Digest
	LastPulled time.Time // itself, or an index that refers to it; or when it was stored, if nobody has pulled it since
}

// CachedBytes is the size of the blobs that cached repositories link, each counted once.
func (s *Store) CachedBytes(ctx context.Context) (int64, error) {
	n, err := s.db.Read().SumCachedBytes(ctx)
	if err != nil {
		return 0, fmt.Errorf("sum the cached bytes: %w", err)
	}
	return n, nil
}

// cachedSlots is how many rows the size of the cache is spread over.
const cachedSlots = 16

func cachedSlot(digest []byte) int { return int(digest[1]) % cachedSlots }

// countCached counts a blob that is about to be linked into a cached repository, if it is the first to have it. The
// transaction must hold the blob's row.
func (c *change) countCached(ctx context.Context, digest []byte, size int64) error {
	cached, err := c.IsCached(ctx, digest)
	if err == nil && !cached {
		c.cached[cachedSlot(digest)] += size
	}
	return err
}

// writeCachedBytes takes off the blobs that no cached repository links any more, and writes what the transaction adds up to. It
// locks the blobs' rows, which is why it comes after all else and goes in their order.
func (c *change) writeCachedBytes(ctx context.Context) error {
	for _, digest := range slices.Sorted(maps.Keys(c.unlinked)) {
		row, err := c.LockBlob(ctx, []byte(digest))
		if err != nil {
			return err
		}
		cached, err := c.IsCached(ctx, row.Digest)
		if err != nil {
			return err
		}
		if !cached {
			c.cached[cachedSlot(row.Digest)] -= row.Size
		}
	}
	for slot, bytes := range c.cached {
		if bytes == 0 {
			continue
		}
		if err := c.AddCachedBytes(ctx, query.AddCachedBytesParams{Bytes: bytes, Slot: int32(slot)}); err != nil { //nolint:gosec // below 16
			return err
		}
	}
	return nil
}

// EvictionCandidates returns up to n cached manifests (at most 10,000), the least recently pulled first.
//
// The rows it reads are in the order of a time that is never later than the last pull. Those pulled since are moved to their
// place, and what remains of the page is the true beginning of the order: whatever comes after the page was pulled later.
func (s *Store) EvictionCandidates(ctx context.Context, n int) ([]Evictable, error) {
	for {
		rows, err := s.db.Read().ListColdManifests(ctx, page(n))
		if err != nil {
			return nil, fmt.Errorf("list cold manifests: %w", err)
		}
		if len(rows) == 0 {
			return nil, nil
		}
		horizon := rows[len(rows)-1].UsedAt
		if len(rows) < int(page(n)) {
			horizon = math.MaxInt64
		}
		list := make([]Evictable, 0, len(rows))
		var used []Evictable
		for _, row := range rows {
			m := Evictable{row.RepositoryID, oci.Digest(digestText(row.Digest)), fromMicros(max(row.UsedAt, row.LastPulledAt, row.ParentPulledAt))}
			if last := s.deferred.lastPulled(pullKey{m.Repository, m.Digest}); last.After(m.LastPulled) {
				m.LastPulled = last // not written yet: most likely somebody is pulling its layers right now
			}
			if micros(m.LastPulled) > row.UsedAt {
				used = append(used, m)
			}
			if micros(m.LastPulled) <= horizon {
				list = append(list, m)
			}
		}
		if err := s.touch(ctx, used); err != nil {
			return nil, fmt.Errorf("put manifests in the order of their last pulls: %w", err)
		}
		if len(list) > 0 {
			slices.SortStableFunc(list, func(a, b Evictable) int { return a.LastPulled.Compare(b.LastPulled) })
			return list, nil
		}
	}
}

// touch moves manifests to their place in the order of eviction.
func (s *Store) touch(ctx context.Context, used []Evictable) error {
	if len(used) == 0 {
		return nil
	}
	slices.SortFunc(used, func(a, b Evictable) int { // one order for all who lock rows
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Digest, b.Digest))
	})
	return s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		for _, m := range used {
			err := tx.TouchCachedManifest(ctx, query.TouchCachedManifestParams{
				UsedAt: micros(m.LastPulled), RepositoryID: m.Repository, Digest: oci.DigestBytes(m.Digest),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// EvictManifest removes a cached manifest with its tags and the links that nothing else in its repository needs. What that
// orphans can be collected at once. ErrNotFound, also for a hosted manifest.
//
// Its admissions stay for the grace period: a client that has just resolved a tag to it must not be refused the digest.
func (s *Store) EvictManifest(ctx context.Context, repository int64, digest oci.Digest) error {
	err := s.change(ctx, repository, func(ctx context.Context, c *change) error {
		if c.hosted() {
			return ErrNotFound
		}
		d := oci.DigestBytes(digest)
		if err := s.removeManifest(ctx, c, d, c.now); err != nil {
			return err
		}
		c.review(CandidateManifest, d, c.now.Add(s.grace))
		return nil
	})
	if err != nil {
		return fmt.Errorf("evict manifest %s: %w", digest, err)
	}
	s.forgetPulls(ctx, repository, digest)
	return nil
}

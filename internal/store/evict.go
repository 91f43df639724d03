package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// Evictable is a cached manifest that the byte budget may take, with when it was last wanted.
type Evictable struct {
	Repository int64
	Digest     oci.Digest
	LastPulled time.Time // or when it was stored, if nobody has pulled it since; zero for what is not served any more
}

// CachedBytes is the size of the blobs that cached repositories link, each counted once.
func (s *Store) CachedBytes(ctx context.Context) (int64, error) {
	n, err := s.db.Read().SumCachedBytes(ctx)
	if err != nil {
		return 0, fmt.Errorf("sum the cached bytes: %w", err)
	}
	return n, nil
}

// EvictionCandidates returns up to n cached manifests (at most 10,000): first those of upstreams that are gone or have another
// epoch by now, which nobody is served, then the least recently pulled.
func (s *Store) EvictionCandidates(ctx context.Context, n int) ([]Evictable, error) {
	outdated, err := s.db.Read().ListOutdatedManifests(ctx, page(n))
	if err != nil {
		return nil, fmt.Errorf("list outdated manifests: %w", err)
	}
	list := make([]Evictable, 0, len(outdated))
	for _, row := range outdated {
		list = append(list, Evictable{Repository: row.RepositoryID, Digest: oci.Digest(digestText(row.Digest))})
	}
	if len(list) > 0 { // the cold ones may be the same: they come with the next call
		return list, nil
	}
	cold, err := s.db.Read().ListColdManifests(ctx, page(n))
	if err != nil {
		return nil, fmt.Errorf("list cold manifests: %w", err)
	}
	for _, row := range cold {
		m := Evictable{row.RepositoryID, oci.Digest(digestText(row.Digest)), fromMicros(row.LastPulledAt)}
		if last := s.deferred.lastPulled(pullKey{m.Repository, m.Digest}); last.After(m.LastPulled) {
			m.LastPulled = last // not written yet: most likely somebody is pulling its layers right now
		}
		list = append(list, m)
	}
	slices.SortStableFunc(list, func(a, b Evictable) int { return a.LastPulled.Compare(b.LastPulled) })
	return list, nil
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

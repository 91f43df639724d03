package store

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	outdatedBatch   = 20   // manifests of an outdated repository that one transaction removes
	repositoryBatch = 1000 // of its other rows
)

// reviewRepository removes a repository that nothing needs any more. One that is not done with in a short transaction, or not
// old enough, is put off instead, with collected false.
//
// Nothing needs a cached repository that is empty, or of an epoch that is not served any more. An
// empty hosted repository is kept once somebody has pushed a manifest to it: its name is claimed, and must not lead to a public
// upstream one day because its content was deleted.
func (s *Store) reviewRepository(ctx context.Context, c *change) (collected bool, err error) {
	served, err := c.isServed(ctx)
	if err == nil && !served {
		err = s.removeContent(ctx, c)
	}
	if err != nil {
		return false, err
	}
	id := c.repository.ID
	switch full, err := c.HasContent(ctx, id); {
	case err != nil:
		return false, err
	case full && !served:
		c.reviewRepository(c.now) // there is more
		return false, nil
	case full, served && c.hosted() && c.repository.FirstManifestAt != 0:
		return false, nil
	}
	since := c.now.Add(-s.grace)
	awaited, err := c.IsAwaited(ctx, query.IsAwaitedParams{RepositoryID: id, Since: micros(since)})
	if err != nil {
		return false, err
	}
	if served && (awaited || fromMicros(c.repository.CreatedAt).After(since)) {
		c.reviewRepository(c.now.Add(max(s.grace, time.Minute)))
		return false, nil
	}
	return c.removeRepository(ctx)
}

// isServed reports whether anybody can still reach the repository.
func (c *change) isServed(ctx context.Context) (bool, error) {
	if c.hosted() {
		return true, nil
	}
	return c.UpstreamIsCurrent(ctx, query.UpstreamIsCurrentParams{ID: c.repository.UpstreamID, Epoch: c.repository.Epoch})
}

// removeContent removes some of what is in a repository that nobody can reach.
func (s *Store) removeContent(ctx context.Context, c *change) error {
	manifests, err := c.ListManifestDigests(ctx, query.ListManifestDigestsParams{RepositoryID: c.repository.ID, N: outdatedBatch})
	if err != nil {
		return err
	}
	for _, digest := range manifests {
		if err := s.removeManifest(ctx, c, digest, c.now); err != nil {
			return fmt.Errorf("remove manifest %s: %w", digestText(digest), err)
		}
	}
	if len(manifests) == outdatedBatch {
		return nil
	}
	links, err := c.ListLinkDigests(ctx, query.ListLinkDigestsParams{RepositoryID: c.repository.ID, N: repositoryBatch})
	if err != nil {
		return err
	}
	for _, digest := range links {
		if _, err := c.unlink(ctx, digest, c.now); err != nil {
			return fmt.Errorf("unlink %s: %w", digestText(digest), err)
		}
	}
	return nil
}

// removeRepository removes an empty repository with what is remembered of it.
func (c *change) removeRepository(ctx context.Context) (removed bool, err error) {
	id := c.repository.ID
	admissions, err := c.DeleteRepositoryAdmissions(ctx, query.DeleteRepositoryAdmissionsParams{RepositoryID: id, N: repositoryBatch})
	if err != nil {
		return false, fmt.Errorf("delete its admissions: %w", err)
	}
	history, err := c.DeleteRepositoryHistory(ctx, query.DeleteRepositoryHistoryParams{RepositoryID: id, N: repositoryBatch})
	if err != nil {
		return false, fmt.Errorf("delete its history: %w", err)
	}
	if admissions >= repositoryBatch || history >= repositoryBatch {
		c.reviewRepository(c.now) // there is more
		return false, nil
	}
	if err := c.DeleteRepositoryLists(ctx, id); err != nil {
		return false, fmt.Errorf("delete its cached lists: %w", err)
	}
	maps.DeleteFunc(c.candidates, func(key candidateKey, _ time.Time) bool { return key.kind != CandidateBlob })
	if err := c.DeleteRepositoryCandidates(ctx, id); err != nil {
		return false, fmt.Errorf("delete its candidates: %w", err)
	}
	if _, err := c.DeleteRepository(ctx, id); err != nil {
		return false, err
	}
	key := RepositoryKey{UpstreamID: c.repository.UpstreamID, Epoch: c.repository.Epoch, Name: c.repository.Name}
	return true, c.Change(ctx, c.repository.GroupID, ChangeRepository, repositoryChange(key))
}

// firstManifest notes that the repository holds a manifest, or has held one.
func (c *change) firstManifest(ctx context.Context) error {
	if c.repository.FirstManifestAt != 0 {
		return nil
	}
	return c.SetFirstManifest(ctx, query.SetFirstManifestParams{FirstManifestAt: micros(c.now), ID: c.repository.ID})
}

// TrimHistory forgets up to a few thousand records of what happened before a time: moves of tags, and tokens that
// ended before. It returns how many it has forgotten; 0 is the end.
func (s *Store) TrimHistory(ctx context.Context, before time.Time) (n int64, err error) {
	first := meta.FirstID(before)
	err = s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		tags, err := tx.TrimTagHistory(ctx, query.TrimTagHistoryParams{Before: first, N: repositoryBatch})
		if err != nil {
			return err
		}
		tokens, err := tx.TrimTokens(ctx, micros(before))
		n = tags + tokens
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("trim the history: %w", err)
	}
	return n, nil
}

// TrimPulls forgets the statistics of manifests that are gone: they may be written after the manifest went.
func (s *Store) TrimPulls(ctx context.Context) (n int64, err error) {
	after := query.ListPullPageParams{Digest: []byte{}, N: repositoryBatch}
	for {
		page, err := s.db.Read().ListPullPage(ctx, after)
		if err != nil {
			return n, err
		}
		if len(page) == 0 {
			return n, s.trimRepositoryPulls(ctx)
		}
		err = s.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
			for _, row := range page {
				gone, err := q.DeletePullsOfNothing(ctx, query.DeletePullsOfNothingParams(row))
				if err != nil {
					return err
				}
				n += gone
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("forget the pulls of what is gone: %w", err)
		}
		after.RepositoryID, after.Digest = page[len(page)-1].RepositoryID, page[len(page)-1].Digest
	}
}

func (s *Store) trimRepositoryPulls(ctx context.Context) error {
	return s.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		_, err := q.DeletePullsOfNoRepository(ctx)
		return err
	})
}

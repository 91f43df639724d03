package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// review is the frame of decisions about things in a repository, one transaction for all. It forgets the candidates under the
// repository's lock and before it decides: whoever may orphan a thing again writes a new candidate after this transaction.
func (s *Store) review(ctx context.Context, batch []Candidate,
	decide func(ctx context.Context, c *change, digest []byte) (collected bool, err error),
) (collected int, err error) {
	kind, repository, digests := string(batch[0].Kind), batch[0].Repository, digestsOf(batch)
	err = s.change(ctx, repository, func(ctx context.Context, c *change) error {
		if err := c.DeleteCandidates(ctx, kind, repository, digests); err != nil {
			return fmt.Errorf("forget the candidates: %w", err)
		}
		collected = 0
		for _, digest := range digests {
			gone, err := decide(ctx, c, digest)
			if err != nil {
				return fmt.Errorf("decide on %s: %w", candidateDigest(digest), err)
			}
			if gone {
				collected++
			}
		}
		return nil
	})
	if errors.Is(err, errNoRepository) {
		err = s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			return tx.DeleteCandidates(ctx, kind, repository, digests)
		})
	}
	return collected, err
}

func digestsOf(batch []Candidate) [][]byte {
	digests := make([][]byte, len(batch))
	for i, candidate := range batch {
		digests[i] = optionalDigest(candidate.Digest)
	}
	slices.SortFunc(digests, bytes.Compare)
	return digests
}

func (s *Store) reviewManifests(ctx context.Context, batch []Candidate) (collected int, err error) {
	pulled := make(map[string]time.Time, len(batch))
	for _, candidate := range batch {
		at, err := s.lastPulled(ctx, candidate.Repository, candidate.Digest)
		if err != nil {
			return 0, err
		}
		pulled[string(oci.DigestBytes(candidate.Digest))] = at
	}
	return s.reviewAndForget(ctx, batch, func(ctx context.Context, c *change, digest []byte) (bool, error) {
		return s.reviewManifest(ctx, c, digest, pulled[string(digest)])
	})
}

// reviewAndForget is review for manifests: the pulls of those that went are forgotten.
func (s *Store) reviewAndForget(ctx context.Context, batch []Candidate,
	decide func(ctx context.Context, c *change, digest []byte) (collected bool, err error),
) (collected int, err error) {
	var gone []oci.Digest
	collected, err = s.review(ctx, batch, func(ctx context.Context, c *change, digest []byte) (bool, error) {
		removed, err := decide(ctx, c, digest)
		if removed {
			gone = append(gone, oci.Digest(digestText(digest)))
		}
		return removed, err
	})
	if err == nil && len(gone) > 0 { // one too many, of an attempt that was undone, does no harm
		s.forgetPulls(ctx, batch[0].Repository, gone...)
	}
	return collected, err
}

func (s *Store) reviewManifest(ctx context.Context, c *change, digest []byte, pulled time.Time) (collected bool, err error) {
	row, err := c.StatManifest(ctx, query.StatManifestParams{RepositoryID: c.repository.ID, Digest: digest})
	if errors.Is(err, sql.ErrNoRows) {
		return false, s.reviewAbsent(ctx, c, digest)
	}
	if err != nil {
		return false, err
	}
	held, err := c.manifestIsHeld(ctx, row)
	if err != nil || held {
		return false, err
	}
	if !c.hosted() {
		asked, err := c.AdmittedVia(ctx, query.AdmittedViaParams{RepositoryID: c.repository.ID, Digest: digest, Via: string(ViaDigest)})
		if err != nil || asked {
			return false, err
		}
		used := fromMicros(row.CreatedAt)
		if pulled.After(used) {
			used = pulled
		}
		if due := used.Add(s.grace); due.After(c.now) {
			c.review(CandidateManifest, digest, due)
			return false, nil
		}
	}
	if err := s.removeManifest(ctx, c, digest, c.now.Add(s.grace)); err != nil {
		return false, err
	}
	return true, c.forgetAdmissions(ctx, digest)
}

// reviewAbsent forgets what is remembered of a manifest that is not here, whose bytes never came or were evicted: how it was
// admitted, and who refers to it unless an upstream was asked lately.
func (s *Store) reviewAbsent(ctx context.Context, c *change, digest []byte) error {
	list, err := c.GetList(ctx, query.GetListParams{RepositoryID: c.repository.ID, Kind: listReferrers, Subject: digest})
	switch due := fromMicros(list.CheckedAt).Add(s.grace); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	case due.After(c.now):
		c.review(CandidateManifest, digest, due)
	default:
		if err := c.forgetReferrers(ctx, digest); err != nil {
			return err
		}
	}
	return c.forgetAdmissions(ctx, digest)
}

// manifestIsHeld reports whether something in the repository needs the manifest, or people may: a hosted one without a
// subject.
func (c *change) manifestIsHeld(ctx context.Context, row query.StatManifestRow) (bool, error) {
	tagged, err := c.IsTagged(ctx, query.IsTaggedParams{RepositoryID: c.repository.ID, Digest: row.Digest})
	if err != nil || tagged {
		return tagged, err
	}
	referred, err := c.IsReferenced(ctx, query.IsReferencedParams{RepositoryID: c.repository.ID, Child: row.Digest})
	if err != nil || referred {
		return referred, err
	}
	if row.Subject == nil {
		return c.hosted(), nil
	}
	_, err = c.StatManifest(ctx, query.StatManifestParams{RepositoryID: c.repository.ID, Digest: row.Subject})
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) reviewLink(ctx context.Context, c *change, digest []byte) (collected bool, err error) {
	link, err := c.GetLink(ctx, query.GetLinkParams{RepositoryID: c.repository.ID, Digest: digest})
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	used, err := c.IsReferenced(ctx, query.IsReferencedParams{RepositoryID: c.repository.ID, Child: digest})
	if err != nil || used {
		return false, err
	}
	if due := fromMicros(link.CreatedAt).Add(s.grace); due.After(c.now) {
		c.review(CandidateLink, digest, due)
		return false, nil
	}
	return c.unlink(ctx, digest, c.now)
}

// reviewBlobs locks the blobs' rows first, as those do who link them: whoever comes later finds them gone.
func (s *Store) reviewBlobs(ctx context.Context, batch []Candidate) (keys []string, err error) {
	digests := digestsOf(batch)
	err = s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		if _, err := tx.LockBlobs(ctx, digests); err != nil {
			return fmt.Errorf("lock the blobs: %w", err)
		}
		if err := tx.DeleteCandidates(ctx, string(CandidateBlob), 0, digests); err != nil {
			return fmt.Errorf("forget the candidates: %w", err)
		}
		gone, err := tx.DeleteUnlinkedBlobs(ctx, digests)
		if err != nil {
			return err
		}
		keys = nil
		for _, row := range gone {
			keys = append(keys, row.StorageKey)
		}
		slices.Sort(keys)
		for _, key := range keys {
			err := tx.InsertDoomedKey(ctx, query.InsertDoomedKeyParams{StorageKey: key, CreatedAt: micros(s.now())})
			if err != nil {
				return fmt.Errorf("doom %s: %w", key, err)
			}
		}
		return nil
	})
	return keys, err
}

// lastPulled is when a manifest was last pulled; the zero time when nobody knows of a pull.
func (s *Store) lastPulled(ctx context.Context, repository int64, digest oci.Digest) (time.Time, error) {
	last := s.deferred.lastPulled(pullKey{repository, digest})
	row, err := s.db.Read().GetPulls(ctx, query.GetPullsParams{RepositoryID: repository, Digest: oci.DigestBytes(digest)})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("read its pulls: %w", err)
	}
	if at := fromMicros(row.LastPulledAt); at.After(last) {
		last = at
	}
	return last, nil
}

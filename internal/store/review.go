package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// review is the frame of a decision about something in a repository. It forgets the candidate under the repository's lock and
// before the decision: whoever may orphan the thing again writes a new candidate after this transaction.
func (s *Store) review(ctx context.Context, kind CandidateKind, repository int64, digest oci.Digest,
	decide func(ctx context.Context, c *change, digest []byte) error,
) error {
	d := oci.DigestBytes(digest)
	return s.change(ctx, repository, func(ctx context.Context, c *change) error {
		_, err := c.DeleteCandidate(ctx, query.DeleteCandidateParams{Kind: string(kind), RepositoryID: repository, Digest: d})
		if err != nil {
			return fmt.Errorf("forget the candidate: %w", err)
		}
		return decide(ctx, c, d)
	})
}

func (s *Store) reviewManifest(ctx context.Context, c *change, digest []byte, pulled time.Time) (collected bool, err error) {
	row, err := c.StatManifest(ctx, query.StatManifestParams{RepositoryID: c.repository.ID, Digest: digest})
	if errors.Is(err, sql.ErrNoRows) {
		return false, c.forgetAdmissions(ctx, digest) // its bytes never came, or were evicted
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

// reviewBlob locks the blob's row first, as those do who link it: whoever comes later finds it gone.
func (s *Store) reviewBlob(ctx context.Context, tx *meta.Tx, digest []byte) (key string, collected bool, err error) {
	row, lockErr := tx.LockBlob(ctx, digest)
	if lockErr != nil && !errors.Is(lockErr, sql.ErrNoRows) {
		return "", false, lockErr
	}
	if _, err := tx.DeleteCandidate(ctx, query.DeleteCandidateParams{Kind: string(CandidateBlob), Digest: digest}); err != nil {
		return "", false, err
	}
	linked, err := tx.BlobIsLinked(ctx, digest)
	if err != nil || linked || lockErr != nil {
		return "", false, err
	}
	if _, err := tx.DeleteBlob(ctx, digest); err != nil {
		return "", false, err
	}
	err = tx.InsertDoomedKey(ctx, query.InsertDoomedKeyParams{StorageKey: row.StorageKey, CreatedAt: micros(s.now())})
	return row.StorageKey, err == nil, err
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

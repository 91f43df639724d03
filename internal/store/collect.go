package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// CandidateKind says what a Candidate is.
type CandidateKind string

// Kinds of candidate and the method that decides on each.
const (
	CandidateBlob     CandidateKind = "blob"     // ReviewBlob
	CandidateManifest CandidateKind = "manifest" // ReviewManifest
	CandidateLink     CandidateKind = "link"     // ReviewLink
)

// Candidate is something a committed change might have orphaned.
type Candidate struct {
	Kind        CandidateKind
	Repository  int64 // 0 for a blob
	Digest      oci.Digest
	ReviewAfter time.Time
	Attempts    int
}

// DoomedKey is an object of the blob store whose row is gone. Its bytes may be deleted at any time.
type DoomedKey struct {
	Key       string
	CreatedAt time.Time
}

// ClaimCandidates returns up to n candidates whose time has come, the longest due first. It takes no lease: the job that
// collects has one, and every review decides again from the rows.
func (s *Store) ClaimCandidates(ctx context.Context, now time.Time, n int) ([]Candidate, error) {
	rows, err := s.db.Read().ListDueCandidates(ctx, query.ListDueCandidatesParams{Now: micros(now), N: page(n)})
	if err != nil {
		return nil, fmt.Errorf("list candidates: %w", err)
	}
	list := make([]Candidate, 0, len(rows))
	for _, row := range rows {
		list = append(list, Candidate{
			Kind: CandidateKind(row.Kind), Repository: row.RepositoryID, Digest: oci.Digest(digestText(row.Digest)),
			ReviewAfter: fromMicros(row.ReviewAfter), Attempts: int(row.Attempts),
		})
	}
	return list, nil
}

// Postpone puts a candidate off until until and counts the attempt.
func (s *Store) Postpone(ctx context.Context, c Candidate, until time.Time) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.PostponeCandidate(ctx, query.PostponeCandidateParams{
			ReviewAfter: micros(until), Kind: string(c.Kind), RepositoryID: c.Repository, Digest: oci.DigestBytes(c.Digest),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("postpone %s %s: %w", c.Kind, c.Digest, err)
	}
	return nil
}

// ReviewManifest removes the manifest if nothing needs it, writes candidates for what it alone needed, and forgets the
// candidate. One that is not old enough is put off instead, with collected false.
//
// A manifest is needed while a tag, an index of its repository or, for a referrer, its subject holds it. A hosted manifest
// without a subject is always kept: untagged content of people goes by their retention policy. A cached one goes when it has
// not been pulled for the grace period, unless a client asked for it by digest: then only the byte budget may evict it.
func (s *Store) ReviewManifest(ctx context.Context, repository int64, digest oci.Digest) (collected bool, err error) {
	pulled, err := s.lastPulled(ctx, repository, digest)
	if err == nil {
		err = s.review(ctx, CandidateManifest, repository, digest, func(ctx context.Context, c *change, d []byte) (err error) {
			collected, err = s.reviewManifest(ctx, c, d, pulled)
			return err
		})
	}
	if err != nil {
		return false, fmt.Errorf("review manifest %s: %w", digest, err)
	}
	if collected {
		s.forgetPulls(ctx, repository, digest)
	}
	return collected, nil
}

// ReviewLink removes the repository's link to a blob that no manifest there refers to and that is older than the grace
// period, and forgets the candidate. A younger one is put off.
func (s *Store) ReviewLink(ctx context.Context, repository int64, digest oci.Digest) (collected bool, err error) {
	err = s.review(ctx, CandidateLink, repository, digest, func(ctx context.Context, c *change, d []byte) (err error) {
		collected, err = s.reviewLink(ctx, c, d)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("review the link of blob %s: %w", digest, err)
	}
	return collected, nil
}

// ReviewBlob removes the blob's row if no repository links it and forgets the candidate. key is the object that may now be
// deleted; it is also written to the doomed keys in the same transaction, until ForgetDoomed.
func (s *Store) ReviewBlob(ctx context.Context, digest oci.Digest) (key string, collected bool, err error) {
	d := oci.DigestBytes(digest)
	err = s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) (err error) {
		key, collected, err = s.reviewBlob(ctx, tx, d)
		return err
	})
	if err != nil {
		return "", false, fmt.Errorf("review blob %s: %w", digest, err)
	}
	return key, collected, nil
}

// DoomedKeys lists up to n doomed keys, oldest first.
func (s *Store) DoomedKeys(ctx context.Context, n int) ([]DoomedKey, error) {
	rows, err := s.db.Read().ListDoomedKeys(ctx, page(n))
	if err != nil {
		return nil, fmt.Errorf("list doomed keys: %w", err)
	}
	list := make([]DoomedKey, 0, len(rows))
	for _, row := range rows {
		list = append(list, DoomedKey{Key: row.StorageKey, CreatedAt: fromMicros(row.CreatedAt)})
	}
	return list, nil
}

// ForgetDoomed is called after the bytes of key were deleted.
func (s *Store) ForgetDoomed(ctx context.Context, key string) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.DeleteDoomedKey(ctx, key)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget doomed key %s: %w", key, err)
	}
	return nil
}

// HasKey reports whether a blob's row or a doomed key names the object. An object older than the grace period that nothing
// names is garbage of a crash.
func (s *Store) HasKey(ctx context.Context, key string) (bool, error) {
	digest, _, err := blob.ParseKey(key)
	if err != nil {
		return false, nil //nolint:nilerr // no row can name what is no key
	}
	row, err := s.db.Read().GetBlob(ctx, oci.DigestBytes(digest))
	if err == nil && row.StorageKey == key {
		return true, nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, fmt.Errorf("find who owns %s: %w", key, err)
	}
	doomed, err := s.db.Read().KeyIsDoomed(ctx, key)
	if err != nil {
		return false, fmt.Errorf("find who owns %s: %w", key, err)
	}
	return doomed, nil
}

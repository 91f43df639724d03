package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// CandidateKind says what a Candidate is.
type CandidateKind string

// Kinds of candidate.
const (
	CandidateBlob       CandidateKind = "blob"
	CandidateManifest   CandidateKind = "manifest"
	CandidateLink       CandidateKind = "link"
	CandidateRepository CandidateKind = "repository" // without a digest
	CandidatePurged     CandidateKind = "purged"     // a manifest that was in use when it was purged
)

// Candidate is something a committed change might have orphaned.
type Candidate struct {
	Kind        CandidateKind
	Repository  int64      // 0 for a blob
	Digest      oci.Digest // empty for a repository
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
			Kind: CandidateKind(row.Kind), Repository: row.RepositoryID, Digest: candidateDigest(row.Digest),
			ReviewAfter: fromMicros(row.ReviewAfter), Attempts: int(row.Attempts),
		})
	}
	return list, nil
}

// candidateDigest is empty for a repository.
func candidateDigest(b []byte) oci.Digest {
	if len(b) == 0 {
		return ""
	}
	return oci.Digest(digestText(b))
}

// Postpone puts a candidate off until until and counts the attempt.
func (s *Store) Postpone(ctx context.Context, c Candidate, until time.Time) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.PostponeCandidate(ctx, query.PostponeCandidateParams{
			ReviewAfter: micros(until), Kind: string(c.Kind), RepositoryID: c.Repository, Digest: optionalDigest(c.Digest),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("postpone %s %s: %w", c.Kind, c.Digest, err)
	}
	return nil
}

// Collected is what a Review took away.
type Collected struct {
	N    int      // candidates that went
	Keys []string // objects of blobs that went: they may be deleted now
}

// Review decides on candidates of one kind, and of one repository unless they are blobs, in one transaction, and forgets
// them. There are at most meta.MaxSet. On an error none of them was decided on.
//
//   - manifest: removed if nothing needs it, with candidates for what it alone needed. It is needed while a tag, an index of its
//     repository or, for a referrer, its subject holds it. A hosted one without a subject is always kept: untagged content of
//     people goes by their retention policy. A cached one goes when it has not been pulled for the grace period, unless a
//     client asked for it by digest: then only the byte budget may evict it.
//   - link: removed if no manifest of the repository refers to the blob and it is older than the grace period.
//   - blob: its row is removed if no repository links it. Its key is also written to the doomed keys, until ForgetDoomed.
//   - repository: removed if it is empty and nobody needs it to be there.
//
// One that is not old enough is put off instead.
func (s *Store) Review(ctx context.Context, batch []Candidate) (Collected, error) {
	var collected Collected
	var err error
	switch batch[0].Kind {
	case CandidateBlob:
		collected.Keys, err = s.reviewBlobs(ctx, batch)
		collected.N = len(collected.Keys)
	case CandidateManifest:
		collected.N, err = s.reviewManifests(ctx, batch)
	case CandidatePurged:
		collected.N, err = s.reviewAndForget(ctx, batch, s.reviewPurged)
	case CandidateLink:
		collected.N, err = s.review(ctx, batch, s.reviewLink)
	case CandidateRepository:
		collected.N, err = s.review(ctx, batch, func(ctx context.Context, c *change, _ []byte) (bool, error) { return s.reviewRepository(ctx, c) })
	default:
		err = errors.New("unknown kind of candidate, written by a newer version?")
	}
	if err != nil {
		return Collected{}, fmt.Errorf("review %d of kind %s, the first %s: %w", len(batch), batch[0].Kind, batch[0].Digest, err)
	}
	return collected, nil
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

// ForgetDoomed is called after the bytes of some keys were deleted.
func (s *Store) ForgetDoomed(ctx context.Context, keys ...string) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		for _, key := range slices.Sorted(slices.Values(keys)) {
			if _, err := tx.DeleteDoomedKey(ctx, key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget %d doomed keys: %w", len(keys), err)
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

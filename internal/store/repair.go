package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// BlobPage lists up to n blobs of all repositories after a digest ("" is the start), in the order of their keys.
func (s *Store) BlobPage(ctx context.Context, after oci.Digest, n int) ([]Blob, error) {
	from := []byte{}
	if after != "" {
		from = oci.DigestBytes(after)
	}
	rows, err := s.db.Read().ListBlobPage(ctx, query.ListBlobPageParams{After: from, N: int32(n)}) //nolint:gosec // a page
	if err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	page := make([]Blob, 0, len(rows))
	for _, row := range rows {
		digest, err := oci.DigestFromBytes(row.Digest)
		if err != nil {
			return nil, fmt.Errorf("list blobs: row %x: %w", row.Digest, err)
		}
		page = append(page, Blob{Digest: digest, Size: row.Size, Key: row.StorageKey})
	}
	return page, nil
}

// IsCurrent reports whether the blob's row still names the same bytes.
func (s *Store) IsCurrent(ctx context.Context, b Blob) (bool, error) {
	row, err := s.db.Read().GetBlob(ctx, oci.DigestBytes(b.Digest))
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read blob %s: %w", b.Digest, err)
	}
	return row.StorageKey == b.Key && row.Size == b.Size, nil
}

// repairBatch is how many links of a lost blob are looked up at once.
const repairBatch = 100

// DropLost removes every link to a blob whose bytes are lost, and has the blob collected: then caches fetch it again, and a push
// of it sends the bytes again instead of finding them here. Nothing happens once the blob's row names other bytes.
func (s *Store) DropLost(ctx context.Context, b Blob) error {
	digest := oci.DigestBytes(b.Digest)
	for {
		repositories, err := s.db.Read().ListLinkingRepositories(ctx, query.ListLinkingRepositoriesParams{Digest: digest, N: repairBatch})
		if err != nil {
			return fmt.Errorf("drop lost blob %s: %w", b.Digest, err)
		}
		for _, repository := range repositories {
			err := s.change(ctx, repository, func(ctx context.Context, c *change) error { return c.dropLost(ctx, digest, b.Key) })
			if errors.Is(err, errReplaced) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("drop lost blob %s: %w", b.Digest, err)
			}
		}
		if len(repositories) == 0 {
			return s.reviewLost(ctx, digest)
		}
	}
}

// errReplaced says that a blob's row names other bytes by now.
var errReplaced = errors.New("the bytes were replaced")

func (c *change) dropLost(ctx context.Context, digest []byte, key string) error {
	row, err := c.LockBlob(ctx, digest)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && row.StorageKey != key) {
		return errReplaced
	}
	if err != nil {
		return err
	}
	_, err = c.unlink(ctx, digest, c.now)
	return err
}

// reviewLost has the collector look at a blob that had no link in the first place.
func (s *Store) reviewLost(ctx context.Context, digest []byte) error {
	return s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		return tx.PutCandidate(ctx, query.PutCandidateParams{Kind: string(CandidateBlob), Digest: digest, ReviewAfter: micros(s.now())})
	})
}

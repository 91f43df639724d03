package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/weir-registry/weir/internal/oci"
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

// DropLost removes a blob whose bytes are lost, with every link to it: then caches fetch it again, and a push of it sends the
// bytes again instead of finding them here. Nothing happens once the blob's row names other bytes.
func (s *Store) DropLost(ctx context.Context, b Blob) error {
	for {
		unlinked, err := s.unlinkLost(ctx, b)
		if errors.Is(err, errReplaced) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop lost blob %s: %w", b.Digest, err)
		}
		if unlinked > 0 {
			continue
		}
		if collected, err := s.Review(ctx, []Candidate{{Kind: CandidateBlob, Digest: b.Digest}}); err != nil || collected.N > 0 {
			return err
		}
		if current, err := s.IsCurrent(ctx, b); err != nil || !current { // else somebody has linked it meanwhile
			return err
		}
	}
}

// unlinkLost removes some of the links.
func (s *Store) unlinkLost(ctx context.Context, b Blob) (n int, err error) {
	digest := oci.DigestBytes(b.Digest)
	repositories, err := s.db.Read().ListLinkingRepositories(ctx, query.ListLinkingRepositoriesParams{Digest: digest, N: repairBatch})
	if err != nil {
		return 0, err
	}
	for _, repository := range repositories {
		err := s.change(ctx, repository, func(ctx context.Context, c *change) error { return c.dropLost(ctx, digest, b.Key) })
		if err != nil {
			return 0, err
		}
	}
	return len(repositories), nil
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

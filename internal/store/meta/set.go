package meta

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Statements on a set of rows given by their digests, at most MaxSet of them. No generated query takes a list on both engines.

// MaxSet bounds a set: what one transaction does to it must not hold up other writers for long.
const MaxSet = 100

const blobColumns = "digest, size, storage_key, created_at"

// LockBlobs is LockBlob for a set, in the order of digests; those that are not there are left out.
func (tx *Tx) LockBlobs(ctx context.Context, digests [][]byte) ([]query.Blob, error) {
	return tx.blobs(ctx, "SELECT "+blobColumns+" FROM blobs WHERE digest IN ("+placeholders(1, len(digests))+") ORDER BY digest"+
		tx.db.engine.forUpdate(), arguments(digests)...)
}

// DeleteUnlinkedBlobs deletes those of a set of locked blobs that no repository links, and returns them.
func (tx *Tx) DeleteUnlinkedBlobs(ctx context.Context, digests [][]byte) ([]query.Blob, error) {
	return tx.blobs(ctx, "DELETE FROM blobs WHERE digest IN ("+placeholders(1, len(digests))+`)
		AND NOT EXISTS (SELECT 1 FROM blob_links l WHERE l.digest = blobs.digest) RETURNING `+blobColumns, arguments(digests)...)
}

// DeleteCandidates forgets candidates of one kind and repository (0 for blobs). It locks them in the order of digests, as those
// do who write them.
func (tx *Tx) DeleteCandidates(ctx context.Context, kind string, repository int64, digests [][]byte) error {
	where := "kind = $1 AND repository_id = $2 AND digest IN (" + placeholders(3, len(digests)) + ")"
	args := append([]any{kind, repository}, arguments(digests)...)
	if lock := tx.db.engine.forUpdate(); lock != "" {
		if _, err := tx.conn.ExecContext(ctx, "SELECT 1 FROM gc_candidates WHERE "+where+" ORDER BY digest"+lock, args...); err != nil {
			return err
		}
	}
	_, err := tx.conn.ExecContext(ctx, "DELETE FROM gc_candidates WHERE "+where, args...)
	return err
}

func (tx *Tx) blobs(ctx context.Context, statement string, args ...any) (blobs []query.Blob, err error) {
	rows, err := tx.conn.QueryContext(ctx, statement, args...) //nolint:sqlclosecheck // closed below, with its error
	if err != nil {
		return nil, err
	}
	defer func(rows *sql.Rows) { err = errors.Join(err, rows.Close()) }(rows)
	for rows.Next() {
		var b query.Blob
		if err := rows.Scan(&b.Digest, &b.Size, &b.StorageKey, &b.CreatedAt); err != nil {
			return nil, err
		}
		blobs = append(blobs, b)
	}
	return blobs, rows.Err()
}

// placeholders is "$first,$first+1,…", n of them.
func placeholders(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
	}
	return b.String()
}

func arguments(digests [][]byte) []any {
	args := make([]any, len(digests))
	for i, d := range digests {
		args[i] = d
	}
	return args
}

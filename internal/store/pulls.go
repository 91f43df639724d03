package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Pulls is how often something was pulled, and when last.
type Pulls struct {
	Last  time.Time // zero = never, as far as anybody knows
	Count int64
}

// Pulls returns the pulls of a manifest. Those of the last seconds may not be counted yet.
func (s *Store) Pulls(ctx context.Context, repository int64, digest oci.Digest) (Pulls, error) {
	p := Pulls{Last: s.deferred.lastPulled(pullKey{repository, digest})}
	row, err := s.db.Read().GetPulls(ctx, query.GetPullsParams{RepositoryID: repository, Digest: oci.DigestBytes(digest)})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Pulls{}, fmt.Errorf("read the pulls of %s: %w", digest, err)
	}
	p.Count = row.PullCount
	if at := fromMicros(row.LastPulledAt); at.After(p.Last) {
		p.Last = at
	}
	return p, nil
}

package meta

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// SetStaleBefore makes every reference of an upstream that was confirmed before at stale, whatever its freshness: the next
// one who asks for it asks the upstream. The group's generation grows, so that remembered refusals count no more either.
func (tx *Tx) SetStaleBefore(ctx context.Context, group, upstream int64, at time.Time) error {
	n, err := tx.Queries.SetStaleBefore(ctx, query.SetStaleBeforeParams{StaleBefore: micros(at), ID: upstream})
	if err != nil {
		return fmt.Errorf("make the references of an upstream stale: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("upstream %d: %w", upstream, ErrNotFound)
	}
	return tx.touch(ctx, group, "upstream "+strconv.FormatInt(upstream, 10))
}

package app

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/work"
	"github.com/weir-registry/weir/internal/work/gc"
)

// budget keeps the cache within its bytes between two looks of the collector: it counts what fills are about to bring, has the
// collector evict as soon as the high watermark is passed, and lets what does not fit at all pass through uncached.
type budget struct {
	limit, high, low int64 // bytes; limit 0 = none

	used atomic.Int64 // as of the collector's last look, and what has been admitted since
	wake chan struct{}
}

func newBudget(c config.Cache) *budget {
	limit := int64(c.Budget)
	return &budget{
		limit: limit, high: limit / 100 * int64(c.HighWatermark), low: limit / 100 * int64(c.LowWatermark),
		wake: make(chan struct{}, 1),
	}
}

// admit is cache.FillOptions.Admit. A fill that fails stays counted until the collector's next look.
func (b *budget) admit(_ context.Context, _, size int64) bool {
	if b.limit == 0 {
		return true
	}
	size = max(size, 0) // not known yet
	used := b.used.Add(size)
	if used > b.high {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	if used > b.limit {
		b.used.Add(-size)
		return false
	}
	return true
}

// measured takes over what the collector has counted.
func (b *budget) measured(bytes int64) { b.used.Store(bytes) }

// pause is how long an eviction that was asked for is given before the next may be asked for.
const pause = time.Second

// run asks for evictions until ctx ends. The job runs once in the whole installation, whoever asks.
func (b *budget) run(ctx context.Context, db *meta.DB, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		err := db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			return work.Enqueue(ctx, tx, work.Job{Kind: gc.KindEvict})
		})
		if err != nil && ctx.Err() == nil {
			log.Warn("ask for an eviction", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

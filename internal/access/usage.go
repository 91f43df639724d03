package access

import (
	"context"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	usageEvery = time.Minute
	usageMax   = 10_000 // tokens remembered between two writes; more are not noted
)

// usage gathers when tokens were last used, so that a pull never waits for a write.
type usage struct {
	mu   sync.Mutex
	last map[int64]int64 // token → microseconds
}

func (u *usage) note(token int64, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = map[int64]int64{}
	}
	if _, ok := u.last[token]; ok || len(u.last) < usageMax {
		u.last[token] = at.UnixMicro()
	}
}

func (u *usage) take() map[int64]int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	last := u.last
	u.last = nil
	return last
}

// keepUsage writes what was gathered now and then, and once more at the end.
func (d *Directory) keepUsage(ctx context.Context) {
	tick := time.NewTicker(usageEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.flushUsage(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			d.flushUsage(last)
			return
		}
	}
}

func (d *Directory) flushUsage(ctx context.Context) {
	last := d.used.take()
	if len(last) == 0 {
		return
	}
	err := d.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		for token, at := range last {
			if err := tx.UseToken(ctx, query.UseTokenParams{LastUsedAt: at, ID: token}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.log.Warn("last use of tokens not written", "tokens", len(last), "error", err)
	}
}

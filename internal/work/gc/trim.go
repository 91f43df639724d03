package gc

import (
	"context"
	"time"
)

const trimEvery = 6 * time.Hour

// Trim forgets what happened too long ago, and the statistics of what is gone, in short transactions.
func (c *Collector) Trim(ctx context.Context) error {
	var forgotten int64
	for {
		began := time.Now()
		n, err := c.store.TrimHistory(ctx, c.steady().Add(-c.o.History))
		if err != nil {
			return err
		}
		if forgotten += n; n == 0 {
			break
		}
		c.rest(ctx, time.Since(began))
	}
	pulls, err := c.store.TrimPulls(ctx)
	if forgotten+pulls > 0 {
		c.o.Log.Info("forgot what is over", "history", forgotten, "pulls", pulls)
	}
	return err
}

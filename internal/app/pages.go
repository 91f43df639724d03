package app

import (
	"context"
	"time"
)

// releaseEvery is often enough that what a rare request has touched does not stay, and takes less than a millisecond a minute.
const releaseEvery = time.Minute

// releasePages calls releaseProgram now and then, until ctx ends.
func releasePages(ctx context.Context) {
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for {
		releaseProgram()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

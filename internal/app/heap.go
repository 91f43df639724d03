package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// headroom is by how many bytes the heap may grow between two collections, however little is in use. A server in use holds a few
// megabytes; the runtime's default, as many again, would have it collect many times a second under load, for a tenth of its CPU time.
// With more in use than this the default applies.
const headroom = 24 << 20

// headroomEvery is how often what is in use is looked at: it changes with what is remembered of the store, in minutes.
const headroomEvery = 10 * time.Second

// keepHeadroom adjusts the runtime's GOGC until ctx ends. One that the operator has set stays.
func keepHeadroom(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ticker := time.NewTicker(headroomEvery)
	defer ticker.Stop()
	for last := 0; ; {
		if percent := gcPercent(liveHeap()); percent != last {
			debug.SetGCPercent(percent)
			last = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// gcPercent is the GOGC that lets a heap grow by headroom. Small changes of what is in use make none.
func gcPercent(live uint64) int {
	const step = 50
	percent := int(headroom * 100 / max(live, headroom/10))
	return max(100, percent/step*step)
}

// liveHeap is what the last collection found in use.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return headroom
	}
	return sample[0].Value.Uint64()
}

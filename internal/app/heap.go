package app

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A server in use holds a few megabytes. The runtime's default, as many again between two collections, would have it collect many
// times a second under load, for a tenth of its CPU time; a GOGC that suits so small a heap lets one of a few more megabytes grow by
// a hundred. So the heap may grow to heapSize, and by minGrowth when more than the rest of that is in use.
const (
	heapSize  = 28 << 20 // bytes
	minGrowth = 15 << 20
)

// keepHeap adjusts the runtime's GOGC after each collection, until ctx ends. One that the operator has set stays.
func keepHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	collected := make(chan struct{}, 1)
	tellCollections(ctx, collected)
	for last := 0; ; {
		if percent := gcPercent(liveHeap()); 10*max(percent-last, last-percent) > last {
			debug.SetGCPercent(percent)
			last = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
	}
}

// tellCollections sends to collected after each collection, until ctx ends: it makes garbage that is told of when it is collected.
func tellCollections(ctx context.Context, collected chan<- struct{}) {
	type garbage struct{ _ *garbage } // with a pointer, or the runtime might keep it together with something that is in use
	runtime.AddCleanup(new(garbage), func(collected chan<- struct{}) {
		if ctx.Err() != nil {
			return
		}
		tellCollections(ctx, collected)
		select {
		case collected <- struct{}{}:
		default:
		}
	}, collected)
}

// gcPercent is the GOGC that lets a heap of which live bytes are in use grow as far as it may.
func gcPercent(live uint64) int {
	live = max(live, heapSize/10)
	growth := uint64(minGrowth)
	if live < heapSize-minGrowth {
		growth = heapSize - live
	}
	return int(max(growth*100/live, 25)) //nolint:gosec // at most 900
}

// liveHeap is what the last collection found in use.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return heapSize
	}
	return sample[0].Value.Uint64()
}

package app

import (
	"context"
	"runtime"
	"testing"
)

func TestGCPercent(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{0: 900, 4 * mib: 600, 14 * mib: 107, 20 * mib: 75, 28 * mib: 53, 200 * mib: 25} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MiB in use: %d, want %d", live/mib, got, want)
		}
	}
	if liveHeap() == heapSize {
		t.Error("the runtime does not tell what is in use")
	}
}

func TestEachCollectionIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	collected := make(chan struct{}, 1)
	tellCollections(ctx, collected)
	for range 3 {
		runtime.GC()
		<-collected
	}
}

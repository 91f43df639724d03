package app

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 1000, 4 << 20: 600, 8 << 20: 300, 9 << 20: 250, headroom: 100, 100 << 20: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MiB in use: %d, want %d", live>>20, got, want)
		}
	}
	if liveHeap() == headroom {
		t.Error("the runtime does not tell what is in use")
	}
}

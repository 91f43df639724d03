package app

import (
	"testing"

	"github.com/weir-registry/weir/internal/config"
)

func TestBudget(t *testing.T) {
	b := newBudget(config.Cache{Budget: 1000, HighWatermark: 90, LowWatermark: 50})
	asked := func() bool {
		select {
		case <-b.wake:
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		size            int64
		admitted, evict bool
	}{
		{500, true, false},
		{-1, true, false}, // of unknown size
		{450, true, true}, // above the high watermark
		{100, false, true},
		{50, true, true}, // just fits
		{1, false, true},
	} {
		if got := b.admit(t.Context(), 1, c.size); got != c.admitted {
			t.Errorf("admit %d: %v", c.size, got)
		}
		if got := asked(); got != c.evict {
			t.Errorf("after %d an eviction was asked for: %v", c.size, got)
		}
	}
	b.measured(400)
	if !b.admit(t.Context(), 1, 400) || asked() {
		t.Error("after the collector's look there is room")
	}
	if !newBudget(config.Cache{}).admit(t.Context(), 1, 1<<60) {
		t.Error("no budget admits everything")
	}
}

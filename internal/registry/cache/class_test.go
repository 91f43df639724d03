package cache_test

import (
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/store/meta"
)

func TestClass(t *testing.T) {
	f, err := cache.ParseFreshness(meta.Freshness{Default: "1h", Classes: []meta.FreshnessClass{{Pattern: "*:latest", For: "10m"}, {Pattern: "*:v*", For: "forever"}}})
	if err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]struct {
		class   int
		fresh   time.Duration
		forever bool
	}{"latest": {0, 10 * time.Minute, false}, "v1": {1, 1<<63 - 1, true}, "1": {-1, time.Hour, false}} {
		if class, fresh, forever := f.Class("a", tag); class != want.class || fresh != want.fresh || forever != want.forever {
			t.Errorf("%s: %d %v %t", tag, class, fresh, forever)
		}
	}
}

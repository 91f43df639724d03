package cache_test

import (
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
)

// TestReferrersFreshness: an image that is signed after somebody looked for signatures is soon seen as signed, and one class of
// freshness covers the list of referrers and the tags that do its work elsewhere.
func TestReferrersFreshness(t *testing.T) {
	for _, class := range []struct {
		name   string
		tags   string // that the class is for
		second int    // referrers seen two hours after the first, an hour after the second was made
	}{{"of its own", "*:sha256-*", 2}, {"of other tags", "*:latest", 1}} {
		t.Run(class.name, func(t *testing.T) {
			fresh, err := cache.ParseFreshness(meta.Freshness{Default: "24h", Classes: []meta.FreshnessClass{{Pattern: class.tags, For: "1h"}}})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, func(o *cache.Options) { o.Freshness = fresh })
			image := w.push(alpine, 1, "a")
			sign := func(seed uint64) {
				registrytest.Push(t, w.remote.Memory, alpine, nil, registrytest.RandomArtifact(seed, image.Manifest.Descriptor, "example/signature"))
			}
			want := func(n int, when string) {
				t.Helper()
				if l, err := w.Referrers(t.Context(), alpine, image.Manifest.Digest, ""); err != nil || len(l.Manifests) != n {
					t.Errorf("%s: %+v, %v, want %d referrers", when, l, err, n)
				}
			}
			want(0, "before there are any")
			sign(7)
			want(0, "at once: the upstream is not asked each time")
			w.pass(time.Minute)
			want(1, "a minute later")
			w.pass(30 * time.Minute)
			sign(8)
			want(1, "while the list is fresh")
			w.pass(90 * time.Minute)
			want(class.second, "two hours later")
		})
	}
}

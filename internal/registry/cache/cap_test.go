package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// TestCaps: who has too many transfers waits and is then refused, and whoever wants the same content does not share that fate.
func TestCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *cache.FillOptions) { o.PerPrincipal, o.QueueWait = 1, 10*time.Second })
		as := func(id int64) context.Context {
			return registry.WithCaller(t.Context(), registry.Caller{PrincipalID: id})
		}
		busy := &source{content: registrytest.RandomBlob(1, 1<<20), stopAt: 1 << 16}
		first, _, err := b.engine.Open(as(1), fillOf(busy), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		defer first.Body.Close()

		wanted := &source{content: registrytest.RandomBlob(2, 1<<20)}
		refused := make(chan error)
		go func() {
			_, _, err := b.engine.Open(as(1), fillOf(wanted), registry.Range{})
			refused <- err
		}()
		time.Sleep(5 * time.Second)
		began := time.Now()
		got, status, err := b.engine.Open(as(2), fillOf(wanted), registry.Range{})
		if err != nil || status != registry.CacheMiss || time.Since(began) > 6*time.Second {
			t.Fatalf("after %v: %s, %v", time.Since(began), status, err)
		}
		if err := same(got.Body, wanted.content.Reader(0), wanted.content.Size); err != nil {
			t.Error(err)
		}
		_ = got.Body.Close()
		if o := registry.AsOutcome(<-refused); o == nil || !o.Limited || o.RetryAfter == 0 {
			t.Errorf("the busy one: %v", o)
		}
		_ = b.engine.Close(canceled(t))
	})
}

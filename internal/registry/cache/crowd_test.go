package cache_test

import (
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// TestCrowd has 200 clients join over ten seconds on one cold blob of a throttled upstream. WEIR_TEST_FULL=1 makes the blob 1 GB.
func TestCrowd(t *testing.T) {
	const clients = 200
	size := int64(6 << 20)
	if os.Getenv("WEIR_TEST_FULL") != "" {
		size = 1 << 30
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		const piece = 64 << 10
		s := &source{content: registrytest.RandomBlob(1, size), piece: piece}
		s.delay = 11 * time.Second / time.Duration(size/piece)
		base := memory()
		var peak atomic.Uint64
		var group sync.WaitGroup
		for i := range clients {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Second / clients)
				got, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{})
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = got.Body.Close() }()
				joined, available := time.Now(), s.sent.Load() > 0
				n, err := got.Body.Read(make([]byte, 1))
				if late := time.Since(joined); available && late > 50*time.Millisecond {
					t.Errorf("client %d got its first byte after %v", i, late)
				}
				rest, err2 := io.Copy(io.Discard, struct{ io.Reader }{got.Body})
				if int64(n)+rest != size || err != nil || err2 != nil {
					t.Errorf("client %d read %d bytes: %v, %v", i, int64(n)+rest, err, err2)
				}
			})
		}
		group.Go(func() {
			for range 5 {
				time.Sleep(2100 * time.Millisecond)
				peak.Store(max(peak.Load(), memory()))
			}
		})
		group.Wait()
		if s.fetches.Load() != 1 || s.sent.Load() != size {
			t.Errorf("%d fetches, %d bytes of %d", s.fetches.Load(), s.sent.Load(), size)
		}
		if grown := int64(peak.Load() - base); grown > 64<<20 {
			t.Errorf("memory grew by %d MiB", grown>>20)
		} else {
			t.Logf("memory grew by %d KiB", grown>>10)
		}
		synctest.Wait()
		b.wantStored(s)
	})
}

// memory is what the heap and the stacks hold.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

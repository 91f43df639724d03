package cache_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/mem"
)

// die leaves an engine as a killed process would: nothing is saved that was not. The returned function ends its goroutines.
func die(e *cache.Fills) (bury func()) {
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Close(ctx)
	}
}

// mortal makes the process that b starts next one whose death lets its stages go, as the system does.
func (b *bench) mortal() (kill func()) {
	var mu sync.Mutex
	var held []blob.Stage
	b.blobs.wrap = func(s blob.Stage) blob.Stage {
		mu.Lock()
		defer mu.Unlock()
		held = append(held, s)
		return s
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range held {
			_ = s.Close()
		}
	}
}

func lookup(s *source) func(cache.Identity) (cache.Fill, bool) {
	return func(id cache.Identity) (cache.Fill, bool) {
		f := fillOf(s)
		return f, f.Identity == id
	}
}

// kinds of blob store: one whose stages are the spool, and one that needs a spool file.
func eachStore(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("readable stage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newBench(t)) })
	})
	t.Run("spool file", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.blobs.Store = mem.New(mem.Options{})
			test(t, b)
		})
	})
}

func TestKilledFillIsContinued(t *testing.T) {
	eachStore(t, func(t *testing.T, b *bench) {
		small := func(o *cache.FillOptions) { o.SaveBytes = 1 << 20 }
		kill := b.mortal()
		first := b.start(small)
		const size = 8 << 20
		s := &source{content: registrytest.RandomBlob(1, size), stopAt: 5<<20 + 1000, delay: time.Millisecond}
		got, _, err := first.Open(t.Context(), fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		_ = got.Body.Close()
		kill()
		defer die(first)()

		next := &source{content: s.content}
		b.engine = b.start(small)
		defer b.close()
		if err := b.engine.Resume(t.Context(), lookup(next)); err != nil {
			t.Fatal(err)
		}
		b.wantStored(next)
		if max := int64(size - 5<<20); next.sent.Load() > max || next.fetches.Load() != 1 {
			t.Errorf("the next process asked for %d bytes, at most %d were missing", next.sent.Load(), max)
		}
		if status, err := b.read(next, registry.Range{}); err != nil {
			t.Errorf("%s: %v", status, err)
		}
	})
}

func TestRequestJoinsAContinuedFill(t *testing.T) {
	eachStore(t, func(t *testing.T, b *bench) {
		kill := b.mortal()
		first := b.start()
		s := &source{content: registrytest.RandomBlob(1, 20<<20), stopAt: 17 << 20}
		got, _, err := first.Open(t.Context(), fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		_ = got.Body.Close()
		kill()
		defer die(first)()

		// No Resume: the request itself finds the spool.
		next := &source{content: s.content}
		b.engine = b.start()
		defer b.close()
		if _, err := b.read(next, registry.Range{}); err != nil {
			t.Fatal(err)
		}
		if next.sent.Load() > 4<<20 {
			t.Errorf("asked for %d bytes", next.sent.Load())
		}
	})
}

func TestSpoiltSpoolIsNotBlamedOnTheUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.blobs.Store = mem.New(mem.Options{})
		s := &source{content: registrytest.RandomBlob(1, 20<<20), stopAt: 17 << 20}
		got, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		_ = got.Body.Close()
		die(b.engine)()
		files, _ := filepath.Glob(filepath.Join(b.spools, "*.bytes"))
		if len(files) != 1 {
			t.Fatalf("spool files %v", files)
		}
		f, err := os.OpenFile(files[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteAt([]byte("spoilt"), 1<<20)
		_ = f.Close()

		next := &source{content: s.content}
		b.engine = b.start()
		defer b.close()
		if _, err := b.read(next, registry.Range{}); err == nil {
			t.Error("spoilt bytes were served")
		}
		synctest.Wait()
		if _, err := b.read(next, registry.Range{}); err != nil {
			t.Errorf("the second try: %v", err)
		}
	})
}

func TestSpoolOfAGoneUpstreamIsDropped(t *testing.T) {
	eachStore(t, func(t *testing.T, b *bench) {
		s := &source{content: registrytest.RandomBlob(1, 20<<20), stopAt: 17 << 20}
		got, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		_ = got.Body.Close()
		die(b.engine)()
		b.engine = b.start()
		defer b.close()
		if err := b.engine.Resume(t.Context(), func(cache.Identity) (cache.Fill, bool) { return cache.Fill{}, false }); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(b.spools); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
		b.wantNothing(s)
	})
}

func TestCloseSavesWhatItCannotFinish(t *testing.T) {
	eachStore(t, func(t *testing.T, b *bench) {
		const size = 4 << 20
		s := &source{content: registrytest.RandomBlob(1, size), stopAt: 3<<20 + 77}
		got, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.engine.Close(ctx); err != nil {
			t.Error(err)
		}
		if ctx.Err() != nil {
			t.Error("closing took longer than allowed")
		}
		if _, err := io.Copy(io.Discard, got.Body); err == nil {
			t.Error("a client of the saved fill got a whole response")
		}
		_ = got.Body.Close()
		if _, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{}); err == nil {
			t.Error("a closed engine began a fill")
		}
		next := &source{content: s.content}
		b.engine = b.start()
		defer b.close()
		if err := b.engine.Resume(t.Context(), lookup(next)); err != nil {
			t.Fatal(err)
		}
		b.wantStored(next)
		if want := int64(size - (3<<20 + 77)); next.sent.Load() != want {
			t.Errorf("asked for %d bytes, %d were missing", next.sent.Load(), want)
		}
	})
}

func TestFailedFillGoesOnWhereItStopped(t *testing.T) {
	eachStore(t, func(t *testing.T, b *bench) {
		defer func() { b.close() }()
		const size = 4 << 20
		s := &source{content: registrytest.RandomBlob(1, size), cutAt: 3 << 20}
		s.fail = func(rng registry.Range) error {
			if rng.Offset > 0 {
				return &registry.OutcomeError{Outcome: registry.Unknown, Reason: "connection refused"}
			}
			return nil
		}
		if _, err := b.read(s, registry.Range{}); err == nil {
			t.Fatal("read it all")
		}
		synctest.Wait()
		next := &source{content: s.content}
		if _, err := b.read(next, registry.Range{}); err != nil {
			t.Fatal(err)
		}
		if next.sent.Load() != 1<<20 {
			t.Errorf("asked for %d bytes", next.sent.Load())
		}
	})
}

func TestCachedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.RandomBlob(1, 1<<20)}
		if _, err := b.read(s, registry.Range{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f := fillOf(s)
		f.Cached = func(context.Context) (store.Blob, bool) { return b.blobs.get(s.content.Digest) }
		got, _, err := b.engine.Open(t.Context(), f, registry.Range{Offset: 1000})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = got.Body.Close() }()
		if err := same(got.Body, s.content.Reader(1000), 1<<20-1000); err != nil || s.fetches.Load() != 1 {
			t.Errorf("%v, %d fetches", err, s.fetches.Load())
		}
	})
}

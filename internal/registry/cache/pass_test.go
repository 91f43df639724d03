package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/blob"
)

// fullStage has room for so many bytes.
type fullStage struct {
	blob.ReadableStage
	room     int64
	onCommit error
}

func (s *fullStage) Append(ctx context.Context, offset int64, r io.Reader) (int64, error) {
	left := s.room - s.Size()
	n, err := s.ReadableStage.Append(ctx, offset, io.LimitReader(r, left))
	if err == nil && n == left {
		err = fmt.Errorf("append: %w", blob.ErrFull)
	}
	return n, err
}

func (s *fullStage) Commit(ctx context.Context, digest oci.Digest) (string, error) {
	if s.onCommit != nil {
		return "", s.onCommit
	}
	return s.ReadableStage.Commit(ctx, digest)
}

func TestDeviceFillsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		b.blobs.wrap = func(s blob.Stage) blob.Stage {
			return &fullStage{ReadableStage: s.(blob.ReadableStage), room: 2<<20 + 12345}
		}
		s := &source{content: registrytest.RandomBlob(1, 4<<20), delay: 10 * time.Millisecond}
		var group sync.WaitGroup
		for i := range 6 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 150 * time.Millisecond)
				rng := registry.Range{}
				if i%2 == 1 {
					rng = registry.Range{Offset: int64(i) * 300_000, Length: 1 << 20}
				}
				if _, err := b.read(s, rng); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			})
		}
		group.Wait()
		synctest.Wait()
		b.wantNothing(s)
		if b.passed.get(b.passed.reasons, "full") == 0 || b.passed.get(b.passed.results, "detached") == 0 {
			t.Errorf("counted %v %v", b.passed.reasons, b.passed.results)
		}
	})
}

func TestDeviceFillsUpAndTheRestIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		b.blobs.wrap = func(s blob.Stage) blob.Stage { return &fullStage{ReadableStage: s.(blob.ReadableStage), room: 1 << 20} }
		s := &source{content: registrytest.RandomBlob(1, 2<<20), flipAt: 1_900_000}
		if _, err := b.read(s, registry.Range{}); err == nil {
			t.Error("wrong bytes completed a response")
		}
	})
}

func TestCommitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		b.blobs.wrap = func(s blob.Stage) blob.Stage {
			return &fullStage{ReadableStage: s.(blob.ReadableStage), room: 1 << 40, onCommit: errors.New("the database is away")}
		}
		s := &source{content: registrytest.RandomBlob(1, 2<<20)}
		if _, err := b.read(s, registry.Range{}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		b.wantNothing(s)
	})
}

func TestNoRoom(t *testing.T) {
	for name, option := range map[string]func(*cache.FillOptions){
		"full": func(o *cache.FillOptions) {
			o.Space = func(context.Context) (int64, error) { return 256<<20 + 1000, nil }
		},
		"budget": func(o *cache.FillOptions) {
			o.Admit = func(_ context.Context, _, size int64) bool { return size < 1<<20 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, option)
				defer b.close()
				s := &source{content: registrytest.RandomBlob(1, 2<<20)}
				for _, rng := range []registry.Range{{}, {Offset: 5}, {Offset: -5}, {Offset: 1 << 20, Length: 1000}} {
					if status, err := b.read(s, rng); err != nil || status != registry.CachePass {
						t.Errorf("%+v: %s, %v", rng, status, err)
					}
				}
				s.flipAt = 77
				if _, err := b.read(s, registry.Range{}); err == nil {
					t.Error("wrong bytes completed a response")
				}
				synctest.Wait()
				b.wantNothing(s)
				if b.passed.get(b.passed.reasons, name) < 4 {
					t.Errorf("counted %v", b.passed.reasons)
				}
			})
		})
	}
}

// TestRoomIsShared: what fits alone may not fit beside what is still on its way.
func TestRoomIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *cache.FillOptions) {
			o.Floor = 1 << 20
			o.Space = func(context.Context) (int64, error) { return 4 << 20, nil }
		})
		slow := &source{content: registrytest.RandomBlob(1, 2<<20), stopAt: 1 << 16}
		first, status, err := b.engine.Open(t.Context(), fillOf(slow), registry.Range{})
		if err != nil || status != registry.CacheMiss {
			t.Fatal(status, err)
		}
		defer first.Body.Close()
		for size, want := range map[int64]registry.CacheStatus{2 << 20: registry.CachePass, 1 << 19: registry.CacheMiss} {
			s := &source{content: registrytest.RandomBlob(uint64(size), size)}
			if status, err := b.read(s, registry.Range{}); err != nil || status != want {
				t.Errorf("%d bytes: %s, %v; want %s", size, status, err, want)
			}
			time.Sleep(time.Minute) // a device found full is left alone for a while
			synctest.Wait()
		}
		_ = b.engine.Close(canceled(t))
	})
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const size = 64 << 20
		s := &source{content: registrytest.RandomBlob(1, size), stopAt: 1 << 20}
		s.fail = func(rng registry.Range) error {
			if rng.Offset > 0 {
				s.stopAt = 0
			}
			return nil
		}
		near := registry.Range{Offset: 1000, Length: 5000}
		if status, err := b.read(s, near); err != nil || status != registry.CacheMiss {
			t.Errorf("near: %s, %v", status, err)
		}
		far := registry.Range{Offset: 60 << 20, Length: 5000}
		if status, err := b.read(s, far); err != nil || status != registry.CachePass {
			t.Errorf("far: %s, %v", status, err)
		}
		if n := s.fetches.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
		_, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{Offset: size + 1})
		if oci.ErrorCode(err) != oci.CodeRangeInvalid {
			t.Errorf("outside: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = b.engine.Close(ctx)
	})
}

func TestUnknownSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.RandomBlob(1, 1<<20), size: -1, delay: time.Millisecond}
		var group sync.WaitGroup
		for _, rng := range []registry.Range{{}, {Offset: -100}, {Offset: 500, Length: 100}} {
			group.Go(func() {
				if _, err := b.read(s, rng); err != nil {
					t.Errorf("%+v: %v", rng, err)
				}
			})
		}
		group.Wait()
		synctest.Wait()
		b.wantStored(s)
	})
}

func TestExcessWaitsThenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *cache.FillOptions) { o.PerUpstream, o.QueueWait = 1, 10*time.Second })
		defer b.close()
		slow := &source{content: registrytest.RandomBlob(1, 1<<20), delay: 400 * time.Millisecond} // 17 reads: about 7 s
		next := &source{content: registrytest.RandomBlob(2, 1<<20), delay: 800 * time.Millisecond}
		last := &source{content: registrytest.RandomBlob(3, 1<<20)}
		var group sync.WaitGroup
		read := func(s *source) (err error) {
			group.Go(func() {
				if _, err := b.read(s, registry.Range{}); err != nil {
					t.Error(err)
				}
			})
			return nil
		}
		_ = read(slow)
		synctest.Wait()
		_ = read(next)
		synctest.Wait()
		_, err := b.read(last, registry.Range{})
		if o := registry.AsOutcome(err); o == nil || !o.Limited || o.RetryAfter == 0 {
			t.Errorf("got %v", err)
		}
		group.Wait()
	})
}

func TestContentNamedOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.BytesContent("", []byte("hello"))}
		for i, test := range []struct {
			expect cache.Expect
			right  bool
		}{
			{cache.Expect{}, true},
			{cache.Expect{SHA1: "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d", MD5: "5d41402abc4b2a76b9719d911017c592", Size: 5}, true},
			{cache.Expect{SHA1: "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434e"}, false},
			{cache.Expect{MD5: "5d41402abc4b2a76b9719d911017c593"}, false},
			{cache.Expect{Size: 6}, false},
		} {
			f := fillOf(s)
			f.Path, f.Expect = fmt.Sprintf("files/%d", i), test.expect
			got, _, err := b.engine.Open(t.Context(), f, registry.Range{})
			if err == nil {
				_, err = io.Copy(io.Discard, got.Body)
				_ = got.Body.Close()
			}
			if (err == nil) != test.right {
				t.Errorf("%+v: %v", test.expect, err)
			}
		}
		synctest.Wait()
		b.wantStored(s)
	})
}

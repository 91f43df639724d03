package cache_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

func TestFillOnceForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.RandomBlob(1, 3<<20), delay: 10 * time.Millisecond}
		statuses := make([]registry.CacheStatus, 20)
		var group sync.WaitGroup
		for i := range statuses {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 20 * time.Millisecond)
				var err error
				if statuses[i], err = b.read(s, registry.Range{}); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			})
		}
		group.Wait()
		if s.fetches.Load() != 1 || s.sent.Load() != s.content.Size {
			t.Errorf("%d fetches, %d bytes", s.fetches.Load(), s.sent.Load())
		}
		if statuses[0] != registry.CacheMiss || statuses[19] != registry.CacheJoined {
			t.Errorf("statuses %v", statuses)
		}
		synctest.Wait()
		b.wantStored(s)
	})
}

func TestFillOutlivesItsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.RandomBlob(1, 1<<20), delay: 10 * time.Millisecond}
		ctx, cancel := context.WithCancel(t.Context())
		got, _, err := b.engine.Open(ctx, fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(got.Body, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.Copy(io.Discard, got.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left read on: %v", err)
		}
		_ = got.Body.Close()
		time.Sleep(time.Second)
		b.wantStored(s)
	})
}

func TestHeadersComeWithTheUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.RandomBlob(1, 1<<20), delay: time.Minute / 2}
		began := time.Now()
		got, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = got.Body.Close() }()
		if got.Size != 1<<20 || time.Since(began) > 0 {
			t.Errorf("size %d after %v", got.Size, time.Since(began))
		}
	})
}

func TestTheEndIsHeldBackUntilVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		const size = 1 << 20
		s := &source{content: registrytest.RandomBlob(1, size), stopAt: size - 10}
		got, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{})
		if err != nil {
			t.Fatal(err)
		}
		var read atomic.Int64
		go func() {
			for p := make([]byte, 1000); ; {
				n, err := got.Body.Read(p)
				read.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Second)
		if got := read.Load(); got != size-64<<10 {
			t.Errorf("%d of %d bytes were given out unverified", got, size)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = b.engine.Close(ctx)
	})
}

func TestBrokenReadsAreTakenUp(t *testing.T) {
	for _, test := range []struct {
		name string
		s    *source
		max  float64
	}{
		{"cut", &source{cutAt: 300 << 10}, 1.0},
		{"short", &source{cutAt: 300 << 10, short: true}, 1.0},
		{"cut within a piece", &source{cutAt: 333_333, piece: 10_000}, 1.0},
		{"ranges ignored", &source{cutAt: 3 << 20, ignore: true}, 2.0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				defer b.close()
				s := test.s
				s.content = registrytest.RandomBlob(1, 4<<20)
				if s.ignore { // the first response breaks, later ones do not
					first := s.cutAt
					s.fail = func(registry.Range) error {
						if s.cutAt = 0; s.fetches.Load() == 1 {
							s.cutAt = first
						}
						return nil
					}
				}
				if _, err := b.read(s, registry.Range{}); err != nil {
					t.Error(err)
				}
				if x := float64(s.sent.Load()) / float64(s.content.Size); x > test.max {
					t.Errorf("the upstream sent %.2f times the content", x)
				}
				synctest.Wait()
				b.wantStored(s)
			})
		})
	}
}

func TestAnIdleUpstreamIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.RandomBlob(1, 1<<20), stopAt: 500_000}
		s.fail = func(rng registry.Range) error {
			if rng.Offset > 0 {
				s.stopAt = 0
			}
			return nil
		}
		if _, err := b.read(s, registry.Range{}); err != nil {
			t.Error(err)
		}
		if s.fetches.Load() != 2 || s.sent.Load() != s.content.Size {
			t.Errorf("%d fetches, %d bytes", s.fetches.Load(), s.sent.Load())
		}
	})
}

func TestWrongContentReachesNobody(t *testing.T) {
	other := registrytest.RandomBlob(2, 1<<20)
	for _, test := range []struct {
		name  string
		s     func(right registrytest.Content) *source
		wrong bool // known to be wrong, not just broken
	}{
		{"flipped byte", func(c registrytest.Content) *source { return &source{content: c, flipAt: 1000} }, true},
		{"flipped last byte", func(c registrytest.Content) *source { return &source{content: c, flipAt: c.Size} }, true},
		{"other content", func(c registrytest.Content) *source {
			o := other
			o.Digest = c.Digest
			return &source{content: o}
		}, true},
		{"more than it says", func(c registrytest.Content) *source { return &source{content: c, size: c.Size - 1} }, true},
		{"less than it says", func(c registrytest.Content) *source { return &source{content: c, size: c.Size + 1} }, true},
		{"unknown size, flipped", func(c registrytest.Content) *source { return &source{content: c, size: -1, flipAt: 5} }, true},
		{"size changes", func(c registrytest.Content) *source {
			s := &source{content: c, cutAt: 300_000}
			s.fail = func(rng registry.Range) error {
				if rng.Offset > 0 {
					s.size = c.Size + 7
				}
				return nil
			}
			return s
		}, true},
		{"never ends well", func(c registrytest.Content) *source {
			s := &source{content: c, cutAt: 300_000}
			s.fail = func(rng registry.Range) error {
				if rng.Offset > 0 {
					return errors.New("connection refused")
				}
				return nil
			}
			return s
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				defer b.close()
				s := test.s(registrytest.RandomBlob(1, 1<<20))
				var group sync.WaitGroup
				for range 5 {
					group.Go(func() {
						got, _, err := b.engine.Open(t.Context(), fillOf(s), registry.Range{})
						if err != nil {
							return
						}
						defer func() { _ = got.Body.Close() }()
						n, err := io.Copy(io.Discard, got.Body)
						if err == nil || n > 1<<20-64<<10+1 {
							t.Errorf("a client read %d bytes, %v", n, err)
						}
					})
				}
				group.Wait()
				synctest.Wait()
				if !test.wrong {
					if _, ok := b.blobs.get(s.content.Digest); ok {
						t.Error("broken content is in the store")
					}
					return
				}
				b.wantNothing(s)
				before := s.fetches.Load()
				time.Sleep(20 * time.Second)
				_, err := b.read(s, registry.Range{})
				o := registry.AsOutcome(err)
				if o == nil || o.Outcome != registry.Unknown || s.fetches.Load() != before {
					t.Fatalf("asked again so soon: %v", err)
				}
				if o.At.IsZero() || o.RetryAfter < 35*time.Second || o.RetryAfter > 40*time.Second {
					t.Errorf("come back in %s, since %s; want what is left of a minute", o.RetryAfter, o.At)
				}
				time.Sleep(41 * time.Second)
				s.flipAt, s.size, s.cutAt, s.fail = 0, 0, 0, nil
				if s.content.Digest != other.Digest && test.name != "other content" {
					if _, err := b.read(s, registry.Range{}); err != nil {
						t.Errorf("a healed upstream: %v", err)
					}
				}
			})
		})
	}
}

func TestUpstreamsFirstAnswerIsTruthful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		s := &source{content: registrytest.RandomBlob(1, 1<<20)}
		s.fail = func(registry.Range) error {
			return &registry.OutcomeError{Outcome: registry.Unknown, Status: 429, Limited: true, RetryAfter: time.Minute}
		}
		_, err := b.read(s, registry.Range{})
		if o := registry.AsOutcome(err); o == nil || !o.Limited || o.RetryAfter != time.Minute || s.fetches.Load() != 1 {
			t.Errorf("got %v after %d fetches", err, s.fetches.Load())
		}
		s.fail = nil
		if _, err := b.read(s, registry.Range{}); err != nil {
			t.Error(err)
		}
	})
}

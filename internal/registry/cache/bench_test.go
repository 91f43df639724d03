package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/fs"
)

// bytesOnly is a cache.FillStore over a blob store, without rows.
type bytesOnly struct {
	blob.Store
	wrap func(blob.Stage) blob.Stage // faults, if set

	mu    sync.Mutex
	blobs map[oci.Digest]store.Blob
}

func (s *bytesOnly) Stage(ctx context.Context) (blob.Stage, error) {
	stage, err := s.Store.Stage(ctx)
	if err == nil && s.wrap != nil {
		stage = s.wrap(stage)
	}
	return stage, err
}

func (s *bytesOnly) CommitBlob(ctx context.Context, _ store.RepositoryKey, stage blob.Stage, digest oci.Digest) (store.Blob, error) {
	size := stage.Size()
	key, err := stage.Commit(ctx, digest)
	if err != nil {
		return store.Blob{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[digest] = store.Blob{Digest: digest, Size: size, Key: key}
	return s.blobs[digest], nil
}

func (s *bytesOnly) OpenBlob(ctx context.Context, b store.Blob, offset, length int64) (blob.Content, error) {
	return s.Open(ctx, b.Key, offset, length)
}

func (s *bytesOnly) get(digest oci.Digest) (store.Blob, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[digest]
	return b, ok
}

func newBytes(t *testing.T, dir string) *bytesOnly {
	t.Helper()
	b, err := fs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &bytesOnly{Store: b, blobs: map[oci.Digest]store.Blob{}}
}

// source is an upstream for one piece of content: it counts, and breaks as told.
type source struct {
	content registrytest.Content
	size    int64         // it says; the content's own when 0
	piece   int           // bytes in one Read; 64 KiB when 0
	delay   time.Duration // before each Read
	cutAt   int64         // each response breaks after this many bytes
	stopAt  int64         // the body hangs at this offset until the context ends
	short   bool          // a cut looks like a clean end
	ignore  bool          // ranges are ignored
	flipAt  int64         // this byte is wrong, counted from 1
	fail    func(rng registry.Range) error

	fetches atomic.Int64
	sent    atomic.Int64
}

func (s *source) fetch(ctx context.Context, rng registry.Range) (*registry.Blob, error) {
	s.fetches.Add(1)
	if s.fail != nil {
		if err := s.fail(rng); err != nil {
			return nil, err
		}
	}
	if s.ignore {
		rng = registry.Range{}
	}
	offset, length, err := rng.Resolve(s.content.Size)
	if err != nil {
		return nil, err
	}
	said := s.size
	if said == 0 {
		said = s.content.Size
	}
	return &registry.Blob{
		Descriptor: oci.Descriptor{Digest: s.content.Digest, Size: said}, Offset: offset, Length: length,
		Body: &sourceBody{s: s, ctx: ctx, r: io.LimitReader(s.content.Reader(offset), length), at: offset, length: length, stopAt: s.stopAt, cutAt: s.cutAt},
	}, nil
}

type sourceBody struct {
	s             *source
	ctx           context.Context
	r             io.Reader
	at, n, length int64
	stopAt, cutAt int64
}

func (b *sourceBody) Read(p []byte) (int, error) {
	if b.s.delay > 0 {
		select {
		case <-time.After(b.s.delay):
		case <-b.ctx.Done():
		}
	}
	if b.stopAt > 0 && b.at >= b.stopAt {
		<-b.ctx.Done()
	}
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	if b.cutAt > 0 && b.n >= b.cutAt && b.n < b.length {
		if b.s.short {
			return 0, io.EOF
		}
		return 0, io.ErrUnexpectedEOF
	}
	piece := b.s.piece
	if piece == 0 {
		piece = 64 << 10
	}
	p = p[:min(len(p), piece)]
	if b.cutAt > 0 {
		p = p[:min(int64(len(p)), max(b.cutAt-b.n, 1))]
	}
	if b.stopAt > 0 {
		p = p[:min(int64(len(p)), max(b.stopAt-b.at, 1))]
	}
	n, err := b.r.Read(p)
	if f := b.s.flipAt; f > b.at && f <= b.at+int64(n) {
		p[f-b.at-1] ^= 0xff
	}
	b.at += int64(n)
	b.n += int64(n)
	b.s.sent.Add(int64(n))
	return n, err
}

func (b *sourceBody) Close() error { return nil }

// bench is an engine over folders that outlive it.
type bench struct {
	t      *testing.T
	blobs  *bytesOnly
	spools string
	passed passCount
	engine *cache.Fills
}

type passCount struct {
	cache.Metrics
	mu      sync.Mutex
	reasons map[string]int
	results map[string]int
}

func (p *passCount) Passed(_, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reasons[reason]++
}
func (p *passCount) FillStarted(string) {}
func (p *passCount) FillEnded(_, result string, _ int64, _ int, _ time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results[result]++
}
func (p *passCount) Answered(string, string, string) {}
func (p *passCount) Checked(string, string)          {}

func (p *passCount) get(m map[string]int, k string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return m[k]
}

func newBench(t *testing.T, change ...func(*cache.FillOptions)) *bench {
	t.Helper()
	b := &bench{t: t, blobs: newBytes(t, t.TempDir()), spools: t.TempDir()}
	b.passed.reasons, b.passed.results = map[string]int{}, map[string]int{}
	b.engine = b.start(change...)
	return b
}

// start makes another engine over the same folders, as the next process would.
func (b *bench) start(change ...func(*cache.FillOptions)) *cache.Fills {
	b.t.Helper()
	o := cache.FillOptions{Store: b.blobs, SpoolDir: b.spools, Log: slog.New(slog.DiscardHandler), Metrics: &b.passed}
	for _, f := range change {
		f(&o)
	}
	e, err := cache.NewFills(o)
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func (b *bench) close() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := b.engine.Close(ctx); err != nil {
		b.t.Error(err)
	}
}

func fillOf(s *source) cache.Fill {
	return cache.Fill{
		Identity: cache.Identity{Group: 1, Upstream: 2, Repository: "library/alpine", Path: string(s.content.Digest)},
		Name:     "hub", Expect: cache.Expect{Digest: s.content.Digest}, Fetch: s.fetch,
	}
}

// read opens and reads it all; it compares with the content.
func (b *bench) read(s *source, rng registry.Range) (registry.CacheStatus, error) {
	got, status, err := b.engine.Open(b.t.Context(), fillOf(s), rng)
	if err != nil {
		return "", err
	}
	defer func() { _ = got.Body.Close() }()
	offset, length, err := rng.Resolve(s.content.Size)
	if err != nil {
		return status, err
	}
	var body io.Reader = got.Body
	if _, ok := body.(*os.File); ok { // it may go on behind Length, see registry.Blob
		body = io.LimitReader(body, length)
	}
	return status, same(body, s.content.Reader(offset), length)
}

// same reads got to its end and compares it with the next length bytes of want.
func same(got, want io.Reader, length int64) error {
	a, c := make([]byte, 32<<10), make([]byte, 32<<10)
	var at int64
	for {
		n, err := got.Read(a)
		if at += int64(n); at > length {
			return fmt.Errorf("%d bytes too many", at-length)
		}
		if _, err := io.ReadFull(want, c[:n]); err != nil {
			return err
		}
		if !bytes.Equal(a[:n], c[:n]) {
			return fmt.Errorf("other bytes before %d", at)
		}
		if err == io.EOF {
			if at != length {
				return fmt.Errorf("%d of %d bytes", at, length)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", at, err)
		}
	}
}

func (b *bench) wantStored(s *source) {
	b.t.Helper()
	if got, ok := b.blobs.get(s.content.Digest); !ok || got.Size != s.content.Size {
		b.t.Errorf("the store has %+v, %v", got, ok)
	}
}

func (b *bench) wantNothing(s *source) {
	b.t.Helper()
	if _, ok := b.blobs.get(s.content.Digest); ok {
		b.t.Error("wrong content is in the store")
	}
	for info, err := range b.blobs.Stages(b.t.Context()) {
		b.t.Errorf("a stage is left: %v %v", info, err)
	}
}

package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// remote is a registry in memory that can be made to fail or hang, and that counts.
type remote struct {
	*registrytest.Memory

	mu    sync.Mutex
	fail  error         // of everything
	gate  chan struct{} // everything waits until it is closed
	calls map[string]int
}

func (r *remote) set(fail error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
}

// hang makes everything wait until the returned function is called.
func (r *remote) hang() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gate := make(chan struct{})
	r.gate = gate
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.gate = nil
		close(gate)
	})
}

func (r *remote) enter(ctx context.Context, call string) error {
	r.mu.Lock()
	r.calls[call]++
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fail
}

// count returns how often a call was made since the last count of it.
func (r *remote) count(call string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.calls[call]
	r.calls[call] = 0
	return n
}

// total is how often anything was called since the last count.
func (r *remote) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for call, calls := range r.calls {
		n += calls
		r.calls[call] = 0
	}
	return n
}

func (r *remote) Manifest(ctx context.Context, repository string, ref oci.Reference) (*registry.Manifest, error) {
	if err := r.enter(ctx, "GET manifest"); err != nil {
		return nil, err
	}
	return r.Memory.Manifest(ctx, repository, ref)
}

func (r *remote) StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	if err := r.enter(ctx, "HEAD manifest"); err != nil {
		return oci.Descriptor{}, err
	}
	return r.Memory.StatManifest(ctx, repository, ref)
}

func (r *remote) Blob(ctx context.Context, repository string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	if err := r.enter(ctx, "GET blob"); err != nil {
		return nil, err
	}
	return r.Memory.Blob(ctx, repository, digest, rng)
}

func (r *remote) StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error) {
	if err := r.enter(ctx, "HEAD blob"); err != nil {
		return oci.Descriptor{}, err
	}
	return r.Memory.StatBlob(ctx, repository, digest)
}

func (r *remote) Tags(ctx context.Context, repository string, page registry.Page) (*registry.TagList, error) {
	if err := r.enter(ctx, "GET tags"); err != nil {
		return nil, err
	}
	return r.Memory.Tags(ctx, repository, page)
}

func (r *remote) Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	if err := r.enter(ctx, "GET referrers"); err != nil {
		return nil, err
	}
	return r.Memory.Referrers(ctx, repository, digest, artifactType)
}

// world is a cache over a real store and a remote, with a clock that stands still until it is moved.
type world struct {
	*cache.Registry
	t      *testing.T
	remote *remote
	store  *store.Store
	group  int64
	fills  *cache.Fills

	mu  sync.Mutex
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// shared is one store for all tests of the process: each uses a group of its own.
var shared struct {
	store  *store.Store
	db     *meta.DB
	blobs  *fs.Store
	groups atomic.Int64
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-cache-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := meta.Open(context.Background(), meta.Options{Path: filepath.Join(dir, "weir.db")})
	if err != nil {
		panic(err)
	}
	blobs, err := fs.New(filepath.Join(dir, "blobs"))
	if err != nil {
		panic(err)
	}
	shared.db, shared.blobs, shared.store = db, blobs, store.New(db, blobs, store.Options{})
	code := m.Run()
	if err := errors.Join(shared.store.Close(), db.Close(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func newGroup(t *testing.T) int64 {
	t.Helper()
	id := shared.groups.Add(1)
	err := shared.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return tx.InsertGroup(ctx, query.InsertGroupParams{ID: id, Name: fmt.Sprintf("group%d", id), Enabled: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newEngine(t *testing.T, s *store.Store, now func() time.Time) *cache.Fills {
	t.Helper()
	fills, err := cache.NewFills(cache.FillOptions{Store: s, SpoolDir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := fills.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return fills
}

func newWorld(t *testing.T, change ...func(*cache.Options)) *world {
	t.Helper()
	w := &world{t: t, remote: &remote{Memory: registrytest.NewMemory(), calls: map[string]int{}}, now: time.Unix(1_800_000_000, 0)}
	w.store, w.group = shared.store, newGroup(t)
	w.fills = newEngine(t, w.store, w.clock)
	w.Registry = w.build(change...)
	return w
}

// build makes another cache of the same upstream, as a change of configuration would.
func (w *world) build(change ...func(*cache.Options)) *cache.Registry {
	w.t.Helper()
	fresh, err := cache.ParseFreshness(meta.Freshness{Default: "1h", Classes: []meta.FreshnessClass{
		{Pattern: "*:always", For: "always"}, {Pattern: "*:forever", For: "forever"},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	o := cache.Options{
		GroupID: w.group, UpstreamID: 2, Epoch: 1, Generation: 1, Name: "hub", Freshness: fresh, RevalidateWait: 5 * time.Second,
		Remote: w.remote, Store: w.store, Fills: w.fills, Now: w.clock, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	}
	for _, f := range change {
		f(&o)
	}
	return cache.New(o)
}

// push puts an image into the remote.
func (w *world) push(repository string, seed uint64, tags ...string) registrytest.Image {
	w.t.Helper()
	image := registrytest.RandomImage(seed, 2, 200_000)
	registrytest.Push(w.t, w.remote.Memory, repository, tags, image)
	return image
}

func (w *world) ask(mode virtual.Mode, repository string, ref oci.Reference) virtual.Answer {
	return w.Ask(w.t.Context(), virtual.Query{Kind: virtual.KindManifest, Mode: mode, Repository: repository, Reference: ref})
}

// want checks an answer for a manifest.
func (w *world) want(a virtual.Answer, digest oci.Digest, status registry.CacheStatus) {
	w.t.Helper()
	if a.Outcome != registry.Found || a.Descriptor.Digest != digest || a.Cache != status {
		w.t.Errorf("got %s %s %s (%s %v), want %s %s", a.Outcome, a.Descriptor.Digest, a.Cache, a.Reason, a.Err, digest, status)
	}
	if a.Manifest != nil && oci.DigestOf(oci.SHA256, a.Manifest.Payload) != digest {
		w.t.Error("the payload has another digest")
	}
}

func (w *world) wantCalls(what string, n int) {
	w.t.Helper()
	if got := w.remote.count(what); got != n {
		w.t.Errorf("%d × %s, want %d", got, what, n)
	}
}

func (w *world) wantQuiet() {
	w.t.Helper()
	if n := w.remote.total(); n != 0 {
		w.t.Errorf("the upstream was asked %d times", n)
	}
}

func (w *world) peek(q virtual.Query) virtual.Peek {
	w.t.Helper()
	p, err := w.Peek(w.t.Context(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) admissions(repository string, digest oci.Digest) map[string]bool {
	w.t.Helper()
	out := map[string]bool{}
	for tag, err := range w.Admissions(w.t.Context(), repository, digest) {
		if err != nil {
			w.t.Fatal(err)
		}
		out[tag] = true
	}
	return out
}

package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
)

// Identity names one piece of content at one upstream: clients that ask for the same Identity share one fill.
type Identity struct {
	Group      int64  `json:"group"`
	Upstream   int64  `json:"upstream"`
	Epoch      int64  `json:"epoch"`
	Format     string `json:"format,omitempty"` // of the repository; "container" when empty
	Repository string `json:"repository"`       // the upstream's own name
	Path       string `json:"path"`             // of the content in the repository: a digest for containers
}

func (id Identity) repositoryKey() store.RepositoryKey {
	return store.RepositoryKey{GroupID: id.Group, UpstreamID: id.Upstream, Epoch: id.Epoch, Name: id.Repository, Format: id.Format}
}

// Expect is what is known of content before it arrives. Bytes that differ are wrong: they are not kept, and no client gets
// their end. With nothing expected any bytes are right.
type Expect struct {
	Digest oci.Digest `json:"digest,omitempty"`
	SHA1   string     `json:"sha1,omitempty"` // lower-case hexadecimal
	MD5    string     `json:"md5,omitempty"`  // lower-case hexadecimal
	Size   int64      `json:"size,omitempty"` // bytes; 0 = not known
}

// Fetch asks the upstream for the part of the content that rng selects. The Blob it returns says where its Body really
// begins (an upstream may ignore a range) and, if the upstream said so, how long the whole is.
type Fetch func(ctx context.Context, rng registry.Range) (*registry.Blob, error)

// Fill describes one transfer of one piece of content from an upstream into the store.
type Fill struct {
	Identity
	Name   string // of the upstream, for logs and metrics
	Expect Expect
	Fetch  Fetch

	// Cached, if set, looks the content up in the store once more before the upstream is asked: another fill may have
	// ended since the caller looked.
	Cached func(ctx context.Context) (store.Blob, bool)
}

// FillStore is what the fill engine needs of *store.Store.
type FillStore interface {
	Stage(ctx context.Context) (blob.Stage, error)
	ResumeStage(ctx context.Context, id string, state []byte) (blob.Stage, error)
	CommitBlob(ctx context.Context, key store.RepositoryKey, stage blob.Stage, digest oci.Digest) (store.Blob, error)
	OpenBlob(ctx context.Context, b store.Blob, offset, length int64) (blob.Content, error)
}

// FillOptions configures NewFills. Zero values mean the defaults given.
type FillOptions struct {
	Store    FillStore
	SpoolDir string // replica-local folder for what a fill must remember over a restart; made if it does not exist
	Log      *slog.Logger
	Metrics  Metrics          // nil = none
	Now      func() time.Time // nil = time.Now

	PerGroup     int           // fills at once for each group; 64
	PerUpstream  int           // … for each upstream; 32
	PerPrincipal int           // … for each principal; 32
	Passes       int           // responses passing through uncached at once; 64
	QueueWait    time.Duration // how long excess waits before it is refused; 30s
	Idle         time.Duration // without a byte from the upstream before the read is taken up anew; 2m, above any remote's own limit
	Retries      int           // reads taken up anew without a single byte of progress between them; 6
	SaveBytes    int64         // a spool's progress is saved at least this often; 8 MiB
	Resumes      int           // fills continued at once after a start; 4

	// Space tells how many bytes are free for new objects, or -1; below Floor (256 MiB) content passes through uncached.
	Space func(ctx context.Context) (int64, error)
	Floor int64
	// Admit tells whether the group's byte budget can take size more bytes (-1 = not known yet). nil = always.
	Admit func(ctx context.Context, group, size int64) bool
}

func (o *FillOptions) setDefaults() {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.PerGroup, 64)
	def(&o.PerUpstream, 32)
	def(&o.PerPrincipal, 32)
	def(&o.Passes, 64)
	def(&o.Retries, 6)
	def(&o.Resumes, 4)
	if o.QueueWait <= 0 {
		o.QueueWait = 30 * time.Second
	}
	if o.Idle <= 0 {
		o.Idle = 2 * time.Minute
	}
	if o.SaveBytes <= 0 {
		o.SaveBytes = 8 << 20
	}
	if o.Floor <= 0 {
		o.Floor = 256 << 20
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Limits of the engine's memory and patience.
const (
	wrongFor     = time.Minute     // (upstream, content) is unknown after it sent wrong bytes
	fullFor      = 5 * time.Second // no fill is begun after the device was found full
	remembered   = 1 << 16         // entries in each memory of answers
	farAhead     = 32 << 20        // a range that begins further ahead of the spool passes through
	heldBack     = 64 << 10        // bytes of a whole response withheld until the content is verified
	saveInterval = time.Second
	saveAtLeast  = 256 << 10 // bytes worth a flush of the device
)

// Fills is the engine that all cache registries share: it owns every transfer and every check that outlives the request
// that began it, and remembers for a while what upstreams refused.
type Fills struct {
	options FillOptions
	ctx     context.Context // ends when Close stops waiting
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	transfers map[Identity]*transfer

	slots     *slots
	passes    chan struct{}
	buffers   sync.Pool    // of *[]byte, for transfers
	fullUntil atomic.Int64 // Unix nanoseconds

	wrong     *expiring[Identity, string]
	refusals  *expiring[refusalKey, refusal]
	failures  *expiring[flightKey, failure]
	slow      *expiring[flightKey, struct{}]  // upstreams alone
	heard     *expiring[flightKey, time.Time] // upstreams alone: when they last answered
	manifests flights[manifestResult]
	heads     flights[headResult]
	lists     flights[listResult]
}

// NewFills makes the engine. It begins no transfers by itself: see Resume.
func NewFills(o FillOptions) (*Fills, error) {
	o.setDefaults()
	if err := os.MkdirAll(o.SpoolDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool folder: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Fills{
		options: o, ctx: ctx, cancel: cancel,
		transfers: map[Identity]*transfer{},
		slots:     newSlots(), passes: make(chan struct{}, o.Passes),
		wrong:    newExpiring[Identity, string](remembered),
		refusals: newExpiring[refusalKey, refusal](remembered),
		failures: newExpiring[flightKey, failure](remembered), heard: newExpiring[flightKey, time.Time](remembered),
		slow: newExpiring[flightKey, struct{}](remembered),
	}, nil
}

var errClosing = &registry.OutcomeError{Outcome: registry.Unknown, Reason: "the server is shutting down"}

// Open returns what rng selects of the content that fill describes: from the fill under way, from a new one, or uncached.
// It returns as soon as the upstream has answered. The caller closes Body; reading it fails if the bytes turn out wrong.
func (e *Fills) Open(ctx context.Context, fill Fill, rng registry.Range) (*registry.Blob, registry.CacheStatus, error) {
	if err := e.knownWrong(fill.Identity); err != nil {
		return nil, "", err
	}
	if _, live := e.flowing(fill.Identity); !live && e.options.Now().UnixNano() < e.fullUntil.Load() {
		return e.pass(ctx, fill, rng, passFull)
	}
	t, view, status, err := e.attach(ctx, fill, rng)
	if status == registry.CacheJoined && view.phase == failed && errors.Is(view.err, errQueue) {
		t, view, status, err = e.attach(ctx, fill, rng) // it waited for a turn of somebody else, who has too many
	}
	if err != nil {
		return nil, "", err
	}
	switch view.phase {
	case failed:
		return nil, "", view.err
	case detached:
		return e.pass(ctx, fill, rng, view.reason)
	case stored:
		b, err := e.openStored(ctx, view.blob, rng)
		return b, status, err
	}
	return e.follow(ctx, t, view, rng, status)
}

// attach joins the transfer of the content, or begins it, and waits for the upstream's answer.
func (e *Fills) attach(ctx context.Context, fill Fill, rng registry.Range) (*transfer, view, registry.CacheStatus, error) {
	t, leader, err := e.join(ctx, fill)
	if err != nil {
		return nil, view{}, "", err
	}
	status := registry.CacheJoined
	if leader {
		status = registry.CacheMiss
	}
	v, err := t.attach(ctx, !rng.IsZero())
	return t, v, status, err
}

// knownWrong reports content of which the upstream sent wrong bytes a moment ago.
func (e *Fills) knownWrong(id Identity) error {
	now := e.options.Now()
	if why, left := e.wrong.left(id, now); left > 0 {
		return &registry.OutcomeError{Outcome: registry.Unknown, Reason: why, At: now.Add(left - wrongFor), RetryAfter: left}
	}
	return nil
}

// join returns the transfer of the content, begun for this caller (leader) or before.
func (e *Fills) join(ctx context.Context, fill Fill) (t *transfer, leader bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := e.transfers[fill.Identity]; ok {
		return t, false, nil
	}
	if e.closed {
		return nil, false, errClosing
	}
	t = newTransfer(e, fill, registry.CallerFrom(ctx))
	e.transfers[fill.Identity] = t
	e.spawnLocked(ctx, t.run)
	return t, true, nil
}

// flowing returns the size of content that is being transferred right now, -1 if the upstream has not told it.
func (e *Fills) flowing(id Identity) (size int64, ok bool) {
	e.mu.Lock()
	t := e.transfers[id]
	e.mu.Unlock()
	if t == nil {
		return 0, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total, t.phase == flowing
}

// coming is how many bytes the transfers under way have still to write: the space for them is free, but not to be had.
func (e *Fills) coming() (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.transfers {
		n += t.left()
	}
	return n
}

// forget takes t out of the transfers that clients can join.
func (e *Fills) forget(t *transfer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.transfers[t.fill.Identity] == t {
		delete(e.transfers, t.fill.Identity)
	}
}

// openStored serves content from the store.
func (e *Fills) openStored(ctx context.Context, b store.Blob, rng registry.Range) (*registry.Blob, error) {
	offset, length, err := rng.Resolve(b.Size)
	if err != nil {
		return nil, err
	}
	content, err := e.options.Store.OpenBlob(ctx, b, offset, length)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", b.Digest, err)
	}
	return &registry.Blob{
		Descriptor: oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: b.Digest, Size: b.Size},
		Offset:     offset, Length: length, Body: content.Body, Location: content.Location,
	}, nil
}

// spawn runs f in a goroutine that Close waits for; false when the engine is closed. f's context carries the values of
// ctx, but ends only when Close stops waiting.
func (e *Fills) spawn(ctx context.Context, f func(context.Context)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.spawnLocked(ctx, f)
	return true
}

func (e *Fills) spawnLocked(ctx context.Context, f func(context.Context)) {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(e.ctx, func() { cancel(errClosing) })
	e.running.Go(func() {
		defer cancel(nil)
		defer stop()
		f(own)
	})
}

// Close begins nothing any more and waits for what is under way. A little before ctx ends it saves unfinished transfers
// instead, for the next start to continue. It returns when no goroutine of the engine is left.
func (e *Fills) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	done := make(chan struct{})
	go func() {
		e.running.Wait()
		close(done)
	}()
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		left := time.Until(deadline)
		ctx, cancel = context.WithTimeout(ctx, left-min(left/5, 2*time.Second))
		defer cancel()
	}
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	e.cancel()
	<-done
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // saved in time: nothing is lost
	}
	return err
}

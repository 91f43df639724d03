package cache

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
)

// Store is what a cache needs of *store.Store.
type Store interface {
	RepositoryID(ctx context.Context, key store.RepositoryKey) (int64, error)
	Tag(ctx context.Context, repository int64, name string) (store.Tag, error)
	Manifest(ctx context.Context, repository int64, digest oci.Digest) (store.Manifest, error)
	Blob(ctx context.Context, repository int64, digest oci.Digest) (store.Blob, error)
	KnownBlob(ctx context.Context, group int64, digest oci.Digest) (store.Blob, error)
	OpenBlob(ctx context.Context, b store.Blob, offset, length int64) (blob.Content, error)
	Reference(ctx context.Context, repository int64, digest oci.Digest) (oci.Descriptor, error)
	Admissions(ctx context.Context, repository int64, digest oci.Digest) iter.Seq2[string, error]
	List(ctx context.Context, repository int64, kind string, subject oci.Digest) ([]byte, time.Time, error)

	PutManifest(ctx context.Context, p store.PutManifest) (int64, error)
	ConfirmTag(ctx context.Context, repository int64, name string, digest oci.Digest, at time.Time) error
	Admit(ctx context.Context, key store.RepositoryKey, digest oci.Digest, via store.Via, tag string) error
	LinkBlob(ctx context.Context, key store.RepositoryKey, digest oci.Digest) (store.Blob, error)
	PutList(ctx context.Context, l store.List) error
	DeleteTag(ctx context.Context, repository int64, name string) error
	Pulled(repository int64, digest oci.Digest)
	Wanted(repository int64, digest oci.Digest)
}

var (
	_ Store           = (*store.Store)(nil)
	_ FillStore       = (*store.Store)(nil)
	_ virtual.Member  = (*Registry)(nil)
	_ registry.Reader = (*Registry)(nil)
)

// Options configures New.
type Options struct {
	GroupID    int64
	UpstreamID int64
	Epoch      int64
	Generation int64  // of the group: an answer remembered under another one does not count
	Name       string // "<group>/<upstream>", for logs and metrics
	Format     string // of its repositories; "container" when empty

	Freshness      Freshness
	StaleBefore    time.Time     // references confirmed earlier are stale, whatever their freshness
	RefuseDeleted  bool          // on_upstream_delete: refuse
	RevalidateWait time.Duration // how long a request waits for a check before it is served stale; 400 ms
	NegativeFor    time.Duration // how long absent and denied are remembered; 30 s

	Remote registry.Registry // package upstream, or any other kind

	Store   Store
	Fills   *Fills           // shared by all caches of the process
	Now     func() time.Time // nil = time.Now
	Log     *slog.Logger
	Metrics Metrics // nil = none
}

// Registry is the pull-through cache of one upstream.
type Registry struct {
	registry.Unimplemented
	Options
}

// New builds the cache of one upstream. It holds no state of its own: build another one when the configuration changes.
func New(o Options) *Registry {
	if o.RevalidateWait <= 0 {
		o.RevalidateWait = 400 * time.Millisecond
	}
	if o.NegativeFor <= 0 {
		o.NegativeFor = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("upstream", o.Name)
	return &Registry{Options: o}
}

func (r *Registry) key(repository string) store.RepositoryKey {
	return store.RepositoryKey{GroupID: r.GroupID, UpstreamID: r.UpstreamID, Epoch: r.Epoch, Name: repository, Format: r.Format}
}

// repository returns the id of a cached repository; false when nothing of it is here.
func (r *Registry) repository(ctx context.Context, name string) (int64, bool, error) {
	return found(r.Store.RepositoryID(ctx, r.key(name)))
}

// found turns store.ErrNotFound into false.
func found[T any](v T, err error) (T, bool, error) {
	if errors.Is(err, store.ErrNotFound) {
		var none T
		return none, false, nil
	}
	return v, err == nil, err
}

func (r *Registry) flight(repository, what string) flightKey {
	return flightKey{r.UpstreamID, r.Epoch, repository, what}
}

// refused returns the upstream's refusal of a moment ago.
func (r *Registry) refused(key flightKey) (refusal, bool) {
	return r.Fills.refusals.get(refusalKey{key, r.Generation}, r.Now())
}

// refuse remembers an absent or denied answer.
func (r *Registry) refuse(key flightKey, o *registry.OutcomeError) {
	if o.Outcome == registry.Absent || o.Outcome == registry.Denied {
		now := r.Now()
		r.Fills.refusals.put(refusalKey{key, r.Generation}, refusal{o.Outcome, o.Status, o.Reason}, now, now.Add(r.NegativeFor))
	}
}

func (r *Registry) forgetRefusal(key flightKey) {
	r.Fills.refusals.drop(refusalKey{key, r.Generation})
}

func (f refusal) answer() virtual.Answer {
	return virtual.Answer{
		Outcome: f.outcome, Status: f.status, Reason: f.reason + " (remembered)",
		Err: &registry.OutcomeError{Outcome: f.outcome, Status: f.status, Reason: f.reason},
	}
}

// Manifest implements registry.Reader.
func (r *Registry) Manifest(ctx context.Context, repository string, ref oci.Reference) (*registry.Manifest, error) {
	a, err := r.ask(ctx, virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: repository, Reference: ref})
	return a.Manifest, err
}

// StatManifest implements registry.Reader.
func (r *Registry) StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	a, err := r.ask(ctx, virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeHead, Repository: repository, Reference: ref})
	return a.Descriptor, err
}

// Blob implements registry.Reader.
func (r *Registry) Blob(ctx context.Context, repository string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	a, err := r.ask(ctx, virtual.Query{Kind: virtual.KindBlob, Mode: virtual.ModeGet, Repository: repository, Reference: oci.ByDigest(digest), Range: rng})
	return a.Blob, err
}

// StatBlob implements registry.Reader.
func (r *Registry) StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error) {
	a, err := r.ask(ctx, virtual.Query{Kind: virtual.KindBlob, Mode: virtual.ModeHead, Repository: repository, Reference: oci.ByDigest(digest)})
	return a.Descriptor, err
}

// Tags implements registry.Lister.
func (r *Registry) Tags(ctx context.Context, repository string, page registry.Page) (*registry.TagList, error) {
	a, err := r.ask(ctx, virtual.Query{Kind: virtual.KindTags, Mode: virtual.ModeGet, Repository: repository, Page: page})
	return a.Tags, err
}

// Referrers implements registry.Lister.
func (r *Registry) Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	a, err := r.ask(ctx, virtual.Query{Kind: virtual.KindReferrers, Mode: virtual.ModeGet, Repository: repository, Reference: oci.ByDigest(digest), ArtifactType: artifactType})
	return a.Referrers, err
}

// ask is Ask for those who use the cache as a Registry, without a virtual registry above it: it fills the trace in.
func (r *Registry) ask(ctx context.Context, q virtual.Query) (virtual.Answer, error) {
	a := r.Ask(ctx, q)
	if a.Outcome == registry.Found {
		registry.TraceFrom(ctx).Update(func(v *registry.TraceValues) { v.Member, v.Cache, v.Age = r.Name, a.Cache, a.Age })
		return a, nil
	}
	if a.Err != nil {
		return a, a.Err
	}
	return a, &registry.OutcomeError{Outcome: a.Outcome, Status: a.Status, Reason: a.Reason, At: a.At, Limited: a.Limited, RetryAfter: a.RetryAfter}
}

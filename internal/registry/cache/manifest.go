package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
)

// held is a manifest the store has, with the tag it was found by.
type held struct {
	repository int64
	tag        store.Tag // zero when asked by digest
	manifest   store.Manifest
}

// manifestResult is what an upstream said about a manifest.
type manifestResult struct {
	err      *registry.OutcomeError // nil: the upstream has it
	manifest store.Manifest
	cache    registry.CacheStatus // revalidated, miss or pass
	id       int64                // of the repository; 0 if nothing was kept
}

// headResult is what an upstream said to a HEAD.
type headResult struct {
	err        *registry.OutcomeError
	descriptor oci.Descriptor
}

// askManifest answers for a manifest by tag or digest.
func (r *Registry) askManifest(ctx context.Context, q virtual.Query) virtual.Answer {
	h, ok, err := r.heldManifest(ctx, q)
	if err != nil {
		return virtual.Failed(err)
	}
	if !ok {
		return r.coldManifest(ctx, q)
	}
	if q.Reference.IsDigest() {
		return r.serve(q, h, registry.CacheHit, 0)
	}
	old, _, fresh := r.age(h.tag.CheckedAt, r.Freshness.tag(q.Repository, h.tag.Name))
	if fresh && !q.Refresh {
		return r.serve(q, h, registry.CacheHit, old)
	}
	if q.Mode == virtual.ModeProbe {
		return r.probeStale(ctx, q, h, old)
	}
	return r.revalidate(ctx, q, h, old)
}

// heldManifest looks the manifest up in the store.
func (r *Registry) heldManifest(ctx context.Context, q virtual.Query) (held, bool, error) {
	var h held
	id, ok, err := r.repository(ctx, q.Repository)
	if !ok {
		return h, false, err
	}
	h.repository = id
	digest := q.Reference.Digest
	if !q.Reference.IsDigest() {
		if h.tag, ok, err = found(r.Store.Tag(ctx, id, q.Reference.Tag)); !ok {
			return h, false, err
		}
		digest = h.tag.Digest
	}
	h.manifest, ok, err = found(r.Store.Manifest(ctx, id, digest))
	return h, ok, err
}

// serve answers from the store.
func (r *Registry) serve(q virtual.Query, h held, status registry.CacheStatus, old time.Duration) virtual.Answer {
	m := h.manifest
	a := virtual.Answer{
		Outcome: registry.Found, Cache: status, Age: old,
		Descriptor: oci.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Payload))},
	}
	if q.Mode == virtual.ModeGet {
		a.Manifest = &registry.Manifest{Descriptor: a.Descriptor, Payload: m.Payload}
	}
	switch {
	case h.repository == 0, q.Refresh: // who has it confirmed does not use it
	case q.Mode == virtual.ModeGet:
		r.Store.Pulled(h.repository, m.Digest)
	case q.Mode == virtual.ModeHead:
		r.Store.Wanted(h.repository, m.Digest)
	}
	return a
}

// stale answers from the store although the upstream could not confirm it.
func (r *Registry) stale(q virtual.Query, h held, old time.Duration, why *registry.OutcomeError) virtual.Answer {
	a := r.serve(q, h, registry.CacheStale, old)
	explain(&a, why)
	return a
}

// explain notes why an answer is stale.
func explain(a *virtual.Answer, why *registry.OutcomeError) {
	a.Status, a.Reason, a.At, a.Limited, a.RetryAfter = why.Status, why.Reason, why.At, why.Limited, why.RetryAfter
}

var errStillAsking = &registry.OutcomeError{Outcome: registry.Unknown, Reason: "the upstream has not answered yet"}

// revalidate checks a stale tag with its upstream, waiting only so long.
func (r *Registry) revalidate(ctx context.Context, q virtual.Query, h held, old time.Duration) virtual.Answer {
	key := r.flight(q.Repository, what(q))
	if why, resting := r.resting(key); resting && !q.Refresh {
		return r.stale(q, h, old, why)
	}
	fl := r.Fills.manifests.start(ctx, r.Fills, key, func(ctx context.Context) manifestResult {
		return r.check(checking(ctx, q), q.Repository, h, key)
	})
	res, ok := fl.wait(ctx, r.patience(q))
	switch {
	case !ok:
		r.slow(ctx)
		return r.stale(q, h, old, errStillAsking)
	case res.err == nil:
		return r.serve(q, held{repository: res.id, manifest: res.manifest}, res.cache, 0)
	case res.err.Outcome == registry.Absent && r.RefuseDeleted:
		return virtual.Failed(res.err)
	}
	return r.stale(q, h, old, res.err)
}

// patience is how long a request waits for a check: as long as it takes when the upstream is to be asked each time.
func (r *Registry) patience(q virtual.Query) time.Duration {
	if q.Refresh || q.Kind == virtual.KindManifest && r.Freshness.tag(q.Repository, q.Reference.Tag) == 0 {
		return 0
	}
	return r.checkWait()
}

// check asks the upstream whether the tag still names the manifest held, and fetches what it names now if it does not.
func (r *Registry) check(ctx context.Context, repository string, h held, key flightKey) manifestResult {
	res := r.checkTag(ctx, repository, h)
	r.unanswered(virtual.KindManifest, repository, h.tag.Name, res.err)
	result := "confirmed"
	switch {
	case res.err == nil:
		r.Fills.failures.drop(key)
		if res.cache != registry.CacheRevalidated {
			result = "moved"
		}
	case res.err.Outcome == registry.Absent && r.RefuseDeleted:
		r.refuse(key, res.err)
		if err := r.Store.DeleteTag(ctx, h.repository, h.tag.Name); err != nil && !errors.Is(err, store.ErrNotFound) {
			r.Log.Warn("a tag deleted upstream stays", "repository", repository, "tag", h.tag.Name, "error", err)
		}
		result = res.err.Outcome.String()
	default:
		r.Fills.failedCheck(key, res.err)
		result = res.err.Outcome.String()
	}
	r.Metrics.Checked(r.Name, result)
	return res
}

func (r *Registry) checkTag(ctx context.Context, repository string, h held) manifestResult {
	asked, began := r.Now(), time.Now()
	d, err := r.statManifest(ctx, repository, oci.ByTag(h.tag.Name))
	if time.Since(began) < r.RevalidateWait {
		r.quick()
	}
	if err != nil {
		return manifestResult{err: registry.AsOutcome(err)}
	}
	if d.Digest == h.tag.Digest {
		if err := r.Store.ConfirmTag(ctx, h.repository, h.tag.Name, d.Digest, asked); err != nil {
			r.Log.Warn("a confirmed tag stays stale", "repository", repository, "tag", h.tag.Name, "error", err)
		}
		return manifestResult{manifest: h.manifest, cache: registry.CacheRevalidated, id: h.repository}
	}
	if m, ok, _ := found(r.Store.Manifest(ctx, h.repository, d.Digest)); ok {
		return r.keep(ctx, repository, oci.ByTag(h.tag.Name), m, "", asked)
	}
	ref := oci.ByDigest(d.Digest)
	if d.Digest == "" { // an upstream whose HEAD names no digest
		ref = oci.ByTag(h.tag.Name)
	}
	m, err := r.fetchManifest(ctx, repository, ref)
	if err != nil {
		o := *registry.AsOutcome(err)
		if o.Outcome == registry.Absent { // it had it a moment ago: this is no word on the tag
			o.Outcome, o.Reason = registry.Unknown, "the tag's manifest cannot be fetched"
		}
		return manifestResult{err: &o}
	}
	return r.keep(ctx, repository, oci.ByTag(h.tag.Name), m, "", asked)
}

// coldManifest asks the upstream for what the store does not have.
func (r *Registry) coldManifest(ctx context.Context, q virtual.Query) virtual.Answer {
	key := r.flight(q.Repository, what(q))
	if f, ok := r.refused(key); ok && !q.Refresh {
		return f.answer()
	}
	if err := r.knownWrong(q); err != nil {
		return virtual.Failed(err)
	}
	if q.Mode != virtual.ModeGet {
		return r.headManifest(ctx, q, key)
	}
	fl := r.Fills.manifests.start(ctx, r.Fills, r.flight(q.Repository, "get "+what(q)), func(ctx context.Context) manifestResult {
		return r.pull(ctx, q, key)
	})
	res, ok := fl.wait(ctx, 0)
	switch {
	case !ok:
		return virtual.Failed(context.Cause(ctx))
	case res.err != nil:
		return virtual.Failed(res.err)
	}
	return r.serve(q, held{repository: res.id, manifest: res.manifest}, res.cache, 0)
}

// pull fetches a manifest and keeps it.
func (r *Registry) pull(ctx context.Context, q virtual.Query, key flightKey) manifestResult {
	if h, ok, _ := r.heldManifest(ctx, q); ok { // another pull ended since the caller looked
		return manifestResult{manifest: h.manifest, cache: registry.CacheJoined, id: h.repository}
	}
	asked := r.Now()
	m, err := r.fetchManifest(ctx, q.Repository, q.Reference)
	if err != nil {
		o := registry.AsOutcome(err)
		r.unanswered(q.Kind, q.Repository, q.Reference.String(), o)
		r.refuse(key, o)
		return manifestResult{err: o}
	}
	r.forgetRefusal(key)
	via := store.Via("")
	if q.Reference.IsDigest() {
		if known, err := r.admitted(ctx, q.Repository, m.Digest); err == nil && !known {
			via = store.ViaDigest
		}
	}
	return r.keep(ctx, q.Repository, q.Reference, m, via, asked)
}

// keep stores a verified manifest, with its tag if ref is one, as of when the upstream was asked. When the store cannot, the
// manifest passes through.
func (r *Registry) keep(ctx context.Context, repository string, ref oci.Reference, m store.Manifest, via store.Via, asked time.Time) manifestResult {
	res := manifestResult{manifest: m, cache: registry.CacheMiss}
	parsed, err := oci.ParseManifest("", m.Payload)
	if err == nil {
		put := store.PutManifest{
			Repository: r.key(repository), Digest: m.Digest, MediaType: m.MediaType, Payload: m.Payload, Manifest: parsed,
			Via: via, CheckedAt: asked,
		}
		if ref.Tag != "" {
			put.Tags = []string{ref.Tag}
		}
		res.id, err = r.Store.PutManifest(ctx, put)
	}
	if err != nil {
		r.Log.Warn("a manifest passes through uncached", "repository", repository, "reference", ref.String(), "error", err)
		r.Metrics.Passed(r.Name, passStore)
		res.cache = registry.CachePass
	}
	return res
}

// fetchManifest gets a manifest from the upstream and verifies it.
func (r *Registry) fetchManifest(ctx context.Context, repository string, ref oci.Reference) (store.Manifest, error) {
	m, err := r.Remote.Manifest(ctx, repository, ref)
	r.hear(err)
	if wrong, ok := errors.AsType[*registry.WrongBytesError](err); ok {
		return store.Manifest{}, r.wrongManifest(repository, wrong.Want, registry.AsOutcome(err).Reason)
	}
	if err != nil {
		return store.Manifest{}, err
	}
	want := ref.Digest
	if want == "" {
		want = m.Digest
	}
	alg := oci.SHA256
	if _, err := oci.ParseDigest(string(want)); err == nil {
		alg = want.Algorithm()
	} else {
		want = ""
	}
	got := oci.DigestOf(alg, m.Payload)
	if want != "" && got != want {
		return store.Manifest{}, r.wrongManifest(repository, want, fmt.Sprintf("the upstream sent bytes with digest %s instead of %s", got, want))
	}
	parsed, err := oci.ParseManifest("", m.Payload)
	switch {
	case err == nil && oci.IsSchema1(m.MediaType):
		err = oci.ErrManifestSchema1
		fallthrough
	case err != nil:
		return store.Manifest{}, notKept(err)
	}
	return store.Manifest{Digest: got, MediaType: mediaType(m.MediaType, parsed), Payload: m.Payload, CreatedAt: r.Now()}, nil
}

// notKept is the answer of an upstream that has something else than a manifest of today. The upstream's own text stays out
// of what clients see.
func notKept(err error) error {
	why := oci.ErrManifest
	if errors.Is(err, oci.ErrManifestSchema1) {
		why = oci.ErrManifestSchema1
	}
	return &registry.OutcomeError{Outcome: registry.Unknown, Reason: "what the upstream has cannot be kept: " + why.Error(), Err: err}
}

// mediaType is what the payload says of itself, else what the upstream said, else what it looks like.
func mediaType(said string, m *oci.Manifest) string {
	switch {
	case m.MediaType != "":
		return m.MediaType
	case said != "" && said != oci.MediaTypeOctets && said != "application/json" && said != "text/plain":
		return said
	case m.Config == nil && m.Children != nil:
		return oci.MediaTypeImageIndex
	}
	return oci.MediaTypeImageManifest
}

// wrongManifest remembers that the upstream sent wrong bytes for a digest.
func (r *Registry) wrongManifest(repository string, digest oci.Digest, why string) error {
	now := r.Now()
	r.Fills.wrong.put(r.identity(repository, digest), why, now, now.Add(wrongFor))
	return &registry.OutcomeError{Outcome: registry.Unknown, Reason: why, RetryAfter: wrongFor}
}

func (r *Registry) knownWrong(q virtual.Query) error {
	if !q.Reference.IsDigest() {
		return nil
	}
	return r.Fills.knownWrong(r.identity(q.Repository, q.Reference.Digest))
}

// headManifest answers a cold HEAD or probe by an upstream HEAD. For a tag, a HEAD admits the digest it leads to: containerd
// GETs that next.
func (r *Registry) headManifest(ctx context.Context, q virtual.Query, key flightKey) virtual.Answer {
	res, ok := r.head(ctx, q, 0)
	switch {
	case !ok:
		return virtual.Failed(context.Cause(ctx))
	case res.err != nil:
		if q.Mode == virtual.ModeHead {
			r.refuse(key, res.err)
		}
		return virtual.Failed(res.err)
	}
	if q.Mode == virtual.ModeHead && q.Reference.Tag != "" && res.descriptor.Digest != "" {
		if err := r.Store.Admit(ctx, r.key(q.Repository), res.descriptor.Digest, store.ViaTag, q.Reference.Tag); err != nil {
			r.Log.Warn("a digest stays unadmitted", "repository", q.Repository, "digest", res.descriptor.Digest, "error", err)
		}
	}
	return virtual.Answer{Outcome: registry.Found, Descriptor: res.descriptor, Cache: registry.CachePass, Status: 200}
}

// head asks the upstream with HEAD, once for everybody, and keeps nothing. false when patience (0 = none needed) or ctx ends.
func (r *Registry) head(ctx context.Context, q virtual.Query, patience time.Duration) (headResult, bool) {
	fl := r.Fills.heads.start(ctx, r.Fills, r.flight(q.Repository, "head "+what(q)), func(ctx context.Context) headResult {
		var d oci.Descriptor
		var err error
		if q.Kind == virtual.KindBlob {
			d, err = r.Remote.StatBlob(ctx, q.Repository, q.Reference.Digest)
		} else {
			d, err = r.statManifest(ctx, q.Repository, q.Reference)
		}
		o := registry.AsOutcome(err)
		r.unanswered(q.Kind, q.Repository, q.Reference.String(), o)
		return headResult{o, d}
	})
	return fl.wait(ctx, patience)
}

// statManifest refuses what a GET would have to refuse.
func (r *Registry) statManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	d, err := r.Remote.StatManifest(ctx, repository, ref)
	r.hear(err)
	switch {
	case err != nil:
	case oci.IsSchema1(d.MediaType):
		err = notKept(oci.ErrManifestSchema1)
	case d.Digest != "":
		err = r.Fills.knownWrong(r.identity(repository, d.Digest))
	}
	return d, err
}

// probeStale says what revalidate would answer, without changing anything.
func (r *Registry) probeStale(ctx context.Context, q virtual.Query, h held, old time.Duration) virtual.Answer {
	if why, resting := r.resting(r.flight(q.Repository, what(q))); resting && !q.Refresh {
		return r.stale(q, h, old, why)
	}
	res, ok := r.head(checking(ctx, q), q, r.patience(q))
	switch {
	case !ok:
		return r.stale(q, h, old, errStillAsking)
	case res.err != nil && res.err.Outcome == registry.Absent && r.RefuseDeleted:
		return virtual.Failed(res.err)
	case res.err != nil:
		return r.stale(q, h, old, res.err)
	case res.descriptor.Digest == h.tag.Digest:
		return r.serve(q, h, registry.CacheRevalidated, 0)
	}
	return virtual.Answer{Outcome: registry.Found, Descriptor: res.descriptor, Cache: registry.CachePass, Status: 200}
}

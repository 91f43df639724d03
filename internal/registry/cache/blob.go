package cache

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
)

// askBlob answers for a blob: from the store if this repository holds it, by a link if another cached repository of the group does
// and the upstream has it under this name too, else through a fill.
func (r *Registry) askBlob(ctx context.Context, q virtual.Query) virtual.Answer {
	b, ok, err := r.heldBlob(ctx, q.Repository, q.Reference.Digest)
	if ok {
		a := r.serveBlob(ctx, q, b, registry.CacheHit)
		if !gone(a.Err) {
			return a
		}
		b, ok, err = r.heldBlob(ctx, q.Repository, q.Reference.Digest) // it may have been evicted since
	}
	switch {
	case err != nil:
		return virtual.Failed(err)
	case ok:
		r.Log.Error("a blob's bytes are gone from the blob store; asking the upstream", "digest", b.Digest, "key", b.Key)
		return r.passBlob(ctx, q)
	}
	key := r.flight(q.Repository, what(q))
	if f, ok := r.refused(key); ok && !q.Refresh {
		return f.answer()
	}
	if err := r.knownWrong(q); err != nil {
		return virtual.Failed(err)
	}
	a := r.coldBlob(ctx, q)
	switch {
	case q.Mode == virtual.ModeProbe:
	case a.Outcome == registry.Found:
		r.forgetRefusal(key)
	default:
		r.refuse(key, &registry.OutcomeError{Outcome: a.Outcome, Status: a.Status, Reason: a.Reason})
	}
	return a
}

// gone tells that a blob could not be opened because its bytes are not there.
func gone(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, blob.ErrNotFound)
}

func (r *Registry) heldBlob(ctx context.Context, repository string, digest oci.Digest) (store.Blob, bool, error) {
	id, ok, err := r.repository(ctx, repository)
	if !ok {
		return store.Blob{}, false, err
	}
	return found(r.Store.Blob(ctx, id, digest))
}

// serveBlob answers from the store.
func (r *Registry) serveBlob(ctx context.Context, q virtual.Query, b store.Blob, status registry.CacheStatus) virtual.Answer {
	d := oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: b.Digest, Size: b.Size}
	a := virtual.Answer{Outcome: registry.Found, Cache: status, Descriptor: d}
	if q.Mode != virtual.ModeGet {
		return a
	}
	var err error
	if a.Blob, err = r.Fills.openStored(ctx, b, q.Range); err != nil {
		return virtual.Failed(err)
	}
	return a
}

// coldBlob answers for a blob that is not linked into this repository.
func (r *Registry) coldBlob(ctx context.Context, q virtual.Query) virtual.Answer {
	size, flowing := r.Fills.flowing(r.identity(q.Repository, q.Reference.Digest))
	if flowing && q.Mode == virtual.ModeGet {
		return r.fill(ctx, q)
	}
	if flowing && size >= 0 {
		return virtual.Answer{
			Outcome: registry.Found, Cache: registry.CacheJoined,
			Descriptor: oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: q.Reference.Digest, Size: size},
		}
	}
	known, ok, err := found(r.Store.KnownBlob(ctx, r.GroupID, q.Reference.Digest))
	if err != nil {
		return virtual.Failed(err)
	}
	if !ok && q.Mode == virtual.ModeGet {
		return r.fill(ctx, q)
	}
	res, answered := r.head(ctx, q, 0)
	switch {
	case !answered:
		return virtual.Failed(context.Cause(ctx))
	case res.err != nil && q.Mode == virtual.ModeGet && res.err.Status == 405: // an upstream without HEAD for blobs
		return r.fill(ctx, q)
	case res.err != nil:
		return virtual.Failed(res.err)
	case !ok || q.Mode == virtual.ModeProbe || res.descriptor.Size >= 0 && res.descriptor.Size != known.Size:
		if q.Mode == virtual.ModeGet {
			return r.fill(ctx, q) // the upstream's own bytes decide
		}
		res.descriptor.Digest = q.Reference.Digest
		return virtual.Answer{Outcome: registry.Found, Cache: registry.CachePass, Descriptor: res.descriptor, Status: 200}
	}
	return r.link(ctx, q)
}

// link makes a blob of the group this repository's too, after the upstream has confirmed it under this name: nothing is
// transferred.
func (r *Registry) link(ctx context.Context, q virtual.Query) virtual.Answer {
	b, ok, err := found(r.Store.LinkBlob(ctx, r.key(q.Repository), q.Reference.Digest))
	switch {
	case err != nil:
		return virtual.Failed(err)
	case !ok && q.Mode == virtual.ModeGet: // collected a moment ago
		return r.fill(ctx, q)
	case !ok:
		return virtual.Failed(oci.NewError(oci.CodeBlobUnknown, "the blob has just been collected"))
	}
	if q.Mode == virtual.ModeGet {
		r.admitBlob(ctx, q)
	}
	a := r.serveBlob(ctx, q, b, registry.CacheRevalidated)
	if gone(a.Err) && q.Mode == virtual.ModeGet {
		return r.passBlob(ctx, q)
	}
	return a
}

func (r *Registry) admitBlob(ctx context.Context, q virtual.Query) {
	if err := r.admitDigest(ctx, q.Repository, q.Reference.Digest); err != nil {
		r.Log.Warn("a blob stays unadmitted", "repository", q.Repository, "digest", q.Reference.Digest, "error", err)
	}
}

func (r *Registry) identity(repository string, digest oci.Digest) Identity {
	return Identity{Group: r.GroupID, Upstream: r.UpstreamID, Epoch: r.Epoch, Format: r.Format, Repository: repository, Path: string(digest)}
}

// FillOf describes the fill of content of this upstream, for Fills.Resume. It is false for another upstream or epoch, and for
// content that is not named by a digest.
func (r *Registry) FillOf(id Identity) (Fill, bool) {
	digest, err := oci.ParseDigest(id.Path)
	if err != nil || id != r.identity(id.Repository, digest) {
		return Fill{}, false
	}
	return Fill{
		Identity: id, Name: r.Name, Expect: Expect{Digest: digest},
		Fetch: func(ctx context.Context, rng registry.Range) (*registry.Blob, error) {
			return r.Remote.Blob(ctx, id.Repository, digest, rng)
		},
		Cached: func(ctx context.Context) (store.Blob, bool) {
			b, ok, err := r.heldBlob(ctx, id.Repository, digest)
			return b, ok && err == nil
		},
	}, true
}

// fill transfers the blob, or joins its transfer.
func (r *Registry) fill(ctx context.Context, q virtual.Query) virtual.Answer {
	f, ok := r.FillOf(r.identity(q.Repository, q.Reference.Digest))
	if !ok {
		return virtual.Failed(oci.NewError(oci.CodeDigestInvalid, "the digest is not one of a supported algorithm"))
	}
	return r.opened(ctx, q, func() (*registry.Blob, registry.CacheStatus, error) { return r.Fills.Open(ctx, f, q.Range) })
}

// passBlob serves a blob from the upstream alone.
func (r *Registry) passBlob(ctx context.Context, q virtual.Query) virtual.Answer {
	if q.Mode != virtual.ModeGet {
		res, ok := r.head(ctx, q, 0)
		switch {
		case !ok:
			return virtual.Failed(context.Cause(ctx))
		case res.err != nil:
			return virtual.Failed(res.err)
		}
		return virtual.Answer{Outcome: registry.Found, Cache: registry.CachePass, Descriptor: res.descriptor, Status: 200}
	}
	f, _ := r.FillOf(r.identity(q.Repository, q.Reference.Digest))
	return r.opened(ctx, q, func() (*registry.Blob, registry.CacheStatus, error) {
		return r.Fills.pass(ctx, f, q.Range, passStore)
	})
}

func (r *Registry) opened(ctx context.Context, q virtual.Query, open func() (*registry.Blob, registry.CacheStatus, error)) virtual.Answer {
	stop := timed(registry.TraceFrom(ctx))
	b, status, err := open()
	stop()
	if err != nil {
		return virtual.Failed(err)
	}
	if status == registry.CacheMiss {
		r.admitBlob(ctx, q)
	}
	return virtual.Answer{Outcome: registry.Found, Cache: status, Blob: b, Descriptor: b.Descriptor, Status: 200}
}

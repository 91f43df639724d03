package cache

import (
	"context"
	"iter"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
)

// Peek implements virtual.Member.
func (r *Registry) Peek(ctx context.Context, q virtual.Query) (virtual.Peek, error) {
	id, exists, err := r.repository(ctx, q.Repository)
	if err != nil {
		return virtual.Peek{}, err
	}
	if exists {
		p, err := r.peekStore(ctx, id, q)
		if err != nil || p.State != virtual.Nothing {
			return p, err
		}
	}
	if f, ok := r.refused(r.flight(q.Repository, what(q))); ok {
		return virtual.Peek{State: virtual.FreshAbsent, Answer: f.outcome, Reason: f.reason}, nil
	}
	if !exists || !q.Reference.IsDigest() || q.Kind == virtual.KindReferrers {
		return virtual.Peek{}, nil
	}
	d, ok, err := found(r.Store.Reference(ctx, id, q.Reference.Digest))
	if !ok {
		return virtual.Peek{}, err
	}
	return virtual.Peek{State: virtual.Referenced, Digest: d.Digest}, nil
}

// peekStore looks up what the query names.
func (r *Registry) peekStore(ctx context.Context, id int64, q virtual.Query) (virtual.Peek, error) {
	switch q.Kind {
	case virtual.KindManifest:
		return r.peekManifest(ctx, id, q)
	case virtual.KindBlob:
		return peekContent(found(r.Store.Blob(ctx, id, q.Reference.Digest)))(q.Reference.Digest)
	case virtual.KindTags:
		return r.peekList(ctx, id, q, listTags)
	case virtual.KindReferrers:
		return r.peekList(ctx, id, q, listReferrers)
	}
	return virtual.Peek{}, nil
}

func (r *Registry) peekManifest(ctx context.Context, id int64, q virtual.Query) (virtual.Peek, error) {
	if q.Reference.IsDigest() {
		return peekContent(found(r.Store.Manifest(ctx, id, q.Reference.Digest)))(q.Reference.Digest)
	}
	tag, ok, err := found(r.Store.Tag(ctx, id, q.Reference.Tag))
	if !ok {
		return virtual.Peek{}, err
	}
	p := virtual.Peek{State: virtual.Stale, Digest: tag.Digest}
	var fresh bool
	if p.Age, p.FreshFor, fresh = r.age(tag.CheckedAt, r.Freshness.tag(q.Repository, tag.Name)); fresh {
		p.State = virtual.Fresh
	}
	return p, nil
}

// peekContent describes content named by its digest: it is fresh for ever.
func peekContent[T any](_ T, ok bool, err error) func(oci.Digest) (virtual.Peek, error) {
	return func(d oci.Digest) (virtual.Peek, error) {
		if !ok {
			return virtual.Peek{}, err
		}
		return virtual.Peek{State: virtual.Fresh, FreshFor: -1, Digest: d}, nil
	}
}

func (r *Registry) peekList(ctx context.Context, id int64, q virtual.Query, kind string) (virtual.Peek, error) {
	l, ok, err := r.heldList(ctx, id, kind, q.Reference.Digest)
	if !ok {
		return virtual.Peek{}, err
	}
	p := virtual.Peek{State: virtual.Stale}
	var fresh bool
	if p.Age, p.FreshFor, fresh = r.age(l.checked, r.listFresh(kind, q.Repository, q.Reference.Digest, l.payload)); fresh {
		p.State = virtual.Fresh
	}
	return p, nil
}

// what is the part of a query's flight key behind the repository.
func what(q virtual.Query) string {
	switch q.Kind {
	case virtual.KindManifest:
		return "manifest " + q.Reference.String()
	case virtual.KindBlob:
		return "blob " + q.Reference.String()
	case virtual.KindTags:
		return listTags
	}
	return listReferrers + " " + q.Reference.String()
}

// Ask implements virtual.Member.
func (r *Registry) Ask(ctx context.Context, q virtual.Query) virtual.Answer {
	var a virtual.Answer
	kind := "manifest"
	switch q.Kind {
	case virtual.KindManifest:
		a = r.askManifest(ctx, q)
	case virtual.KindBlob:
		a, kind = r.askBlob(ctx, q), "blob"
	case virtual.KindTags:
		a, kind = r.askTags(ctx, q), "tags"
	case virtual.KindReferrers:
		a, kind = r.askReferrers(ctx, q), "referrers"
	default:
		return virtual.Failed(registry.ErrUnsupported)
	}
	if q.Mode != virtual.ModeProbe {
		status := string(a.Cache)
		if a.Outcome != registry.Found {
			status = a.Outcome.String()
		}
		r.Metrics.Answered(r.Name, kind, status)
	}
	return a
}

// Admissions implements virtual.Member.
func (r *Registry) Admissions(ctx context.Context, repository string, digest oci.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		id, ok, err := r.repository(ctx, repository)
		if err != nil {
			yield("", err)
			return
		}
		if !ok {
			return
		}
		r.Store.Admissions(ctx, id, digest)(yield)
	}
}

// admitDigest records that digest was asked for by itself, unless it had entered before: by a tag, or through a parent.
func (r *Registry) admitDigest(ctx context.Context, repository string, digest oci.Digest) error {
	known, err := r.admitted(ctx, repository, digest)
	if err != nil || known {
		return err
	}
	return r.Store.Admit(ctx, r.key(repository), digest, store.ViaDigest, "")
}

func (r *Registry) admitted(ctx context.Context, repository string, digest oci.Digest) (bool, error) {
	id, ok, err := r.repository(ctx, repository)
	if !ok {
		return false, err
	}
	if _, ok, err = found(r.Store.Reference(ctx, id, digest)); ok || err != nil {
		return ok, err
	}
	for _, err := range r.Store.Admissions(ctx, id, digest) {
		return err == nil, err
	}
	return false, nil
}

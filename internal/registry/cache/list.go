package cache

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
)

// Kinds of cached list.
const (
	listTags      = "tags"      // payload: a JSON array of names, sorted
	listReferrers = "referrers" // payload: a JSON array of descriptors, of every artifact type
)

// maxTags bounds the tag list that is taken from an upstream; further names are left out.
const maxTags = 500_000

// heldList is an upstream's list as it was confirmed.
type heldList struct {
	payload []byte
	checked time.Time
}

// listResult is what an upstream said about a list.
type listResult struct {
	err     *registry.OutcomeError // nil: the upstream has it
	payload []byte
}

func (r *Registry) heldList(ctx context.Context, repository int64, kind string, subject oci.Digest) (heldList, bool, error) {
	payload, checked, err := r.Store.List(ctx, repository, kind, subject)
	return found(heldList{payload, checked}, err)
}

// askTags answers one page of the tag list.
func (r *Registry) askTags(ctx context.Context, q virtual.Query) virtual.Answer {
	a, payload := r.askList(ctx, q, listTags, r.fetchTags)
	if a.Outcome != registry.Found {
		return a
	}
	var tags []string
	if err := json.Unmarshal(payload, &tags); err != nil {
		return virtual.Failed(err)
	}
	a.Tags = page(tags, q.Page)
	return a
}

// page cuts one page out of a sorted list.
func page(tags []string, p registry.Page) *registry.TagList {
	from, exact := slices.BinarySearch(tags, p.Last) // no tag is empty
	if exact {
		from++
	}
	rest := tags[from:]
	if p.N > 0 && len(rest) > p.N {
		return &registry.TagList{Tags: rest[:p.N], More: true}
	}
	return &registry.TagList{Tags: rest}
}

// fetchTags gets the whole list, page by page.
func (r *Registry) fetchTags(ctx context.Context, q virtual.Query) (any, error) {
	tags := []string{}
	for p := (registry.Page{}); ; {
		l, err := r.Remote.Tags(ctx, q.Repository, p)
		if err != nil {
			return nil, err
		}
		tags = append(tags, l.Tags...)
		if !l.More || len(l.Tags) == 0 || len(tags) >= maxTags {
			break
		}
		last := l.Tags[len(l.Tags)-1]
		if last == p.Last {
			break // an upstream that repeats its page
		}
		p.Last = last
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// askReferrers answers with the referrers of a digest.
func (r *Registry) askReferrers(ctx context.Context, q virtual.Query) virtual.Answer {
	a, payload := r.askList(ctx, q, listReferrers, r.fetchReferrers)
	if a.Outcome != registry.Found {
		return a
	}
	all := []oci.Descriptor{}
	if err := json.Unmarshal(payload, &all); err != nil {
		return virtual.Failed(err)
	}
	if q.ArtifactType != "" {
		all = slices.DeleteFunc(all, func(d oci.Descriptor) bool { return d.ArtifactType != q.ArtifactType })
	}
	a.Referrers = &registry.ReferrerList{Manifests: all}
	return a
}

func (r *Registry) fetchReferrers(ctx context.Context, q virtual.Query) (any, error) {
	l, err := r.Remote.Referrers(ctx, q.Repository, q.Reference.Digest, "")
	if err != nil {
		return nil, err
	}
	if l.Assumed && !r.RefuseDeleted && r.knowsReferrers(ctx, q) {
		return nil, errNoReferrers
	}
	return append([]oci.Descriptor{}, l.Manifests...), nil // empty is an answer too, and kept as []
}

var errNoReferrers = &registry.OutcomeError{Outcome: registry.Absent, Status: 404, Reason: "the upstream knows nothing of referrers any more"}

// knowsReferrers reports whether the list held is not empty. What an upstream has deleted is served on, and so must be the
// signatures of it: without them a client that demands one could not pull what is cached.
func (r *Registry) knowsReferrers(ctx context.Context, q virtual.Query) bool {
	id, ok, err := r.repository(ctx, q.Repository)
	if !ok || err != nil {
		return false
	}
	h, ok, err := r.heldList(ctx, id, listReferrers, q.Reference.Digest)
	return ok && err == nil && string(h.payload) != "[]"
}

type fetchList func(ctx context.Context, q virtual.Query) (any, error)

// askList answers with a list's payload: fresh from the store, else from the upstream, else stale from the store.
func (r *Registry) askList(ctx context.Context, q virtual.Query, kind string, fetch fetchList) (virtual.Answer, []byte) {
	var h heldList
	id, ok, err := r.repository(ctx, q.Repository)
	if ok {
		h, ok, err = r.heldList(ctx, id, kind, q.Reference.Digest)
	}
	if err != nil {
		return virtual.Failed(err), nil
	}
	key := r.flight(q.Repository, what(q))
	if !ok {
		if f, refused := r.refused(key); refused && !q.Refresh {
			return f.answer(), nil
		}
		return r.coldList(ctx, q, key, kind, fetch)
	}
	if f, refused := r.refused(key); refused && r.RefuseDeleted && f.outcome == registry.Absent && !q.Refresh {
		return f.answer(), nil
	}
	freshFor := r.listFresh(kind, q.Repository, q.Reference.Digest, h.payload)
	old, _, fresh := r.age(h.checked, freshFor)
	hit := virtual.Answer{Outcome: registry.Found, Cache: registry.CacheHit, Age: old}
	if fresh && !q.Refresh {
		return hit, h.payload
	}
	hit.Cache = registry.CacheStale
	if why, resting := r.resting(key); resting && !q.Refresh && (!r.RefuseDeleted || why.Outcome != registry.Absent) {
		explain(&hit, why)
		return hit, h.payload
	}
	res, answered := r.listFlight(checking(ctx, q), q, key, kind, fetch).wait(ctx, r.listPatience(q, freshFor))
	switch {
	case !answered:
		r.slow(ctx)
		explain(&hit, errStillAsking)
		return hit, h.payload
	case res.err == nil:
		return virtual.Answer{Outcome: registry.Found, Cache: registry.CacheMiss}, res.payload
	case res.err.Outcome == registry.Absent && r.RefuseDeleted:
		return virtual.Failed(res.err), nil
	}
	explain(&hit, res.err)
	return hit, h.payload
}

func (r *Registry) listPatience(q virtual.Query, freshFor time.Duration) time.Duration {
	if q.Refresh || freshFor == 0 {
		return 0
	}
	return r.checkWait()
}

func (r *Registry) coldList(ctx context.Context, q virtual.Query, key flightKey, kind string, fetch fetchList) (virtual.Answer, []byte) {
	res, ok := r.listFlight(ctx, q, key, kind, fetch).wait(ctx, 0)
	switch {
	case !ok:
		return virtual.Failed(context.Cause(ctx)), nil
	case res.err != nil:
		return virtual.Failed(res.err), nil
	}
	return virtual.Answer{Outcome: registry.Found, Cache: registry.CacheMiss}, res.payload
}

// listFlight fetches a list, for everybody who asks meanwhile; only a probe keeps nothing of it.
func (r *Registry) listFlight(ctx context.Context, q virtual.Query, key flightKey, kind string, fetch fetchList) *flight[listResult] {
	probe := q.Mode == virtual.ModeProbe
	flight := key
	if probe {
		flight.what = "probe " + flight.what
	}
	return r.Fills.lists.start(ctx, r.Fills, flight, func(ctx context.Context) listResult {
		list, err := fetch(ctx, q)
		if err != nil {
			o := registry.AsOutcome(err)
			r.unanswered(q.Kind, q.Repository, q.Reference.String(), o)
			if !probe {
				r.refuse(key, o)
				r.Fills.failedCheck(key, o)
			}
			return listResult{err: o}
		}
		payload, err := json.Marshal(list)
		if err != nil {
			return listResult{err: registry.AsOutcome(err)}
		}
		if !probe {
			r.Fills.failures.drop(key)
			r.forgetRefusal(key)
			r.keepList(ctx, q, kind, list, payload)
		}
		return listResult{payload: payload}
	})
}

// keepList stores a list. Clients fetch what a list of referrers names by digest, so it must be admitted now.
func (r *Registry) keepList(ctx context.Context, q virtual.Query, kind string, list any, payload []byte) {
	l := store.List{
		Repository: r.key(q.Repository), Kind: kind, Subject: q.Reference.Digest, Payload: payload, CheckedAt: r.Now(),
	}
	referrers, _ := list.([]oci.Descriptor)
	for _, d := range referrers {
		l.Referrers = append(l.Referrers, d.Digest)
	}
	if err := r.Store.PutList(ctx, l); err != nil {
		r.Log.Warn("a list passes through uncached", "repository", q.Repository, "kind", kind, "error", err)
	}
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Estimate counts what deletions of whole repositories of a group would take, and takes nothing. It is for one request, and not safe
// for concurrent use.
type Estimate struct {
	s      *Store
	group  int64
	whole  bool
	pulled map[int64][]oci.Digest // a moment ago, as far as only this process knows
	used   map[int64]used
}

// used is what a purge of a repository would leave for now.
type used struct {
	manifests int64
	blobs     map[string]bool // by column
}

// Estimate begins to count. With whole, all repositories of an upstream are purged together: what several of them hold is counted in
// one of them.
func (s *Store) Estimate(group int64, whole bool) *Estimate {
	return &Estimate{s: s, group: group, whole: whole, pulled: s.deferred.pulledSince(s.now().Add(-inUse)), used: map[int64]used{}}
}

// Repository counts what PurgeRepository, or for a hosted one DeleteRepository, would take.
func (e *Estimate) Repository(ctx context.Context, in FoundIn) (p Purged, err error) {
	read := e.s.db.Read()
	if p.Tags, err = read.CountTags(ctx, query.CountTagsParams{RepositoryID: in.Repository, N: maxCounted}); err != nil {
		return p, fmt.Errorf("count tags: %w", err)
	}
	manifests, err := read.CountManifests(ctx, query.CountManifestsParams{RepositoryID: in.Repository, N: maxCounted})
	if err != nil {
		return p, fmt.Errorf("count manifests: %w", err)
	}
	of := query.BrowseLinksParams{GroupID: e.group, UpstreamID: -1, RepositoryID: in.Repository, After: []byte{}, N: maxCounted}
	if e.whole {
		of.UpstreamID, of.Epoch = in.UpstreamID, in.Epoch
	}
	links, err := read.BrowseLinks(ctx, of)
	if err != nil {
		return p, fmt.Errorf("list links: %w", err)
	}
	stays, err := e.inUse(ctx, in)
	if err != nil {
		return p, err
	}
	for _, link := range links {
		kept := !link.Alone || stays.blobs[string(link.Digest)]
		if !kept && e.whole && link.Shared {
			kept, err = e.usedElsewhere(ctx, in, link.Digest)
		}
		if err != nil {
			return p, err
		}
		if !kept {
			p.Bytes += link.Size
		}
	}
	p.InUse, p.Manifests = stays.manifests, max(0, manifests-stays.manifests)
	p.AtLeast = max(p.Tags, manifests, int64(len(links))) == maxCounted
	return p, nil
}

// usedElsewhere reports whether another repository of the upstream keeps a blob for now.
func (e *Estimate) usedElsewhere(ctx context.Context, in FoundIn, digest []byte) (bool, error) {
	holders, err := e.s.Holders(ctx, e.group, oci.Digest(digestText(digest)))
	for _, h := range holders {
		if h.Repository == in.Repository || err != nil {
			continue
		}
		var stays used
		if stays, err = e.inUse(ctx, h); stays.blobs[string(digest)] {
			return true, nil
		}
	}
	return false, err
}

// inUse tells what of a cached repository was pulled so lately that a purge leaves it for now.
func (e *Estimate) inUse(ctx context.Context, in FoundIn) (used, error) {
	if known, ok := e.used[in.Repository]; ok || in.UpstreamID == 0 {
		return known, nil
	}
	since := e.s.now().Add(-inUse)
	rows, err := e.s.db.Read().ListPulledSince(ctx, query.ListPulledSinceParams{RepositoryID: in.Repository, Since: micros(since), N: maxCounted})
	if err != nil {
		return used{}, fmt.Errorf("list what was pulled lately: %w", err)
	}
	lately := map[string]bool{}
	for _, digest := range rows {
		lately[string(digest)] = true
	}
	for _, digest := range e.pulled[in.Repository] {
		lately[string(oci.DigestBytes(digest))] = true
	}
	u := used{blobs: map[string]bool{}}
	for digest := range lately {
		if err := e.keep(ctx, in.Repository, []byte(digest), &u); err != nil {
			return used{}, err
		}
	}
	e.used[in.Repository] = u
	return u, nil
}

// keep counts a manifest, unless it is gone, and what it refers to.
func (e *Estimate) keep(ctx context.Context, repository int64, digest []byte, u *used) error {
	_, err := e.s.db.Read().StatManifest(ctx, query.StatManifestParams{RepositoryID: repository, Digest: digest})
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read manifest %s: %w", digestText(digest), err)
	}
	children, err := e.s.db.Read().ListChildren(ctx, query.ListChildrenParams{RepositoryID: repository, Parent: digest})
	if err != nil {
		return fmt.Errorf("list what %s refers to: %w", digestText(digest), err)
	}
	u.manifests++
	for _, child := range children {
		if child.Kind != refManifest {
			u.blobs[string(child.Child)] = true
		}
	}
	return nil
}

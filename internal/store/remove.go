package store

import (
	"context"
	"fmt"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	removedLinks   = 200 // that one transaction takes out of a repository that is deleted
	removedUploads = 100
)

// DeleteRepository takes a hosted repository away with everything in it, up to about n manifests and at least 1, in transactions
// that each leave it whole: manifests with their tags, then links, then what is being uploaded, and last its name. It reports
// whether the repository is gone. A push that goes on meanwhile is either deleted too, or makes a repository of its own
// afterwards, in which nothing of this one is. ErrNotFound, also for a cached one.
func (s *Store) DeleteRepository(ctx context.Context, repository int64, n int) (p Purged, gone bool, err error) {
	for !gone && p.Manifests < int64(n) {
		var part Purged
		part, gone, err = s.removePart(ctx, repository)
		if p.add(part); err != nil {
			return p, false, fmt.Errorf("delete repository: %w", err)
		}
	}
	return p, gone, nil
}

// removal is what one transaction of DeleteRepository took.
type removal struct {
	Purged
	gone      bool // the repository itself
	manifests []oci.Digest
	uploads   []query.ListRepositoryUploadsRow
}

func (s *Store) removePart(ctx context.Context, repository int64) (Purged, bool, error) {
	var r removal
	err := s.change(ctx, repository, func(ctx context.Context, c *change) (err error) {
		if !c.hosted() {
			return ErrNotFound
		}
		r, err = s.removeSome(ctx, c)
		return err
	})
	if err != nil {
		return Purged{}, false, err
	}
	s.forgetPulls(ctx, repository, r.manifests...)
	return r.Purged, r.gone, s.dropUploads(ctx, r.uploads)
}

// removeSome takes manifests while there are any, then links, and what is left at once.
func (s *Store) removeSome(ctx context.Context, c *change) (r removal, err error) {
	manifests, err := c.ListManifestDigests(ctx, query.ListManifestDigestsParams{RepositoryID: c.repository.ID, N: purgeBatch})
	if err != nil {
		return r, fmt.Errorf("list its manifests: %w", err)
	}
	for _, digest := range manifests {
		if err := s.removeHosted(ctx, c, digest, &r); err != nil {
			return r, fmt.Errorf("delete manifest %s: %w", digestText(digest), err)
		}
	}
	if len(manifests) > 0 {
		return r, nil
	}
	links, err := c.ListLinkDigests(ctx, query.ListLinkDigestsParams{RepositoryID: c.repository.ID, N: removedLinks})
	if err != nil {
		return r, fmt.Errorf("list its blobs: %w", err)
	}
	for _, digest := range links {
		if _, err := c.unlink(ctx, digest, c.now.Add(s.grace)); err != nil { // the rows may be restored from a backup, and must find the bytes
			return r, fmt.Errorf("unlink %s: %w", digestText(digest), err)
		}
	}
	if r.Bytes, err = c.alone(ctx, links); err != nil || len(links) > 0 {
		return r, err
	}
	return r, c.removeName(ctx, &r)
}

func (s *Store) removeHosted(ctx context.Context, c *change, digest []byte, r *removal) error {
	tags, err := c.ListTagsOf(ctx, query.ListTagsOfParams{RepositoryID: c.repository.ID, Digest: digest})
	if err != nil {
		return err
	}
	if err := s.removeManifest(ctx, c, digest, c.now.Add(s.grace)); err != nil {
		return err
	}
	r.Tags += int64(len(tags))
	r.Manifests++
	r.manifests = append(r.manifests, oci.Digest(digestText(digest)))
	return c.happened(ctx, event.ManifestDeleted, "@"+digestText(digest), nil)
}

// removeName takes the uploads of a repository that holds nothing, and when there are no more the repository.
func (c *change) removeName(ctx context.Context, r *removal) (err error) {
	id := c.repository.ID
	if r.uploads, err = c.ListRepositoryUploads(ctx, query.ListRepositoryUploadsParams{RepositoryID: id, N: removedUploads}); err != nil {
		return fmt.Errorf("list its uploads: %w", err)
	}
	for _, upload := range r.uploads {
		if _, err := c.DeleteUpload(ctx, upload.ID); err != nil {
			return fmt.Errorf("end upload %s: %w", upload.ID, err)
		}
	}
	if len(r.uploads) == removedUploads {
		return nil
	}
	if r.gone, err = c.removeRepository(ctx); err != nil || !r.gone {
		return err
	}
	return c.happened(ctx, event.RepositoryDeleted, "", nil)
}

// dropUploads takes the bytes of uploads whose rows are gone. A request that is sending more to one of them finds it ended.
func (s *Store) dropUploads(ctx context.Context, uploads []query.ListRepositoryUploadsRow) error {
	for _, upload := range uploads {
		s.sessions.end(upload.ID)
		if err := s.blobs.DropStage(ctx, upload.Stage); err != nil {
			return fmt.Errorf("drop the bytes of upload %s: %w", upload.ID, err)
		}
	}
	return nil
}

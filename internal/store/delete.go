package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// DeleteTag removes a tag; ErrNotFound. Its manifest stays.
func (s *Store) DeleteTag(ctx context.Context, repository int64, name string) error {
	return s.DeleteTagOf(ctx, repository, name, "")
}

// DeleteTagOf is DeleteTag for a tag that must point to a manifest: ErrMoved when it does not.
func (s *Store) DeleteTagOf(ctx context.Context, repository int64, name string, only oci.Digest) error {
	err := s.change(ctx, repository, func(ctx context.Context, c *change) error {
		tag, err := c.GetTag(ctx, query.GetTagParams{RepositoryID: repository, Name: name})
		if err != nil {
			return notFound(err)
		}
		if only != "" && string(tag.Digest) != string(oci.DigestBytes(only)) {
			return ErrMoved
		}
		c.review(CandidateManifest, tag.Digest, c.now.Add(s.grace))
		return c.deleteTag(ctx, name, tag.Digest)
	})
	if err != nil {
		return fmt.Errorf("delete tag %s: %w", name, err)
	}
	return nil
}

func (c *change) deleteTag(ctx context.Context, name string, digest []byte) error {
	if _, err := c.DeleteTag(ctx, query.DeleteTagParams{RepositoryID: c.repository.ID, Name: name}); err != nil {
		return err
	}
	if err := c.recordTag(ctx, name, nil); err != nil {
		return err
	}
	return c.happened(ctx, event.TagDeleted, ":"+name, tagMoved{From: digestText(digest)})
}

// DeleteManifest removes a manifest and its tags; ErrNotFound. An index that refers to it stays, without this child.
func (s *Store) DeleteManifest(ctx context.Context, repository int64, digest oci.Digest) error {
	err := s.change(ctx, repository, func(ctx context.Context, c *change) error {
		d := oci.DigestBytes(digest)
		if err := s.removeManifest(ctx, c, d, c.now.Add(s.grace)); err != nil {
			return err
		}
		if err := c.forgetAdmissions(ctx, d); err != nil {
			return err
		}
		return c.happened(ctx, event.ManifestDeleted, "@"+string(digest), nil)
	})
	if err != nil {
		return fmt.Errorf("delete manifest %s: %w", digest, err)
	}
	s.forgetPulls(ctx, repository, digest)
	return nil
}

// removeManifest takes a manifest out of its repository with its tags; ErrNotFound. What only it held is to be reviewed after
// at: its children, its referrers, and in a hosted repository the links to its blobs, which the next push may want to find.
// In a cached repository those go at once, since a fill would only bring them back.
func (s *Store) removeManifest(ctx context.Context, c *change, digest []byte, at time.Time) error {
	of := query.ListTagsOfParams{RepositoryID: c.repository.ID, Digest: digest}
	tags, err := c.ListTagsOf(ctx, of)
	if err != nil {
		return fmt.Errorf("list its tags: %w", err)
	}
	for _, tag := range tags {
		if err := c.deleteTag(ctx, tag, digest); err != nil {
			return fmt.Errorf("delete tag %s: %w", tag, err)
		}
	}
	children, err := c.ListChildren(ctx, query.ListChildrenParams{RepositoryID: c.repository.ID, Parent: digest})
	if err != nil {
		return fmt.Errorf("list what it refers to: %w", err)
	}
	n, err := c.DeleteManifest(ctx, query.DeleteManifestParams(of)) // its references go with it
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrNotFound
	}
	c.reviewRepository(at)
	for _, child := range children {
		if err := c.release(ctx, child, at); err != nil {
			return fmt.Errorf("release %s: %w", digestText(child.Child), err)
		}
	}
	if err := c.releaseReferrers(ctx, digest, at); err != nil {
		return err
	}
	return c.changed(ctx, ChangeManifest, digestText(digest))
}

// release lets go of something that a manifest which is gone referred to.
func (c *change) release(ctx context.Context, child query.ListChildrenRow, at time.Time) error {
	if child.Kind == refManifest {
		c.review(CandidateManifest, child.Child, at)
		return nil
	}
	if c.hosted() {
		c.review(CandidateLink, child.Child, at)
		return nil
	}
	used, err := c.IsReferenced(ctx, query.IsReferencedParams{RepositoryID: c.repository.ID, Child: child.Child})
	if err != nil || used {
		return err
	}
	_, err = c.unlink(ctx, child.Child, c.now)
	return err
}

// releaseReferrers has the referrers of a manifest which is gone reviewed, and drops a cached list of them.
func (c *change) releaseReferrers(ctx context.Context, subject []byte, at time.Time) error {
	referrers, err := c.ListReferrerDigests(ctx, query.ListReferrerDigestsParams{RepositoryID: c.repository.ID, Subject: subject})
	if err != nil {
		return fmt.Errorf("list its referrers: %w", err)
	}
	for _, referrer := range referrers {
		c.review(CandidateManifest, referrer, at)
	}
	return c.forgetReferrers(ctx, subject)
}

// forgetReferrers drops an upstream's list of the referrers of a digest.
func (c *change) forgetReferrers(ctx context.Context, subject []byte) error {
	if err := c.forgetListed(ctx, subject); err != nil {
		return err
	}
	return c.DeleteList(ctx, query.DeleteListParams{RepositoryID: c.repository.ID, Kind: listReferrers, Subject: subject})
}

// forgetAdmissions forgets how a digest entered that is not here any more, neither as a manifest nor as a blob.
func (c *change) forgetAdmissions(ctx context.Context, digest []byte) error {
	return c.ForgetAdmissions(ctx, query.ForgetAdmissionsParams{RepositoryID: c.repository.ID, Digest: digest})
}

// unlink removes a link, if it exists, and has the blob reviewed after at.
func (c *change) unlink(ctx context.Context, digest []byte, at time.Time) (existed bool, err error) {
	n, err := c.DeleteLink(ctx, query.DeleteLinkParams{RepositoryID: c.repository.ID, Digest: digest})
	if err != nil || n == 0 {
		return false, err
	}
	c.review(CandidateBlob, digest, at)
	c.reviewRepository(c.now)
	if !c.hosted() {
		c.unlinked[string(digest)] = struct{}{}
	}
	if err := c.forgetAdmissions(ctx, digest); err != nil {
		return false, err
	}
	return true, c.changed(ctx, ChangeLink, digestText(digest))
}

// UnlinkBlob removes a blob from a repository; ErrInUse while a manifest there refers to it, ErrNotFound.
func (s *Store) UnlinkBlob(ctx context.Context, repository int64, digest oci.Digest) error {
	err := s.change(ctx, repository, func(ctx context.Context, c *change) error {
		d := oci.DigestBytes(digest)
		used, err := c.IsReferenced(ctx, query.IsReferencedParams{RepositoryID: repository, Child: d})
		if err != nil {
			return err
		}
		existed, err := c.unlink(ctx, d, c.now)
		switch {
		case err != nil:
			return err
		case !existed:
			return ErrNotFound
		case used:
			return ErrInUse
		}
		return c.happened(ctx, event.BlobDeleted, "@"+string(digest), nil)
	})
	if err != nil {
		return fmt.Errorf("unlink blob %s: %w", digest, err)
	}
	return nil
}

// forgetPulls drops the statistics of manifests that are gone. They are no part of any promise.
func (s *Store) forgetPulls(ctx context.Context, repository int64, digests ...oci.Digest) {
	slices.Sort(digests)
	err := s.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		for _, digest := range digests {
			err := q.DeletePulls(ctx, query.DeletePullsParams{RepositoryID: repository, Digest: oci.DigestBytes(digest)})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("forget the pulls of manifests", "repository", repository, "error", err)
	}
}

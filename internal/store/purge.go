package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	purgeBatch = 20               // manifests that one transaction takes
	inUse      = 10 * time.Minute // since its last pull, a manifest may belong to a pull that goes on; so long a purge leaves it
	listTags   = "tags"           // kind of a List without a subject
)

// Purged is what a purge took, or would take.
type Purged struct {
	Tags, Manifests int64
	Bytes           int64 // that no repository of the group holds any more
	InUse           int64 // manifests pulled a moment ago: their tags went, and they go ten minutes later, whoever pulls them then
	AtLeast         bool  // a dry run stopped counting
}

func (p *Purged) add(q Purged) {
	p.Tags, p.Manifests, p.Bytes, p.InUse = p.Tags+q.Tags, p.Manifests+q.Manifests, p.Bytes+q.Bytes, p.InUse+q.InUse
	p.AtLeast = p.AtLeast || q.AtLeast
}

// Note writes the event of something that takes many transactions: of what can be broken off anywhere before the first, of what counts
// only when it is complete after the last.
func (s *Store) Note(ctx context.Context, group int64, kind, subject string, detail any) error {
	actor := event.ActorFrom(ctx)
	return s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		return tx.Event(ctx, meta.Event{GroupID: group, Kind: kind, ActorID: actor.ID, RequestID: actor.RequestID, Subject: subject, Detail: detail})
	})
}

// PurgeTag takes a tag out of a cached repository, and what it points to unless something else needs that. With only, it must point
// there: ErrMoved. A dry run does the same and takes it back. ErrNotFound.
func (s *Store) PurgeTag(ctx context.Context, repository int64, name string, only oci.Digest, dry bool) (Purged, error) {
	tag, err := s.TagInfo(ctx, repository, name)
	if err != nil {
		return Purged{}, err
	}
	return s.purgeTree(ctx, repository, tag.Digest, dry, func(ctx context.Context, c *change, p *Purged) (stays bool, err error) {
		row, err := c.GetTag(ctx, query.GetTagParams{RepositoryID: repository, Name: name})
		if err != nil {
			return false, notFound(err)
		}
		if only != "" && string(row.Digest) != string(oci.DigestBytes(only)) {
			return false, ErrMoved
		}
		if err := c.deleteTag(ctx, name, row.Digest); err != nil {
			return false, err
		}
		p.Tags++
		needed, err := c.isNeeded(ctx, row.Digest)
		return needed || string(row.Digest) != string(oci.DigestBytes(tag.Digest)), err
	})
}

// PurgeManifest takes a manifest out of a cached repository with its tags, and those of its children that nothing else needs. A dry
// run does the same and takes it back. ErrNotFound.
func (s *Store) PurgeManifest(ctx context.Context, repository int64, digest oci.Digest, dry bool) (Purged, error) {
	return s.purgeTree(ctx, repository, digest, dry, func(context.Context, *change, *Purged) (bool, error) { return false, nil })
}

// purgeTree takes a manifest and its children after first, in the same transaction; only what first does if that says that the
// manifest stays.
func (s *Store) purgeTree(ctx context.Context, repository int64, root oci.Digest, dry bool,
	first func(context.Context, *change, *Purged) (stays bool, err error),
) (p Purged, err error) {
	tree, err := s.Tree(ctx, repository, root)
	if err != nil {
		return p, err
	}
	pulled, err := s.pulledLately(ctx, repository, tree.Manifests)
	if err != nil {
		return p, err
	}
	var gone []oci.Digest
	err = s.purge(ctx, repository, func(ctx context.Context, c *change) error {
		p, gone = Purged{AtLeast: tree.Cut}, nil
		stays, err := first(ctx, c, &p)
		for i, digest := range tree.Manifests {
			if err != nil || stays {
				break
			}
			d, needed := oci.DigestBytes(digest), false
			if i > 0 {
				needed, err = c.isNeeded(ctx, d)
			}
			if err == nil && !needed {
				err = s.purgeOne(ctx, c, d, pulled[digest], &p, &gone)
			}
		}
		if err == nil {
			err = c.countAlone(ctx, &p)
		}
		if err == nil && dry {
			return errDry
		}
		return err
	})
	if dry && errors.Is(err, errDry) {
		return p, nil
	}
	if err == nil {
		s.forgetPulls(ctx, repository, gone...)
	}
	return p, err
}

// errDry undoes the transaction of a dry run.
var errDry = errors.New("only a dry run")

// isNeeded reports whether a tag or another manifest of the repository names a manifest.
func (c *change) isNeeded(ctx context.Context, digest []byte) (bool, error) {
	tagged, err := c.IsTagged(ctx, query.IsTaggedParams{RepositoryID: c.repository.ID, Digest: digest})
	if err != nil || tagged {
		return tagged, err
	}
	return c.IsReferenced(ctx, query.IsReferencedParams{RepositoryID: c.repository.ID, Child: digest})
}

// purge is change for a cached repository; ErrNotFound for a hosted one.
func (s *Store) purge(ctx context.Context, repository int64, fn func(context.Context, *change) error) error {
	err := s.change(ctx, repository, func(ctx context.Context, c *change) error {
		if c.hosted() {
			return ErrNotFound
		}
		return fn(ctx, c)
	})
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return nil
}

// purgeOne takes one manifest. One that was pulled a moment ago loses its tags alone, and goes later: who pulls it must find the rest
// of it.
func (s *Store) purgeOne(ctx context.Context, c *change, digest []byte, pulled time.Time, p *Purged, gone *[]oci.Digest) error {
	tags, err := c.ListTagsOf(ctx, query.ListTagsOfParams{RepositoryID: c.repository.ID, Digest: digest})
	if err != nil {
		return err
	}
	p.Tags += int64(len(tags))
	if pulled.IsZero() {
		err := s.removeManifest(ctx, c, digest, c.now)
		if errors.Is(err, ErrNotFound) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		p.Manifests++
		*gone = append(*gone, oci.Digest(digestText(digest)))
		c.review(CandidateManifest, digest, c.now.Add(s.grace)) // its admissions
		return nil
	}
	for _, tag := range tags {
		if err := c.deleteTag(ctx, tag, digest); err != nil {
			return err
		}
	}
	p.InUse++
	c.review(CandidatePurged, digest, c.now.Add(inUse))
	return nil
}

// reviewPurged takes a manifest that was in use when it was purged, however often it was pulled since, and has its children
// reviewed in the same way. What has come back meanwhile stays: a tag names it, or another manifest needs it.
func (s *Store) reviewPurged(ctx context.Context, c *change, digest []byte) (collected bool, err error) {
	needed, err := c.isNeeded(ctx, digest)
	if err != nil || needed || c.hosted() {
		return false, err
	}
	children, err := c.ListChildren(ctx, query.ListChildrenParams{RepositoryID: c.repository.ID, Parent: digest})
	if err != nil {
		return false, fmt.Errorf("list what it refers to: %w", err)
	}
	err = s.removeManifest(ctx, c, digest, c.now)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c.review(CandidateManifest, digest, c.now.Add(s.grace)) // its admissions
	for _, child := range children {
		if child.Kind == refManifest {
			c.review(CandidatePurged, child.Child, c.now)
		}
	}
	return true, nil
}

// pulledLately tells of those manifests that may be in use when they were last pulled.
func (s *Store) pulledLately(ctx context.Context, repository int64, digests []oci.Digest) (map[oci.Digest]time.Time, error) {
	lately := map[oci.Digest]time.Time{}
	for _, digest := range digests {
		at, err := s.lastPulled(ctx, repository, digest)
		if err != nil {
			return nil, err
		}
		if s.now().Sub(at) < inUse {
			lately[digest] = at
		}
	}
	return lately, nil
}

// countAlone adds the bytes of the links that the transaction removed and that nothing else of the group holds.
func (c *change) countAlone(ctx context.Context, p *Purged) error {
	digests := convert(slices.Sorted(maps.Keys(c.unlinked)), func(digest string) []byte { return []byte(digest) })
	bytes, err := c.alone(ctx, digests)
	p.Bytes += bytes
	return err
}

// alone adds up the blobs that no repository of the group links.
func (c *change) alone(ctx context.Context, digests [][]byte) (bytes int64, err error) {
	for _, digest := range digests {
		holders, err := c.ListGroupLinks(ctx, query.ListGroupLinksParams{Digest: digest, GroupID: c.repository.GroupID, N: 1})
		if err != nil {
			return 0, err
		}
		row, err := c.GetBlob(ctx, digest)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
		if len(holders) == 0 {
			bytes += row.Size
		}
	}
	return bytes, nil
}

// PurgeRepository takes up to about n manifests out of a cached repository, at least 1. It reports whether the end was reached.
func (s *Store) PurgeRepository(ctx context.Context, repository int64, n int) (p Purged, done bool, err error) {
	after := oci.Digest("")
	for p.Manifests < int64(n) {
		rows, err := s.db.Read().SearchManifests(ctx, query.SearchManifestsParams{
			RepositoryID: repository, Low: from([]byte{}, optionalDigest(after)), High: []byte{0xff}, N: purgeBatch,
		})
		if err != nil {
			return p, false, fmt.Errorf("list manifests: %w", err)
		}
		digests := convert(rows, func(r query.SearchManifestsRow) oci.Digest { return oci.Digest(digestText(r.Digest)) })
		taken, err := s.purgeBatch(ctx, repository, digests)
		if p.add(taken); err != nil {
			return p, false, err
		}
		if len(rows) < purgeBatch {
			rest, done, err := s.purgeRest(ctx, repository)
			p.add(rest)
			return p, done, err
		}
		after = digests[len(digests)-1]
	}
	return p, false, nil
}

func (s *Store) purgeBatch(ctx context.Context, repository int64, digests []oci.Digest) (p Purged, err error) {
	pulled, err := s.pulledLately(ctx, repository, digests)
	if err != nil || len(digests) == 0 {
		return p, err
	}
	var gone []oci.Digest
	err = s.purge(ctx, repository, func(ctx context.Context, c *change) error {
		p, gone = Purged{}, nil
		for _, digest := range digests {
			if err := s.purgeOne(ctx, c, oci.DigestBytes(digest), pulled[digest], &p, &gone); err != nil {
				return err
			}
		}
		return c.countAlone(ctx, &p)
	})
	if err == nil {
		s.forgetPulls(ctx, repository, gone...)
	}
	return p, err
}

// purgeRest takes the list of tags that the upstream answered, and blobs that no manifest refers to.
func (s *Store) purgeRest(ctx context.Context, repository int64) (p Purged, done bool, err error) {
	err = s.purge(ctx, repository, func(ctx context.Context, c *change) error {
		p, done = Purged{}, true
		err := c.DeleteList(ctx, query.DeleteListParams{RepositoryID: repository, Kind: listTags, Subject: []byte{}})
		if err != nil {
			return err
		}
		links, err := c.ListLinkDigests(ctx, query.ListLinkDigestsParams{RepositoryID: repository, N: repositoryBatch})
		if err != nil {
			return err
		}
		for _, digest := range links {
			used, err := c.IsReferenced(ctx, query.IsReferencedParams{RepositoryID: repository, Child: digest})
			if err == nil && !used {
				done = len(links) < repositoryBatch
				_, err = c.unlink(ctx, digest, c.now)
			}
			if err != nil {
				return err
			}
		}
		c.reviewRepository(c.now.Add(s.grace))
		return c.countAlone(ctx, &p)
	})
	return p, done, err
}

// CachedRepositories lists up to n repositories of an upstream's epoch behind a name.
func (s *Store) CachedRepositories(ctx context.Context, key RepositoryKey, n int) ([]FoundIn, error) {
	rows, err := s.db.Read().ListRepositoriesOf(ctx, query.ListRepositoriesOfParams{
		GroupID: key.GroupID, UpstreamID: key.UpstreamID, Epoch: key.Epoch, After: key.Name, N: page(n),
	})
	if err != nil {
		return nil, fmt.Errorf("list cached repositories: %w", err)
	}
	return convert(rows, func(r query.ListRepositoriesOfRow) FoundIn { return FoundIn{r.ID, r.Name, key.UpstreamID, r.Epoch} }), nil
}

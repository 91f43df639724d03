package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// What a page of repositories reads at most. It ends there even if the caller may see none of them: the rest is on the next.
const (
	browseRead = 5000
	browsePage = 500
)

// MaxSorted is how many repositories of a range of names are put in the order of their pulls at most: it has no index, so that each
// page reads them all.
const MaxSorted = 10_000

// ErrUnsorted is returned for an order of more than MaxSorted repositories.
var ErrUnsorted = errors.New("too many to be sorted")

// Order is the order of a page.
type Order int

// Orders. Repositories that nobody has pulled come before all others in ByColdest, and after them in ByHottest.
const (
	ByName    Order = iota
	ByColdest       // repositories: the least recently pulled first
	ByHottest       // repositories: the most recently pulled first
	ByNewest        // tags: the one that moved last first
)

// BrowseRepositories asks for a page of a group's repositories that hold a manifest, hosted and cached.
type BrowseRepositories struct {
	GroupID int64
	Prefix  string // of the name
	Order   Order
	Wanted  func(FoundIn) bool // which of them; those of epochs that are not served are none
	After   int64              // RepositoryPage.Next of the page before
	N       int
}

// RepositoryInfo is a repository.
type RepositoryInfo struct {
	FoundIn
	Format    string
	CreatedAt time.Time
	Pulls     Pulls
}

// RepositoryPage is a page of repositories. It may hold fewer than were asked for, even none, although there are more: the end is
// where Next is 0.
type RepositoryPage struct {
	Repositories []RepositoryInfo
	Next         int64 // id of the last one looked at, which need not be on the page
}

// BrowseRepositories lists repositories. ErrCursor when the one that the page before ended with is gone; ErrUnsorted.
func (s *Store) BrowseRepositories(ctx context.Context, q BrowseRepositories) (page RepositoryPage, err error) {
	if err := s.sortable(ctx, q); err != nil {
		return page, err
	}
	var at query.BrowseRepositoryRow
	if q.After != 0 {
		if at, err = s.db.Read().BrowseRepository(ctx, q.After); errors.Is(err, sql.ErrNoRows) {
			return page, ErrCursor
		}
		if owner, oerr := s.db.Read().GetRepository(ctx, q.After); err == nil && (oerr != nil || owner.GroupID != q.GroupID) {
			return page, ErrCursor
		}
	}
	for read := 0; err == nil && read < browseRead; read += browsePage {
		var rows []query.BrowseRepositoryRow
		if rows, err = s.browseRepositories(ctx, q, at); err != nil {
			break
		}
		for _, row := range rows {
			if len(page.Repositories) == q.N {
				page.Next = at.ID
				return page, nil
			}
			if at = row; q.Wanted(FoundIn{row.ID, row.Name, row.UpstreamID, row.Epoch}) {
				page.Repositories = append(page.Repositories, repositoryInfo(row))
			}
		}
		if len(rows) < browsePage {
			return page, nil
		}
	}
	if err != nil {
		return RepositoryPage{}, fmt.Errorf("list repositories: %w", err)
	}
	page.Next = at.ID
	return page, nil
}

// names are the range of names that is asked for.
func (q BrowseRepositories) names() (low, high string) {
	return q.Prefix, q.Prefix + "\x7f" // names are of lower bytes
}

// sortable refuses an order of too many repositories.
func (s *Store) sortable(ctx context.Context, q BrowseRepositories) error {
	if q.Order == ByName {
		return nil
	}
	low, high := q.names()
	n, err := s.db.Read().CountRepositories(ctx, query.CountRepositoriesParams{GroupID: q.GroupID, Low: low, High: high, N: MaxSorted + 1})
	switch {
	case err != nil:
		return fmt.Errorf("count repositories: %w", err)
	case n > MaxSorted:
		return ErrUnsorted
	}
	return nil
}

// browseRepositories reads the rows behind at, whose id is 0 at the beginning.
func (s *Store) browseRepositories(ctx context.Context, q BrowseRepositories, at query.BrowseRepositoryRow) ([]query.BrowseRepositoryRow, error) {
	low, high := q.names()
	switch q.Order {
	case ByColdest:
		p := query.BrowseColdRepositoriesParams{GroupID: q.GroupID, Low: low, High: high, Last: at.LastPulledAt, ID: at.ID, N: browsePage}
		rows, err := s.db.Read().BrowseColdRepositories(ctx, p)
		return convert(rows, func(r query.BrowseColdRepositoriesRow) query.BrowseRepositoryRow { return query.BrowseRepositoryRow(r) }), err
	case ByHottest:
		p := query.BrowseHotRepositoriesParams{GroupID: q.GroupID, Low: low, High: high, Last: at.LastPulledAt, ID: at.ID, N: browsePage}
		if at.ID == 0 {
			p.Last, p.ID = math.MaxInt64, math.MaxInt64
		}
		rows, err := s.db.Read().BrowseHotRepositories(ctx, p)
		return convert(rows, func(r query.BrowseHotRepositoriesRow) query.BrowseRepositoryRow { return query.BrowseRepositoryRow(r) }), err
	}
	p := query.BrowseRepositoriesParams{GroupID: q.GroupID, Name: max(low, at.Name), High: high, ID: at.ID, N: browsePage}
	rows, err := s.db.Read().BrowseRepositories(ctx, p)
	return convert(rows, func(r query.BrowseRepositoriesRow) query.BrowseRepositoryRow { return query.BrowseRepositoryRow(r) }), err
}

func convert[A, B any](in []A, to func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = to(v)
	}
	return out
}

func repositoryInfo(row query.BrowseRepositoryRow) RepositoryInfo {
	return RepositoryInfo{
		FoundIn: FoundIn{row.ID, row.Name, row.UpstreamID, row.Epoch}, Format: row.Format, CreatedAt: fromMicros(row.CreatedAt),
		Pulls: Pulls{fromMicros(row.LastPulledAt), row.PullCount},
	}
}

// RepositoryTotals are what a repository holds. Where there is more than somebody would wait for, AtLeast is set and the numbers
// are those of a part of it.
type RepositoryTotals struct {
	Tags, Manifests int64
	Bytes           int64 // of its blobs, each counted once
	Alone           int64 // of those, the bytes that no other repository of the group holds
	AtLeast         bool
}

const maxCounted = 10_000

// Repository returns what there is to know of a repository. ErrNotFound.
func (s *Store) Repository(ctx context.Context, id int64) (info RepositoryInfo, totals RepositoryTotals, err error) {
	row, err := s.db.Read().BrowseRepository(ctx, id)
	if err != nil {
		return info, totals, notFound(fmt.Errorf("read repository %d: %w", id, err))
	}
	if totals.Tags, err = s.db.Read().CountTags(ctx, query.CountTagsParams{RepositoryID: id, N: maxCounted}); err != nil {
		return info, totals, fmt.Errorf("count tags: %w", err)
	}
	if totals.Manifests, err = s.db.Read().CountManifests(ctx, query.CountManifestsParams{RepositoryID: id, N: maxCounted}); err != nil {
		return info, totals, fmt.Errorf("count manifests: %w", err)
	}
	owner, err := s.db.Read().GetRepository(ctx, id)
	if err != nil {
		return info, totals, notFound(err)
	}
	links, err := s.db.Read().BrowseLinks(ctx, query.BrowseLinksParams{GroupID: owner.GroupID, UpstreamID: -1, RepositoryID: id, After: []byte{}, N: maxCounted})
	for _, link := range links {
		totals.Bytes += link.Size
		if link.Alone {
			totals.Alone += link.Size
		}
	}
	totals.AtLeast = max(totals.Tags, totals.Manifests, int64(len(links))) == maxCounted
	return repositoryInfo(row), totals, err
}

// BrowseTags asks for a page of a repository's tags.
type BrowseTags struct {
	Repository int64
	Prefix     string
	Order      Order   // ByName, ByNewest
	After      TagInfo // the last of the page before: Name, and UpdatedAt with ByNewest
	N          int
}

// TagInfo is a tag with the manifest it points to.
type TagInfo struct {
	Tag
	CreatedAt    time.Time
	MediaType    string
	ArtifactType string
	Platform     string
	ImageCreated time.Time
	Size         int64     // of the manifest with config and layers; of an index, with the images in it that are here
	StoredAt     time.Time // the manifest
	Pulls        Pulls     // of the manifest
}

// BrowseTags lists up to N tags.
func (s *Store) BrowseTags(ctx context.Context, q BrowseTags) ([]TagInfo, error) {
	low, high := tagRange(q.Prefix + "*")
	var rows []query.BrowseTagsRow
	var err error
	if q.Order == ByNewest {
		p := query.BrowseNewTagsParams{
			RepositoryID: q.Repository, UpdatedAt: math.MaxInt64, Name: q.After.Name, Low: low, High: high, N: page(q.N),
		}
		if q.After.Name != "" {
			p.UpdatedAt = micros(q.After.UpdatedAt)
		}
		var newest []query.BrowseNewTagsRow
		newest, err = s.db.Read().BrowseNewTags(ctx, p)
		rows = convert(newest, func(r query.BrowseNewTagsRow) query.BrowseTagsRow { return query.BrowseTagsRow(r) })
	} else {
		if q.After.Name != "" {
			low = max(low, q.After.Name+"\x01") // tags are of higher bytes
		}
		p := query.BrowseTagsParams{RepositoryID: q.Repository, Low: low, High: high, N: page(q.N)}
		rows, err = s.db.Read().BrowseTags(ctx, p)
	}
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	return convert(rows, func(r query.BrowseTagsRow) TagInfo { return s.tagInfo(q.Repository, r) }), nil
}

func (s *Store) tagInfo(repository int64, r query.BrowseTagsRow) TagInfo {
	t := TagInfo{
		Tag: Tag{
			Name: r.Name, Digest: oci.Digest(digestText(r.Digest)), CheckedAt: fromMicros(r.CheckedAt), UpdatedAt: fromMicros(r.UpdatedAt),
		},
		CreatedAt: fromMicros(r.CreatedAt), MediaType: r.MediaType, ArtifactType: r.ArtifactType, Platform: r.Platform,
		ImageCreated: fromMicros(r.ImageCreated), Size: r.Size, StoredAt: fromMicros(r.StoredAt), Pulls: Pulls{fromMicros(r.LastPulledAt), r.PullCount},
	}
	if last := s.deferred.lastPulled(pullKey{repository, t.Digest}); last.After(t.Pulls.Last) {
		t.Pulls.Last = last
	}
	s.deferred.overlay(itemKey{ChangeTag, repository, t.Name}, &t.Tag)
	return t
}

// TagInfo returns one tag; ErrNotFound.
func (s *Store) TagInfo(ctx context.Context, repository int64, name string) (TagInfo, error) {
	low, high := tagRange(name)
	rows, err := s.db.Read().BrowseTags(ctx, query.BrowseTagsParams{RepositoryID: repository, Low: low, High: high, N: 1})
	switch {
	case err != nil:
		return TagInfo{}, fmt.Errorf("read tag: %w", err)
	case len(rows) == 0:
		return TagInfo{}, ErrNotFound
	}
	return s.tagInfo(repository, rows[0]), nil
}

// TagMove is a change of a tag.
type TagMove struct {
	ID      int64      // grows with time
	Digest  oci.Digest // empty: the tag was deleted
	ActorID int64      // 0 = the server
	At      time.Time
}

// TagHistory lists up to n changes of a tag, the latest first, that came before the one with the id before (0 = the end). Tags
// that are gone have one too.
func (s *Store) TagHistory(ctx context.Context, repository int64, name string, before int64, n int) ([]TagMove, error) {
	rows, err := s.db.Read().ListTagHistory(ctx, query.ListTagHistoryParams{
		RepositoryID: repository, Name: name, Before: cmp.Or(before, math.MaxInt64), N: page(n),
	})
	if err != nil {
		return nil, fmt.Errorf("list the history of a tag: %w", err)
	}
	return convert(rows, func(r query.ListTagHistoryRow) TagMove {
		m := TagMove{ID: r.ID, ActorID: r.ActorID, At: fromMicros(r.At)}
		if r.Digest != nil {
			m.Digest = oci.Digest(digestText(r.Digest))
		}
		return m
	}), nil
}

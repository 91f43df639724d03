package content

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/meta"
)

// absent is the answer for what is not there, and for what the caller may not know is there.
func (f *finder) absent(what string) error {
	if f.err != nil {
		return f.err
	}
	if f.views {
		return api.NotThere(what)
	}
	return api.NoGroup()
}

// noHosted is what is missing where no upstream was named: lists show cached repositories beside hosted ones.
const noHosted = "hosted repository; one that is cached is asked for with its upstream (upstream=NAME, --upstream NAME)"

// at finds a repository that the caller may know about. Rights come first: the time that the answer takes tells nothing.
func (desk *Desk) at(ctx context.Context, p api.Place) (*finder, store.FoundIn, error) {
	f, err := desk.finder(ctx, p.Caller, p.Group)
	if err != nil {
		return nil, store.FoundIn{}, err
	}
	if f == nil {
		return nil, store.FoundIn{}, api.NoGroup()
	}
	in, what := store.FoundIn{Name: p.Repository}, noHosted
	if p.Upstream != "" {
		if err := f.off(); err != nil {
			return nil, in, err
		}
		u := f.upstream(p.Upstream)
		if u == nil || u.Local != "" {
			return nil, in, f.absent("repository")
		}
		in.UpstreamID, in.Epoch, what = u.ID, u.Epoch, "repository"
	}
	if !oci.ValidRepository(p.Repository) || !f.visible(in) || f.err != nil {
		return nil, in, f.absent(what)
	}
	in.Repository, err = desk.Store.RepositoryID(f.ctx, store.RepositoryKey{
		GroupID: f.group.ID, UpstreamID: in.UpstreamID, Epoch: in.Epoch, Name: in.Name,
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, in, f.absent(what)
	}
	return f, in, err
}

// missing turns the store's word for what is not there into the answer.
func (f *finder) missing(err error, what string) error {
	if errors.Is(err, store.ErrNotFound) {
		return f.absent(what)
	}
	return err
}

// Repositories implements api.Content.
func (desk *Desk) Repositories(ctx context.Context, q api.RepositoryQuery) (api.RepositoryPage, error) {
	f, err := desk.finder(ctx, q.Caller, q.Group)
	if err != nil {
		return api.RepositoryPage{}, err
	}
	if f == nil {
		return api.RepositoryPage{}, api.NoGroup()
	}
	if err := f.off(); err != nil && (q.Kind == "cached" || q.Upstream != "" || q.Registry != "") {
		return api.RepositoryPage{}, err
	}
	if err := f.knows(q); err != nil {
		return api.RepositoryPage{}, err
	}
	orders := map[string]store.Order{"last_pulled_at": store.ByColdest, "-last_pulled_at": store.ByHottest}
	found, err := desk.Store.BrowseRepositories(f.ctx, store.BrowseRepositories{
		GroupID: f.group.ID, Prefix: q.Prefix, Order: orders[q.Sort], After: q.Behind, N: q.Limit, Wanted: f.wanted(q),
	})
	switch {
	case errors.Is(err, store.ErrCursor):
		return api.RepositoryPage{}, api.WrongQuery("after", "the repository with which the page before ended is gone: begin again without after")
	case errors.Is(err, store.ErrUnsorted):
		return api.RepositoryPage{}, api.WrongQuery("sort", fmt.Sprintf("more than %d repositories are too many to be sorted by their last pull: ask for fewer with prefix, or sort by name", store.MaxSorted))
	case err != nil:
		return api.RepositoryPage{}, err
	case f.err != nil:
		return api.RepositoryPage{}, f.err
	}
	page := api.RepositoryPage{Next: found.Next}
	for _, r := range found.Repositories {
		page.Repositories = append(page.Repositories, f.repository(r))
	}
	return page, f.err
}

// knows refuses names that nothing in the group has: an empty list would look like an answer. Who may not view the group gets that.
func (f *finder) knows(q api.RepositoryQuery) error {
	switch {
	case !f.views:
	case q.Upstream != "" && f.upstream(q.Upstream) == nil:
		return noUpstream("upstream")
	case q.Registry != "" && !slices.ContainsFunc(f.group.Registries, func(r meta.Registry) bool { return r.Name == q.Registry }):
		return api.WrongQuery("registry", "the group has no such registry")
	}
	return nil
}

func noUpstream(parameter string) error {
	return api.WrongQuery(parameter, "the group has no such upstream")
}

// wanted is what a list of repositories shows.
func (f *finder) wanted(q api.RepositoryQuery) func(store.FoundIn) bool {
	return func(in store.FoundIn) bool {
		cached := in.UpstreamID != 0
		if q.Kind == "hosted" && cached || q.Kind == "cached" && !cached {
			return false
		}
		if q.Upstream != "" && (!cached || f.upstreams[in.UpstreamID] == nil || f.upstreams[in.UpstreamID].Name != q.Upstream) {
			return false
		}
		if q.Registry == "" {
			return f.visible(in)
		}
		return cached && f.hasPath(in, f.group.Name+"/"+q.Registry+"/"+in.Name)
	}
}

func (f *finder) hasPath(in store.FoundIn, path string) bool {
	for _, p := range f.paths(in, oci.Reference{}) {
		if p == path {
			return true
		}
	}
	return false
}

func (f *finder) repository(r store.RepositoryInfo) api.Repository {
	out := api.Repository{
		ID: strconv.FormatInt(r.Repository, 10), Name: r.Name, Kind: "hosted", Paths: f.paths(r.FoundIn, oci.Reference{}), Format: r.Format,
		CreatedAt: r.CreatedAt, LastPulledAt: optionalTime(r.Pulls.Last), Pulls: r.Pulls.Count,
	}
	if out.Paths == nil {
		out.Paths = []string{}
	}
	if u := f.upstreams[r.UpstreamID]; u != nil {
		out.Kind, out.Upstream = "cached", u.Name
	}
	return out
}

// Repository implements api.Content.
func (desk *Desk) Repository(ctx context.Context, at api.Place) (api.RepositoryDetail, error) {
	f, in, err := desk.at(ctx, at)
	if err != nil {
		return api.RepositoryDetail{}, err
	}
	info, totals, err := desk.Store.Repository(f.ctx, in.Repository)
	if err != nil {
		return api.RepositoryDetail{}, f.missing(err, "repository")
	}
	return api.RepositoryDetail{
		Repository: f.repository(info), Tags: totals.Tags, Manifests: totals.Manifests, Bytes: totals.Bytes, UniqueBytes: totals.Alone, AtLeast: totals.AtLeast,
	}, f.err
}

// Tags implements api.Content.
func (desk *Desk) Tags(ctx context.Context, q api.TagQuery) (items []api.Tag, more bool, last api.TagPlace, err error) {
	f, in, err := desk.at(ctx, q.At)
	if err != nil {
		return nil, false, last, err
	}
	ask := store.BrowseTags{Repository: in.Repository, Prefix: q.Prefix, N: q.Limit + 1}
	if q.Sort == "-updated_at" {
		ask.Order = store.ByNewest
	}
	ask.After.Name, ask.After.UpdatedAt = q.Behind.Name, q.Behind.UpdatedAt
	for {
		rows, err := desk.Store.BrowseTags(f.ctx, ask)
		if err != nil || f.err != nil {
			return nil, false, last, errors.Join(err, f.err)
		}
		for _, row := range rows {
			if !f.sees(in, oci.ByTag(row.Name)) {
				continue
			}
			if len(items) == q.Limit {
				return items, true, last, f.err
			}
			items = append(items, f.tag(in, row))
			last = api.TagPlace{Name: row.Name, UpdatedAt: row.UpdatedAt}
		}
		if len(rows) < ask.N {
			return items, false, last, f.err
		}
		ask.After = rows[len(rows)-1]
	}
}

func (f *finder) tag(in store.FoundIn, t store.TagInfo) api.Tag {
	out := api.Tag{
		Name: t.Name, Digest: string(t.Digest), MediaType: t.MediaType, ArtifactType: t.ArtifactType, Platform: t.Platform, Size: t.Size,
		ImageCreated: optionalTime(t.ImageCreated), CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
		LastPulledAt: optionalTime(t.Pulls.Last), Pulls: t.Pulls.Count,
	}
	if u := f.upstreams[in.UpstreamID]; u != nil {
		out.Cached = u.freshness(in.Name, t, time.Now())
	}
	return out
}

// freshness tells what is known of a cached tag.
func (u *searched) freshness(repository string, t store.TagInfo, now time.Time) *api.TagFreshness {
	class, fresh, forever := u.fresh.Class(repository, t.Name)
	out := &api.TagFreshness{
		Upstream: u.Name, FetchedAt: t.StoredAt, CheckedAt: t.CheckedAt, Age: int64(max(0, now.Sub(t.CheckedAt)).Seconds()),
		Class: "default", FreshFor: u.Freshness.Default, Stale: !u.fresh.Fresh(repository, t.Name, t.CheckedAt, u.StaleBefore, now),
	}
	if class >= 0 {
		out.Class, out.FreshFor = u.Freshness.Classes[class].Pattern, u.Freshness.Classes[class].For
	}
	if out.FreshFor == "" {
		out.FreshFor = cache.DefaultFreshness.String()
	}
	switch {
	case t.CheckedAt.Before(u.StaleBefore):
		out.ExpiresAt = optionalTime(u.StaleBefore)
	case !forever:
		out.ExpiresAt = optionalTime(t.CheckedAt.Add(fresh))
	}
	return out
}

// shownMoves is how many of its moves a tag is shown with.
const shownMoves = 10

// Tag implements api.Content.
func (desk *Desk) Tag(ctx context.Context, at api.Place, name string) (api.TagDetail, error) {
	f, in, err := desk.at(ctx, at)
	if err != nil {
		return api.TagDetail{}, err
	}
	if !oci.ValidTag(name) || !f.sees(in, oci.ByTag(name)) {
		return api.TagDetail{}, f.absent("tag")
	}
	t, err := desk.Store.TagInfo(f.ctx, in.Repository, name)
	if err != nil {
		return api.TagDetail{}, f.missing(err, "tag")
	}
	moves, err := f.moves(in, name, 0, shownMoves+1)
	if err != nil {
		return api.TagDetail{}, err
	}
	more := len(moves) > shownMoves
	return api.TagDetail{Tag: f.tag(in, t), History: moves[:min(len(moves), shownMoves)], MoreHistory: more}, f.err
}

// TagHistory implements api.Content.
func (desk *Desk) TagHistory(ctx context.Context, at api.Place, tag string, before int64, n int) ([]api.TagMove, error) {
	f, in, err := desk.at(ctx, at)
	if err != nil {
		return nil, err
	}
	if !oci.ValidTag(tag) || !f.sees(in, oci.ByTag(tag)) {
		return nil, f.absent("tag")
	}
	moves, err := f.moves(in, tag, before, n)
	if err == nil && len(moves) == 0 && before == 0 {
		return nil, f.absent("tag")
	}
	return moves, errors.Join(err, f.err)
}

func (f *finder) moves(in store.FoundIn, tag string, before int64, n int) ([]api.TagMove, error) {
	rows, err := f.Store.TagHistory(f.ctx, in.Repository, tag, before, n)
	if err != nil {
		return nil, err
	}
	names, err := f.actors()
	if err != nil {
		return nil, err
	}
	moves := make([]api.TagMove, len(rows))
	for i, row := range rows {
		moves[i] = api.TagMove{ID: strconv.FormatInt(row.ID, 10), Digest: string(row.Digest), At: row.At}
		if f.views && row.ActorID != 0 {
			moves[i].Actor = &api.TagMover{ID: strconv.FormatInt(row.ActorID, 10), Name: names[row.ActorID]}
		}
	}
	return moves, nil
}

// actors are the names of accounts, for those who may know them.
func (f *finder) actors() (map[int64]string, error) {
	if !f.views {
		return nil, nil //nolint:nilnil // no names are no error
	}
	accounts, err := f.Directory.Accounts(f.ctx)
	names := make(map[int64]string, len(accounts))
	for _, a := range accounts {
		names[a.ID] = a.Name
	}
	return names, err
}

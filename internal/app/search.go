package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/meta"
)

var _ api.Searcher = (*server)(nil)

// Search implements api.Searcher. Access decides for each repository by the names that lead to it.
func (s *server) Search(ctx context.Context, q api.SearchQuery) (api.SearchPage, error) {
	g := s.live.named(q.Group)
	if g == nil {
		return api.SearchPage{Manifests: []api.FoundManifest{}}, nil
	}
	f := &finder{server: s, ctx: ctx, caller: q.Caller, group: g.Group, now: time.Now(), upstreams: map[int64]*searched{}}
	if err := f.read(); err != nil {
		return api.SearchPage{}, err
	}
	question, ok := f.question(q)
	if !ok { // of an upstream that is not there
		return api.SearchPage{Manifests: []api.FoundManifest{}}, nil
	}
	found, err := s.store.Search(ctx, question)
	switch {
	case errors.Is(err, store.ErrCursor):
		return api.SearchPage{}, api.WrongQuery("after", "no place where a search of this group has stopped: begin anew")
	case errors.Is(err, store.ErrDigestPrefix):
		return api.SearchPage{}, api.WrongQuery("digest", err.Error())
	case err != nil:
		return api.SearchPage{}, err
	case f.err != nil: // the grants could not be read
		return api.SearchPage{}, f.err
	}
	page := api.SearchPage{Manifests: make([]api.FoundManifest, 0, len(found.Manifests)), Next: found.Next}
	for _, m := range found.Manifests {
		page.Manifests = append(page.Manifests, f.manifest(m))
	}
	return page, nil
}

// finder answers one search.
type finder struct {
	*server
	ctx       context.Context //nolint:containedctx // of the one request
	caller    api.Caller
	group     meta.Group
	now       time.Time
	upstreams map[int64]*searched

	err error
}

// searched is an upstream as a search sees it.
type searched struct {
	meta.Upstream

	fresh      cache.Freshness
	registries []string // that have it as a member, and are on
}

// read gathers what the group's definitions say.
func (f *finder) read() error {
	for _, u := range f.group.Upstreams {
		fresh, err := cache.ParseFreshness(u.Freshness)
		if err != nil {
			return err
		}
		f.upstreams[u.ID] = &searched{Upstream: u, fresh: fresh}
	}
	for _, r := range f.group.Registries {
		for _, m := range r.Members {
			if u := f.upstreams[m.UpstreamID]; u != nil && r.Enabled && m.Enabled {
				u.registries = append(u.registries, r.Name)
			}
		}
	}
	return nil
}

func (f *finder) question(q api.SearchQuery) (_ store.Search, ok bool) {
	out := store.Search{
		GroupID: f.group.ID, Name: q.Name, Tag: q.Tag, Digest: q.Digest, Platform: q.Platform, Type: q.Type,
		NotPulledSince: q.NotPulledSince, After: q.After, N: min(q.Limit, store.MaxFound), Visible: f.visible,
	}
	for _, label := range q.Label {
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		key, value, _ := strings.Cut(label, "=")
		out.Labels[key] = value
	}
	if q.Stale {
		out.Stale = f.stale
	}
	if q.Source == "" {
		return out, true
	}
	var id int64 // hosted
	if name, cached := strings.CutPrefix(q.Source, "upstream/"); cached {
		for _, u := range f.upstreams {
			if u.Name == name {
				id = u.ID
			}
		}
		if id == 0 {
			return out, false
		}
	}
	out.Upstream = &id
	return out, true
}

// visible reports whether the caller may pull from a repository by any of its names. A cached one has a name in each registry
// that its upstream is a member of.
func (f *finder) visible(in store.FoundIn) bool { return f.pathOf(in) != "" }

func (f *finder) pathOf(in store.FoundIn) string {
	if in.UpstreamID == 0 {
		if path := f.group.Name + "/" + in.Name; f.mayPull(path) {
			return path
		}
		return ""
	}
	u := f.upstreams[in.UpstreamID]
	if u == nil || u.Epoch != in.Epoch {
		return ""
	}
	for _, registry := range u.registries {
		if path := f.group.Name + "/" + registry + "/" + in.Name; f.mayPull(path) {
			return path
		}
	}
	return ""
}

func (f *finder) mayPull(path string) bool {
	if f.caller.Local {
		return true
	}
	t, err := f.doors.table.Lookup(namespace.Request{Name: path})
	if err != nil {
		return false // a name that nobody can pull
	}
	d, err := f.dir.Check(f.ctx, f.caller.Principal, access.Request{Action: access.Pull, Path: path, Public: f.public(t)})
	if err != nil {
		f.err = err
	}
	return err == nil && d.Allowed
}

// stale reports whether the next pull of a tag asks the upstream.
func (f *finder) stale(in store.FoundIn, tag store.Tag) bool {
	u := f.upstreams[in.UpstreamID]
	return u != nil && !u.fresh.Fresh(in.Name, tag.Name, tag.CheckedAt, u.StaleBefore, f.now)
}

func (f *finder) manifest(m store.Found) api.FoundManifest {
	out := api.FoundManifest{
		Repository: f.pathOf(m.In), Digest: string(m.Digest), MediaType: m.MediaType, ArtifactType: m.ArtifactType, Platform: m.Platform,
		Size: m.Size, Created: optionalTime(m.ImageCreated), StoredAt: m.StoredAt, LastPulled: optionalTime(m.LastPulled), Pulls: m.Pulls,
		Labels: m.Labels, Tags: make([]api.FoundTag, 0, len(m.Tags)), MoreTags: m.MoreTags,
	}
	if u := f.upstreams[m.In.UpstreamID]; u != nil {
		out.Upstream = u.Name
	}
	for _, tag := range m.Tags {
		out.Tags = append(out.Tags, api.FoundTag{
			Name: tag.Name, UpdatedAt: tag.UpdatedAt, CheckedAt: optionalTime(tag.CheckedAt), Stale: f.stale(m.In, tag),
		})
	}
	return out
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

package content

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
)

// Search implements api.Searcher.
func (desk *Desk) Search(ctx context.Context, q api.SearchQuery) (api.SearchPage, error) {
	f, err := desk.finder(ctx, q.Caller, q.Group)
	if err != nil {
		return api.SearchPage{}, err
	}
	if f == nil {
		return api.SearchPage{}, api.NoGroup()
	}
	if err := f.off(); err != nil && (q.Kind == "cached" || q.Upstream != "") {
		return api.SearchPage{}, err
	}
	question, ok := f.question(q)
	if !ok && f.views {
		return api.SearchPage{}, noUpstream("upstream")
	}
	if !ok {
		return api.SearchPage{Manifests: []api.FoundManifest{}}, nil
	}
	found, err := desk.Store.Search(ctx, question)
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

func (f *finder) question(q api.SearchQuery) (_ store.Search, ok bool) {
	out := store.Search{
		GroupID: f.group.ID, Name: q.Name, Tag: q.Tag, Digest: q.Digest, Platform: q.Platform, Type: q.Type,
		NotPulledSince: q.NotPulledSince, After: q.After, N: min(q.Limit, store.MaxFound), Visible: f.visible,
		Passes: func(in store.FoundIn, d oci.Digest) bool { return f.sees(in, oci.ByDigest(d)) },
	}
	if strings.HasPrefix(q.Name, f.group.Name+"/") { // as a result shows it
		out.Name = q.Name[strings.LastIndexByte(q.Name, '/')+1:]
		out.Visible = func(in store.FoundIn) bool { return f.visible(in) && f.named(in, q.Name) }
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
	if q.Upstream != "" {
		u := f.upstream(q.Upstream)
		if u == nil {
			return out, false
		}
		out.Upstream = &u.ID
	}
	if q.Kind != "" {
		visible := out.Visible
		out.Visible = func(in store.FoundIn) bool { return q.Kind == "cached" == (in.UpstreamID != 0) && visible(in) }
	}
	if q.Kind == "hosted" && q.Upstream == "" {
		out.Upstream = new(int64)
	}
	return out, true
}

// named reports whether a repository has a name that holds part, or can be pulled by one that begins with it.
func (f *finder) named(in store.FoundIn, part string) bool {
	begins := func(path string) bool { return strings.HasPrefix(path, part) }
	return strings.Contains(in.Name, part) || begins(f.pathOf(in)) || slices.ContainsFunc(f.paths(in, oci.Reference{}), begins)
}

// stale reports whether the next pull of a tag asks the upstream.
func (f *finder) stale(in store.FoundIn, tag store.Tag) bool {
	u := f.upstreams[in.UpstreamID]
	return u != nil && !u.fresh.Fresh(in.Name, tag.Name, tag.CheckedAt, u.StaleBefore, time.Now())
}

func (f *finder) manifest(m store.Found) api.FoundManifest {
	out := api.FoundManifest{
		Repository: f.pathOf(m.In), Digest: string(m.Digest), MediaType: m.MediaType, ArtifactType: m.ArtifactType, Platform: m.Platform,
		Size: m.Size, ImageCreated: optionalTime(m.ImageCreated), StoredAt: m.StoredAt, LastPulledAt: optionalTime(m.LastPulled), Pulls: m.Pulls,
		Labels: m.Labels, Tags: make([]api.FoundTag, 0, len(m.Tags)), MoreTags: m.MoreTags,
	}
	if u := f.upstreams[m.In.UpstreamID]; u != nil {
		out.Upstream = u.Name
	}
	for _, image := range m.Images {
		out.Images = append(out.Images, api.FoundImage{Digest: string(image.Digest), Platform: image.Platform, Here: image.Here})
	}
	for _, tag := range m.Tags {
		if m.In.UpstreamID != 0 && !f.sees(m.In, oci.ByTag(tag.Name)) {
			continue
		}
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

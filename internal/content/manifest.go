package content

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
)

// What one manifest is shown with at most.
const (
	shownTags      = 100
	shownReferrers = 100
	shownParts     = 1000
	sharedLayers   = 128 // whose sharing is counted
)

// Manifests implements api.Content.
func (desk *Desk) Manifests(ctx context.Context, at api.Place, after oci.Digest, n int) (items []api.ManifestSummary, more bool, last oci.Digest, err error) {
	f, in, err := desk.at(ctx, at)
	if err != nil {
		return nil, false, "", err
	}
	for {
		rows, err := desk.Store.BrowseManifests(f.ctx, in.Repository, after, n+1)
		if err != nil || f.err != nil {
			return nil, false, "", errors.Join(err, f.err)
		}
		for _, row := range rows {
			if !f.sees(in, oci.ByDigest(row.Digest)) {
				continue
			}
			if len(items) == n {
				return items, true, last, f.err
			}
			items, last = append(items, f.summary(in, row)), row.Digest
		}
		if len(rows) <= n {
			return items, false, last, f.err
		}
		after = rows[len(rows)-1].Digest
	}
}

func (f *finder) summary(in store.FoundIn, m store.Found) api.ManifestSummary {
	out := api.ManifestSummary{
		Digest: string(m.Digest), MediaType: m.MediaType, ArtifactType: m.ArtifactType, Platform: m.Platform, Size: m.Size,
		ImageCreated: optionalTime(m.ImageCreated), StoredAt: m.StoredAt, LastPulledAt: optionalTime(m.LastPulled), Pulls: m.Pulls,
		Tags: []string{}, MoreTags: m.MoreTags,
	}
	for _, tag := range m.Tags {
		if f.sees(in, oci.ByTag(tag.Name)) {
			out.Tags = append(out.Tags, tag.Name)
		}
	}
	return out
}

// Manifest implements api.Content.
func (desk *Desk) Manifest(ctx context.Context, at api.Place, digest oci.Digest) (api.ManifestDetail, error) {
	f, in, err := desk.at(ctx, at)
	if err != nil {
		return api.ManifestDetail{}, err
	}
	if !f.sees(in, oci.ByDigest(digest)) {
		return api.ManifestDetail{}, f.absent("manifest")
	}
	m, err := desk.Store.ManifestInfo(f.ctx, in.Repository, digest)
	if err != nil {
		return api.ManifestDetail{}, f.missing(err, "manifest")
	}
	out := api.ManifestDetail{
		Digest: string(m.Digest), MediaType: m.MediaType, ArtifactType: m.ArtifactType, Platform: m.Platform, Size: m.Size, ManifestBytes: int64(len(m.Payload)),
		ImageCreated: optionalTime(m.ImageCreated), StoredAt: m.CreatedAt,
	}
	if u := f.upstreams[in.UpstreamID]; u != nil {
		out.Upstream = u.Name
	}
	for _, part := range []func(store.FoundIn, store.ManifestInfo, *api.ManifestDetail) error{f.sizes, f.about, f.parts} {
		if err := part(in, m, &out); err != nil {
			return api.ManifestDetail{}, f.missing(err, "manifest") // it may go meanwhile
		}
	}
	return out, f.err
}

// sizes tells how large a manifest is with everything that it refers to, and what only it needs.
func (f *finder) sizes(in store.FoundIn, m store.ManifestInfo, out *api.ManifestDetail) error {
	tree, err := f.Store.Tree(f.ctx, in.Repository, m.Digest)
	if err != nil {
		return err
	}
	out.ReferencedBytes, out.AtLeast = tree.Bytes, tree.Cut
	out.UniqueBytes, err = f.Store.Alone(f.ctx, f.group.ID, in.Repository, tree, f.visible)
	return err
}

// about tells who pulled a manifest, what tags it has, and who refers to it.
func (f *finder) about(in store.FoundIn, m store.ManifestInfo, out *api.ManifestDetail) error {
	pulls, err := f.Store.Pulls(f.ctx, in.Repository, m.Digest)
	if err != nil {
		return err
	}
	out.LastPulledAt, out.Pulls = optionalTime(pulls.Last), pulls.Count
	tags, err := f.Store.TagsOf(f.ctx, in.Repository, m.Digest, shownTags+1)
	if err != nil {
		return err
	}
	out.Tags, out.MoreTags = []string{}, len(tags) > shownTags
	for _, tag := range tags[:min(len(tags), shownTags)] {
		if f.sees(in, oci.ByTag(tag)) {
			out.Tags = append(out.Tags, tag)
		}
	}
	referrers, err := f.Store.Referrers(f.ctx, in.Repository, m.Digest, "", shownReferrers+1)
	if err != nil {
		return err
	}
	out.Referrers, out.MoreReferrers = []api.Referrer{}, len(referrers) > shownReferrers
	for _, r := range referrers[:min(len(referrers), shownReferrers)] {
		out.Referrers = append(out.Referrers, api.Referrer{
			Digest: string(r.Digest), MediaType: r.MediaType, ArtifactType: r.ArtifactType, Size: r.Size, Annotations: r.Annotations,
		})
	}
	return nil
}

// parts tells what a manifest refers to.
func (f *finder) parts(in store.FoundIn, m store.ManifestInfo, out *api.ManifestDetail) error {
	parsed, err := oci.ParseManifest("", m.Payload)
	if err != nil {
		return err
	}
	out.Annotations = parsed.Annotations
	if parsed.Subject != nil {
		out.Subject = string(parsed.Subject.Digest)
	}
	out.MoreParts = max(len(parsed.Children), len(parsed.Layers)) > shownParts
	for _, child := range parsed.Children[:min(len(parsed.Children), shownParts)] {
		here, err := present(f.Store.Manifest(f.ctx, in.Repository, child.Digest))
		if err != nil {
			return err
		}
		out.Platforms = append(out.Platforms, api.ManifestChild{
			Digest: string(child.Digest), MediaType: child.MediaType, ArtifactType: child.ArtifactType, Platform: oci.PlatformText(child.Platform),
			Size: child.Size, Here: here, Annotations: child.Annotations,
		})
	}
	for i, layer := range parsed.Layers[:min(len(parsed.Layers), shownParts)] {
		shown, err := f.layer(in, layer, i < sharedLayers)
		if err != nil {
			return err
		}
		out.Layers = append(out.Layers, shown)
	}
	if parsed.Config != nil {
		out.Config, err = f.config(in, *parsed.Config)
	}
	return err
}

func (f *finder) layer(in store.FoundIn, d oci.Descriptor, count bool) (api.Layer, error) {
	out := api.Layer{Digest: string(d.Digest), MediaType: d.MediaType, Size: d.Size, URLs: d.URLs, Annotations: d.Annotations}
	var err error
	if out.Here, err = present(f.Store.Blob(f.ctx, in.Repository, d.Digest)); err != nil || !count || !out.Here {
		return out, err
	}
	holders, err := f.Store.Holders(f.ctx, f.group.ID, d.Digest)
	n := 0
	for _, h := range holders {
		if h.Repository != in.Repository && f.visible(h) {
			n++
		}
	}
	out.SharedBy = &n
	return out, err
}

// config reads the config of an image, if it is here and is one.
func (f *finder) config(in store.FoundIn, d oci.Descriptor) (*api.ImageConfig, error) {
	out := &api.ImageConfig{Digest: string(d.Digest), MediaType: d.MediaType, Size: d.Size}
	var err error
	if out.Here, err = present(f.Store.Blob(f.ctx, in.Repository, d.Digest)); err != nil || !out.Here {
		return out, err
	}
	data, err := f.Store.Config(f.ctx, in.Repository, d.Digest)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUnreadable) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	describeConfig(data, out)
	return out, nil
}

// present turns the store's word for what is not there into false.
func present[T any](_ T, err error) (bool, error) {
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

package content

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Refresh implements api.Refresher: one image is confirmed at once, a repository or an upstream when it is next asked for.
func (desk *Desk) Refresh(ctx context.Context, t api.RefreshTarget, progress func(api.RefreshProgress)) (api.Refreshed, error) {
	ctx = acting(ctx, t.Caller)
	switch {
	case t.Image != "":
		return desk.refreshImage(ctx, t.Image)
	case t.Repository != "":
		return desk.refreshRepository(ctx, t.Repository, progress)
	}
	return desk.refreshUpstream(ctx, t.Upstream)
}

func (desk *Desk) refreshImage(ctx context.Context, image string) (api.Refreshed, error) {
	name, ref, err := parseImage(image)
	if err != nil {
		return api.Refreshed{}, err
	}
	v, t, err := desk.cached(name)
	if err != nil {
		return api.Refreshed{}, err
	}
	d, err := v.Refresh(ctx, t.Local, ref)
	if err != nil {
		return api.Refreshed{Decision: &d}, err
	}
	out := api.Refreshed{Decision: &d}
	count(&out, image, d)
	return out, desk.refreshed(deciding(ctx, d.ID), t, image)
}

// refreshed tells who has had the cache ask: what comes of it, the cache does by itself.
func (desk *Desk) refreshed(ctx context.Context, t namespace.Target, what string) error {
	return desk.Store.Note(ctx, t.GroupID, event.CacheRefreshed, what, nil)
}

// count notes a refreshed reference, or one that stays as it was because its upstream did not confirm it.
func count(out *api.Refreshed, image string, d virtual.Decision) {
	if d.Cache != registry.CacheStale {
		out.References++
		return
	}
	k := api.Kept{Image: image, Reason: "not confirmed"}
	for _, m := range d.Members {
		if m.Member == d.Member && m.Reason != "" {
			k.Reason = m.Member + ": " + m.Reason
		}
	}
	out.Kept = append(out.Kept, k)
}

func (desk *Desk) refreshRepository(ctx context.Context, name string, progress func(api.RefreshProgress)) (api.Refreshed, error) {
	v, t, err := desk.cached(name)
	if err != nil {
		return api.Refreshed{}, err
	}
	if err := desk.refreshed(ctx, t, name); err != nil {
		return api.Refreshed{}, err
	}
	out := api.Refreshed{}
	tags, err := heldTags(ctx, v, t.Local)
	if err != nil {
		return out, err
	}
	var told turn
	for i, tag := range tags {
		if progress != nil && told.due() {
			progress(api.RefreshProgress{References: i, TotalReferences: len(tags)})
		}
		d, err := v.Refresh(ctx, t.Local, oci.ByTag(tag))
		if err != nil {
			return out, fmt.Errorf("refresh %s:%s: %w", name, tag, err)
		}
		count(&out, name+":"+tag, d)
	}
	return out, nil
}

// heldTags are the tags of a repository that were ever pulled; of the others there is nothing to confirm.
func heldTags(ctx context.Context, v *virtual.Registry, repository string) (all []string, err error) {
	for page := (registry.Page{N: refreshPage}); ; {
		tags, err := v.Tags(ctx, repository, page)
		if err != nil {
			return nil, err
		}
		for _, tag := range tags.Tags {
			if held(v.Explain(ctx, virtual.Request{Repository: repository, Reference: oci.ByTag(tag)})) {
				all = append(all, tag)
			}
		}
		if !tags.More {
			return all, nil
		}
		page.Last = tags.Tags[len(tags.Tags)-1]
	}
}

// held reports whether a member has the reference, fresh or not.
func held(d virtual.Decision) bool {
	return slices.ContainsFunc(d.Members, func(m virtual.Considered) bool {
		return !m.Local && (m.Held == virtual.Fresh.String() || m.Held == virtual.Stale.String())
	})
}

// refreshPage is how many tags are looked at with one list.
const refreshPage = 500

func (desk *Desk) refreshUpstream(ctx context.Context, name string) (api.Refreshed, error) {
	group, upstream, _ := strings.Cut(name, "/")
	var c *cache.Registry
	if g := desk.Group(group); g != nil {
		if !g.Enabled {
			return api.Refreshed{}, api.TurnedOff()
		}
		c = g.Caches[upstream]
	}
	if c == nil {
		return api.Refreshed{}, oci.NewError(oci.CodeNameUnknown, "there is no remote upstream "+name+"; say <group>/<upstream>")
	}
	err := desk.DB.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		if err := tx.SetStaleBefore(ctx, c.GroupID, c.UpstreamID, time.Now()); err != nil {
			return err
		}
		return tx.Event(ctx, meta.Event{GroupID: c.GroupID, Kind: event.CacheRefreshed, Subject: "upstream " + upstream})
	})
	if err == nil {
		desk.Changed(ctx)
	}
	return api.Refreshed{Deferred: true}, err
}

// cached returns the virtual registry that a name leads to, and the name in it.
func (desk *Desk) cached(name string) (*virtual.Registry, namespace.Target, error) {
	t, err := desk.Table.Lookup(namespace.Request{Name: name})
	if err != nil {
		return nil, t, err
	}
	if t.Off {
		if g := desk.Group(t.Group); g != nil && !g.Enabled {
			return nil, t, api.TurnedOff()
		}
		return nil, t, api.RegistryOff()
	}
	v, ok := t.Registry.(*virtual.Registry)
	if !ok {
		return nil, t, oci.NewError(oci.CodeNameUnknown, "only images of virtual registries are cached; "+name+" is not one")
	}
	return v, t, nil
}

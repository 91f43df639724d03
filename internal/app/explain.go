package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
)

var _ api.Explainer = (*server)(nil)

// Explain implements api.Explainer: the same steps as a pull, access first, then the resolver.
func (s *server) Explain(ctx context.Context, q api.Question) (api.Explanation, error) {
	name, ref, err := s.parseImage(q.Image)
	if err != nil {
		return api.Explanation{}, err
	}
	p, err := s.asWhom(ctx, q.As, q.Caller)
	if err != nil {
		return api.Explanation{}, err
	}
	t, err := s.doors.table.Lookup(namespace.Request{Name: name})
	if err != nil {
		return api.Explanation{}, err
	}
	out := api.Explanation{Image: q.Image, As: p.Name, Kind: string(t.Kind)}
	ctx = access.WithPrincipal(ctx, p)
	err = s.explainAccess(ctx, p, t, &out)
	if err != nil || !out.Allowed {
		return out, err
	}
	if v, ok := t.Registry.(*virtual.Registry); ok {
		d := v.Explain(ctx, virtual.Request{Repository: t.Local, Reference: ref, Probe: q.Probe})
		out.Decision, out.Status, out.Message = &d, d.Status, d.Message
		return out, nil
	}
	out.Status = http.StatusOK
	if _, err := t.Registry.StatManifest(ctx, t.Local, ref); err != nil {
		return out, s.explainError(&out, err)
	}
	return out, nil
}

// explainAccess fills in what access says.
func (s *server) explainAccess(ctx context.Context, p access.Principal, t namespace.Target, out *api.Explanation) error {
	d, err := s.dir.Check(ctx, p, access.Request{Action: access.Pull, Path: t.Path, Public: s.public(t)})
	if err != nil {
		return err
	}
	out.Allowed, out.Access = d.Allowed, d.Why
	if err := d.Err(); err != nil {
		return s.explainError(out, err)
	}
	return nil
}

// public says whether anyone may pull, for somebody on this machine.
func (s *server) public(t namespace.Target) bool {
	return t.Anonymous == namespace.AnonymousYes || t.Anonymous == namespace.AnonymousLoopback && s.doors.private
}

// explainError turns a protocol error into the outcome that it would be; other errors are returned.
func (s *server) explainError(out *api.Explanation, err error) error {
	e, ok := errors.AsType[*oci.Error](err)
	if !ok {
		return err
	}
	out.Status, out.Message = e.Status(), e.Message
	return nil
}

// cached returns the virtual registry that a name leads to, and the name in it.
func (s *server) cached(name string) (*virtual.Registry, namespace.Target, error) {
	t, err := s.doors.table.Lookup(namespace.Request{Name: name})
	if err != nil {
		return nil, t, err
	}
	v, ok := t.Registry.(*virtual.Registry)
	if !ok {
		return nil, t, oci.NewError(oci.CodeNameUnknown, "only images of virtual registries that are turned on are cached; "+name+" is not one")
	}
	return v, t, nil
}

func (s *server) asWhom(ctx context.Context, as string, caller api.Caller) (access.Principal, error) {
	switch as {
	case "":
		return caller.Principal, nil
	case "anonymous":
		return access.Nobody(), nil
	}
	return s.dir.As(ctx, as)
}

// parseImage reads an image as people write it: [host/]<group>/<…>[:tag][@digest]. A digest wins over a tag; neither is "latest".
func (s *server) parseImage(image string) (name string, ref oci.Reference, err error) {
	name = strings.TrimPrefix(strings.TrimPrefix(image, "https://"), "http://")
	if host, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(host, ":") || host == "localhost") {
		name = rest
	}
	name, digest, pinned := strings.Cut(name, "@")
	tag := "latest"
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	switch {
	case !oci.ValidRepository(name):
		return "", ref, oci.NewError(oci.CodeNameInvalid, "the image must look like <group>/<registry>/<name>[:tag][@digest]")
	case pinned:
		d, err := oci.ParseDigest(digest)
		if err != nil {
			return "", ref, oci.NewError(oci.CodeDigestInvalid, "what follows the @ must be a sha256 or sha512 digest")
		}
		return name, oci.ByDigest(d), nil
	case !oci.ValidTag(tag):
		return "", ref, oci.NewError(oci.CodeTagInvalid, "what follows the colon is not a tag")
	}
	return name, oci.ByTag(tag), nil
}

var _ api.Refresher = (*server)(nil)

// Refresh implements api.Refresher: one image is confirmed at once, a repository or an upstream when it is next asked for.
func (s *server) Refresh(ctx context.Context, t api.RefreshTarget) (api.Refreshed, error) {
	ctx = access.WithPrincipal(ctx, t.Caller.Principal)
	ctx = registry.WithCaller(ctx, registry.Caller{PrincipalID: t.Caller.ID, Principal: t.Caller.Name, RequestID: t.Caller.RequestID})
	ctx = event.WithActor(ctx, t.Caller.Actor())
	switch {
	case t.Image != "":
		return s.refreshImage(ctx, t.Image)
	case t.Repository != "":
		return s.refreshRepository(ctx, t.Repository)
	}
	return s.refreshUpstream(ctx, t.Upstream)
}

func (s *server) refreshImage(ctx context.Context, image string) (api.Refreshed, error) {
	name, ref, err := s.parseImage(image)
	if err != nil {
		return api.Refreshed{}, err
	}
	v, t, err := s.cached(name)
	if err != nil {
		return api.Refreshed{}, err
	}
	d, err := v.Refresh(ctx, t.Local, ref)
	if err != nil {
		return api.Refreshed{Decision: &d}, err
	}
	out := api.Refreshed{Decision: &d}
	count(&out, image, d)
	return out, nil
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

func (s *server) refreshRepository(ctx context.Context, name string) (api.Refreshed, error) {
	v, t, err := s.cached(name)
	if err != nil {
		return api.Refreshed{}, err
	}
	out := api.Refreshed{}
	page := registry.Page{N: refreshPage}
	for {
		tags, err := v.Tags(ctx, t.Local, page)
		if err != nil {
			return out, err
		}
		for _, tag := range tags.Tags {
			if !held(v.Explain(ctx, virtual.Request{Repository: t.Local, Reference: oci.ByTag(tag)})) {
				continue // never pulled: there is nothing to confirm
			}
			d, err := v.Refresh(ctx, t.Local, oci.ByTag(tag))
			if err != nil {
				return out, fmt.Errorf("refresh %s:%s: %w", name, tag, err)
			}
			count(&out, name+":"+tag, d)
		}
		if !tags.More {
			return out, nil
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

func (s *server) refreshUpstream(ctx context.Context, name string) (api.Refreshed, error) {
	group, upstream, _ := strings.Cut(name, "/")
	var c *cache.Registry
	if g := s.live.named(group); g != nil {
		c = g.Caches[upstream]
	}
	if c == nil {
		return api.Refreshed{}, oci.NewError(oci.CodeNameUnknown, "there is no remote upstream "+name+"; say <group>/<upstream>")
	}
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		return tx.SetStaleBefore(ctx, c.GroupID, c.UpstreamID, time.Now())
	})
	if err == nil {
		s.live.now(ctx)
	}
	return api.Refreshed{Deferred: true}, err
}

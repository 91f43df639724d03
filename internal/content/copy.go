package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/hosted"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
)

// What one copy takes at most.
const (
	copiedManifests = 2000
	copiedDepth     = 5 // of indexes in indexes, and of referrers of referrers
)

// Copy implements api.Content. It reads the source as a pull by the caller would, by the same registry with the same rules, and
// pushes to the target as the caller would, but for the bytes of blobs: a blob is linked once the source's own repository
// holds it, which is what gives the right to it. That the server holds bytes of that digest for somebody else gives none.
func (desk *Desk) Copy(ctx context.Context, r api.CopyRequest, progress func(api.CopyProgress)) (api.Copied, error) {
	to, err := desk.copyTarget(ctx, r)
	if err != nil {
		return api.Copied{}, err
	}
	name, ref, err := parseImage(r.Source)
	if err != nil {
		return api.Copied{}, api.WrongBody("source", "want an image: <group>/<registry>/<name>:<tag> or <group>/<path>:<tag>, or @<digest>")
	}
	ctx = acting(ctx, r.Caller)
	from, err := desk.copySource(ctx, r.Caller, name)
	if err != nil {
		return api.Copied{}, err
	}
	if to.tag == "" {
		to.tag = ref.Tag
	}
	c := copying{
		Desk: desk, from: from, to: to, request: r, seen: map[oci.Digest]bool{}, linked: map[oci.Digest]bool{},
		out: api.Copied{Source: r.Source, Target: r.Target, DryRun: r.DryRun}, progress: progress,
	}
	if err := c.run(ctx, ref); err != nil {
		return api.Copied{}, err
	}
	return c.out, nil
}

// copyTarget is where a copy goes.
type copyTarget struct {
	hosted *hosted.Registry
	key    store.RepositoryKey
	path   string
	tag    string
}

// copyTarget finds the target, for a caller who may push there.
func (desk *Desk) copyTarget(ctx context.Context, r api.CopyRequest) (to copyTarget, err error) {
	f, err := desk.finder(ctx, r.Caller, r.Group)
	if err != nil {
		return to, err
	}
	if f == nil {
		return to, api.NoGroup()
	}
	name, ref, err := parseImage(r.Target)
	if err != nil || ref.IsDigest() {
		return to, api.WrongBody("target", "want <group>/<path>:<tag>, without a digest: that of the source stays")
	}
	if i := strings.LastIndexByte(r.Target, ':'); i > strings.LastIndexByte(r.Target, '/') {
		to.tag = ref.Tag
	}
	t, err := desk.Table.Lookup(namespace.Request{Name: name})
	if err != nil || t.Kind != namespace.KindHosted || t.Group != r.Group {
		return to, api.WrongBody("target", "want a hosted repository of the group, <group>/<path>: what stands behind a virtual registry is not written to")
	}
	d, err := desk.Directory.Check(f.ctx, r.Caller.Principal, access.Request{Action: access.Push, Path: t.Path})
	switch {
	case err != nil:
		return to, err
	case !d.Allowed && !r.Caller.Local && !f.views:
		return to, api.NoGroup()
	case !d.Allowed && !r.Caller.Local:
		return to, d.Err()
	}
	to.hosted, to.path = f.group.Hosted, t.Path
	to.key = store.RepositoryKey{GroupID: f.group.ID, Name: t.Local}
	return to, nil
}

// copySource finds the source, for a caller who may pull from it. The refusal is the same whether or not anything is there.
func (desk *Desk) copySource(ctx context.Context, caller api.Caller, name string) (namespace.Target, error) {
	t, err := desk.Table.Lookup(namespace.Request{Name: name})
	if err != nil || caller.Local {
		return t, err
	}
	d, err := desk.Directory.Check(ctx, caller.Principal, access.Request{Action: access.Pull, Path: t.Path, Public: desk.public(t)})
	if err != nil {
		return t, err
	}
	return t, d.Err()
}

// copying is one copy.
type copying struct {
	*Desk
	from    namespace.Target
	to      copyTarget
	request api.CopyRequest
	out     api.Copied

	seen   map[oci.Digest]bool // manifests that are copied, or being copied
	linked map[oci.Digest]bool // blobs

	progress func(api.CopyProgress) // nil: nobody wants to know
	of       api.CopyProgress       // the totals alone
	coming   int64                  // bytes of the blob that is being fetched, so far
	told     turn
}

func (c *copying) run(ctx context.Context, ref oci.Reference) error {
	trace := &registry.Trace{}
	m, err := c.from.Registry.Manifest(registry.WithTrace(ctx, trace), c.from.Local, ref)
	if err != nil {
		return err
	}
	c.out.Digest = string(m.Digest)
	c.seen[m.Digest] = true
	if err := c.hasPlatforms(ctx, m); err != nil {
		return err
	}
	if err := c.survey(ctx, m); err != nil {
		return err
	}
	c.tell()
	parsed, err := c.content(ctx, m, 0)
	if err != nil {
		return err
	}
	if c.withReferrers() {
		digests := []oci.Digest{m.Digest}
		for _, child := range parsed.Children {
			if c.seen[child.Digest] {
				digests = append(digests, child.Digest)
			}
		}
		for _, digest := range digests {
			if err := c.referrers(ctx, digest, 0); err != nil {
				return err
			}
		}
		if err := c.signatureTags(ctx, m.Digest); err != nil {
			return err
		}
	}
	ctx = deciding(ctx, trace.Values().DecisionID)
	ctx = store.WithNote(ctx, c.to.key.GroupID, event.ImageCopied, c.to.key.Name+"@"+c.out.Digest, copied{c.from.Path, ref.String(), c.to.tag})
	return c.put(ctx, m, c.to.tag) // last: the tag must not name what is not complete
}

// deciding is the context of a change that stands on an answer of the resolver.
func deciding(ctx context.Context, decision string) context.Context {
	a := event.ActorFrom(ctx)
	a.DecisionID = decision
	return event.WithActor(ctx, a)
}

// copied is the detail of event.ImageCopied.
type copied struct {
	From      string `json:"from"`
	Reference string `json:"reference"`
	Tag       string `json:"tag,omitempty"`
}

func (c *copying) withReferrers() bool { return c.request.Referrers == nil || *c.request.Referrers }

// content copies what a manifest refers to.
func (c *copying) content(ctx context.Context, m *registry.Manifest, depth int) (*oci.Manifest, error) {
	if len(c.seen) > copiedManifests || depth > copiedDepth {
		return nil, errTooMany
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Payload)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", m.Digest, err)
	}
	for _, child := range parsed.Children {
		if c.seen[child.Digest] || depth == 0 && !c.wants(child.Platform) {
			continue
		}
		if err := c.manifest(ctx, oci.ByDigest(child.Digest), "", depth+1); err != nil {
			return nil, err
		}
		if depth == 0 && len(c.request.Platforms) > 0 && !c.seen[child.Digest] {
			return nil, api.WrongBody("platforms", "the source's registry does not have the image of "+oci.PlatformText(child.Platform)+", which its index names")
		}
	}
	for _, d := range parsed.Blobs() {
		if len(d.URLs) > 0 || c.linked[d.Digest] {
			continue
		}
		if err := c.blob(ctx, d.Digest); err != nil {
			return nil, err
		}
		c.linked[d.Digest] = true
		c.out.Blobs++
		c.out.Bytes += d.Size
		c.tell()
	}
	return parsed, nil
}

// manifest copies one with all it refers to. One that is not there is left out: whether the target takes an index without it, the
// target decides.
func (c *copying) manifest(ctx context.Context, ref oci.Reference, tag string, depth int) error {
	m, err := c.from.Registry.Manifest(ctx, c.from.Local, ref)
	if oci.ErrorCode(err) == oci.CodeManifestUnknown {
		return nil
	}
	if err != nil {
		return err
	}
	if c.seen[m.Digest] && tag == "" {
		return nil
	}
	c.seen[m.Digest] = true
	if _, err := c.content(ctx, m, depth); err != nil {
		return err
	}
	return c.put(ctx, m, tag)
}

func (c *copying) put(ctx context.Context, m *registry.Manifest, tag string) error {
	if c.request.DryRun {
		c.out.Manifests++
		c.tell()
		return nil
	}
	put := registry.PutManifest{MediaType: m.MediaType, Payload: m.Payload}
	if tag != "" {
		put.Tags = []string{tag}
	}
	if _, err := c.to.hosted.PutManifest(ctx, c.to.key.Name, oci.ByDigest(m.Digest), put); err != nil {
		return err
	}
	c.out.Manifests++
	c.tell()
	return nil
}

// referrers copies what refers to a manifest, and what refers to that.
func (c *copying) referrers(ctx context.Context, subject oci.Digest, depth int) error {
	if depth > copiedDepth {
		return nil
	}
	list, err := c.from.Registry.Referrers(ctx, c.from.Local, subject, "")
	if err != nil {
		return err
	}
	for _, d := range list.Manifests {
		if c.seen[d.Digest] {
			continue
		}
		if err := c.manifest(ctx, oci.ByDigest(d.Digest), "", depth+1); err != nil {
			return err
		}
		if !c.seen[d.Digest] {
			continue // listed, and not there
		}
		c.out.Referrers = append(c.out.Referrers, string(d.Digest))
		if err := c.referrers(ctx, d.Digest, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// signatureTags copies the tags in which cosign keeps signatures, attestations and lists of parts where it does not use referrers.
func (c *copying) signatureTags(ctx context.Context, digest oci.Digest) error {
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		tag := oci.ReferrersTag(digest) + suffix
		err := c.manifest(ctx, oci.ByTag(tag), tag, 1)
		if code := oci.ErrorCode(err); err != nil && code != oci.CodeDenied && code != oci.CodeNameUnknown {
			return err
		}
	}
	return nil
}

// blob links one blob in the target.
func (c *copying) blob(ctx context.Context, digest oci.Digest) error {
	if c.request.DryRun {
		return nil
	}
	for attempt := range 3 {
		trace := &registry.Trace{}
		if _, err := c.from.Registry.StatBlob(registry.WithTrace(ctx, trace), c.from.Local, digest); err != nil {
			return err
		}
		key, keeper, err := c.keeper(ctx, trace.Values().Member, digest)
		if err != nil {
			return err
		}
		held, err := c.held(ctx, key, digest)
		if err != nil {
			return err
		}
		if held {
			_, err := c.Store.LinkBlob(ctx, c.to.key, digest)
			if !errors.Is(err, store.ErrNotFound) { // else it was collected meanwhile
				return err
			}
		}
		if attempt == 0 {
			c.out.Fetched++
		}
		if err := c.fetch(ctx, digest); err != nil {
			return err
		}
		if keeper != nil {
			if err := keeper.Settle(ctx, key.Name, digest); err != nil {
				return err
			}
		}
	}
	return oci.NewError(oci.CodeUnavailable, "a blob of the source cannot be kept in the cache, so it cannot be copied: is there space?").WithRetryAfter(time.Minute)
}

// held reports whether the source's own repository holds the blob.
func (c *copying) held(ctx context.Context, key store.RepositoryKey, digest oci.Digest) (bool, error) {
	id, err := c.Store.RepositoryID(ctx, key)
	if err == nil {
		_, err = c.Store.Blob(ctx, id, digest)
	}
	return present(digest, err)
}

// keeper is the repository in which the source keeps what it serves: its own, or that of the member of a virtual registry that
// answered; and its cache, if it is one of those.
func (c *copying) keeper(ctx context.Context, member string, digest oci.Digest) (store.RepositoryKey, *cache.Registry, error) {
	key := store.RepositoryKey{GroupID: c.from.GroupID, Name: c.from.Local}
	v, ok := c.from.Registry.(*virtual.Registry)
	if !ok {
		return key, nil, nil
	}
	verdicts, err := v.Evaluate(ctx, c.from.Local, oci.ByDigest(digest))
	if err != nil {
		return key, nil, err
	}
	for _, verdict := range verdicts {
		if verdict.Member == member {
			key.Name = verdict.Repository
		}
	}
	g := c.Group(c.from.Group)
	if g == nil || g.Caches[member] == nil {
		return key, nil, nil
	}
	keeper := g.Caches[member]
	key.UpstreamID, key.Epoch = keeper.UpstreamID, keeper.Epoch
	return key, keeper, nil
}

// fetch has the source fetch a blob, by reading it to its end.
func (c *copying) fetch(ctx context.Context, digest oci.Digest) error {
	b, err := c.from.Registry.Blob(ctx, c.from.Local, digest, registry.Range{})
	if err != nil {
		return err
	}
	if b.Body == nil {
		return nil // it is in object storage, so the source holds it by now
	}
	defer func() { c.coming = 0 }()
	_, err = io.Copy(counting{c}, b.Body)
	if err = errors.Join(err, b.Body.Close()); err != nil {
		return oci.NewError(oci.CodeUnavailable, "the upstream did not send all of a layer, or not the right one: try again").WithRetryAfter(time.Second).WithCause(err)
	}
	return nil
}

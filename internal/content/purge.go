package content

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
)

// What one request purges at most, and looks at: more is for the next one, so that none runs into a timeout.
const (
	purgedManifests    = 2000
	purgedRepositories = 1000
	purgePage          = 100
)

// acting is the context of a change that the caller makes, whichever door it came through.
func acting(ctx context.Context, c api.Caller) context.Context {
	ctx = access.WithPrincipal(ctx, c.Principal)
	ctx = registry.WithCaller(ctx, registry.Caller{PrincipalID: c.ID, Principal: c.Name, Accepted: true, RequestID: c.RequestID})
	return event.WithActor(ctx, c.Actor())
}

// DeleteTag implements api.Content. A hosted tag goes the way of the distribution API.
func (desk *Desk) DeleteTag(ctx context.Context, at api.Place, tag string, r api.Removal) (out api.Purged, err error) {
	f, in, err := desk.deletable(ctx, at)
	if err != nil {
		return out, err
	}
	if !oci.ValidTag(tag) || !f.sees(in, oci.ByTag(tag)) {
		return out, f.absent("tag")
	}
	ctx = acting(ctx, at.Caller)
	p := purging{f: f, target: api.PurgeTarget{Upstream: at.Upstream, Repository: in.Name, Reference: tag}, out: api.Purged{Repositories: 1}}
	switch {
	case in.UpstreamID != 0:
		var q store.Purged
		q, err = desk.Store.PurgeTag(p.noted(ctx), in.Repository, tag, r.Only, r.DryRun)
		p.add(q)
	case r.DryRun:
		var now store.TagInfo
		if now, err = desk.Store.TagInfo(ctx, in.Repository, tag); err == nil && r.Only != "" && now.Digest != r.Only {
			err = store.ErrMoved
		}
		p.out.Tags = 1
	case r.Only != "":
		err = desk.Store.DeleteTagOf(ctx, in.Repository, tag, r.Only)
	default:
		err = f.group.Hosted.DeleteManifest(ctx, in.Name, oci.ByTag(tag))
	}
	if errors.Is(err, store.ErrMoved) {
		return out, api.TagMoved()
	}
	return p.out, f.gone(err, "tag")
}

// maxTagsTold is how many tags of a manifest a dry run counts.
const maxTagsTold = 9_999

// DeleteManifest implements api.Content.
func (desk *Desk) DeleteManifest(ctx context.Context, at api.Place, digest oci.Digest, dryRun bool) (out api.Purged, err error) {
	f, in, err := desk.deletable(ctx, at)
	if err != nil {
		return out, err
	}
	if !f.sees(in, oci.ByDigest(digest)) {
		return out, f.absent("manifest")
	}
	ctx = acting(ctx, at.Caller)
	p := purging{f: f, target: api.PurgeTarget{Upstream: at.Upstream, Repository: in.Name, Reference: string(digest)}, out: api.Purged{Repositories: 1}}
	switch {
	case in.UpstreamID != 0:
		var q store.Purged
		q, err = desk.Store.PurgeManifest(p.noted(ctx), in.Repository, digest, dryRun)
		p.add(q)
	case dryRun:
		var tags []string
		if _, err = desk.Store.Manifest(ctx, in.Repository, digest); err == nil {
			tags, err = desk.Store.TagsOf(ctx, in.Repository, digest, maxTagsTold+1)
		}
		p.out.Manifests, p.out.Tags, p.out.AtLeast = 1, int64(min(len(tags), maxTagsTold)), len(tags) > maxTagsTold
	default:
		err = f.group.Hosted.DeleteManifest(ctx, in.Name, oci.ByDigest(digest))
	}
	return p.out, f.gone(err, "manifest")
}

// DeleteRepository implements api.Content. A cached one is purged.
func (desk *Desk) DeleteRepository(ctx context.Context, at api.Place, r api.RepositoryRemoval) (api.Purged, error) {
	f, in, err := desk.deletable(ctx, at)
	if err != nil {
		return api.Purged{}, err
	}
	after, err := behind(r.After)
	if err != nil || after != "" && after != in.Name {
		return api.Purged{}, api.WrongQuery("after", "not the next of a deletion of this repository: begin again without it")
	}
	ctx = acting(ctx, at.Caller)
	p := purging{f: f, target: api.PurgeTarget{Repository: in.Name, Upstream: at.Upstream, DryRun: r.DryRun, After: r.After}}
	p.key = store.RepositoryKey{GroupID: f.group.ID, UpstreamID: in.UpstreamID, Epoch: in.Epoch, Name: in.Name}
	if in.UpstreamID != 0 {
		return p.one(ctx)
	}
	return p.hosted(ctx, in)
}

// hosted deletes a hosted repository as far as this request may go.
func (p *purging) hosted(ctx context.Context, in store.FoundIn) (api.Purged, error) {
	p.out.Repositories = 1
	if p.target.DryRun {
		q, err := p.f.Store.Estimate(p.key.GroupID, false).Repository(ctx, in)
		p.add(q)
		return p.out, p.f.missing(err, "repository")
	}
	q, gone, err := p.f.Store.DeleteRepository(ctx, in.Repository, purgedManifests)
	p.add(q)
	if !gone {
		p.out.Next = cursor(in.Name)
	}
	return p.out, p.f.missing(err, "repository")
}

// deletable finds a repository in which the caller may delete: of a cached one that is who may configure the group, since all its
// registries share it.
func (desk *Desk) deletable(ctx context.Context, at api.Place) (*finder, store.FoundIn, error) {
	f, in, err := desk.at(ctx, at)
	if err != nil {
		return nil, in, err
	}
	action, path := access.Delete, f.group.Name+"/"+in.Name
	if in.UpstreamID != 0 {
		action, path = access.Configure, f.group.Name
	}
	if f.caller.Local {
		return f, in, nil
	}
	d, err := desk.Directory.Check(f.ctx, f.caller.Principal, access.Request{Action: action, Path: path})
	if err != nil {
		return nil, in, err
	}
	return f, in, d.Err()
}

// gone is the answer to a deletion of what was not there.
func (f *finder) gone(err error, what string) error {
	switch oci.ErrorCode(err) {
	case oci.CodeManifestUnknown, oci.CodeNameUnknown:
		return f.absent(what)
	}
	return f.missing(err, what)
}

// Purge implements api.Content. The API has checked that the caller may configure the group.
func (desk *Desk) Purge(ctx context.Context, t api.PurgeTarget) (api.Purged, error) {
	f, err := desk.finder(ctx, t.Caller, t.Group)
	if err != nil {
		return api.Purged{}, err
	}
	if f == nil {
		return api.Purged{}, api.NoGroup()
	}
	if err := f.off(); err != nil {
		return api.Purged{}, err
	}
	u := f.upstream(t.Upstream)
	if u == nil {
		return api.Purged{}, f.absent("upstream")
	}
	if u.Local != "" {
		return api.Purged{}, api.WrongBody("upstream", "a local upstream has no cache: what it shows is hosted content")
	}
	ctx = acting(ctx, t.Caller)
	p := purging{f: f, target: t, key: store.RepositoryKey{GroupID: f.group.ID, UpstreamID: u.ID, Epoch: u.Epoch, Name: t.Repository}}
	after, err := behind(t.After)
	if err != nil {
		return api.Purged{}, api.WrongBody("after", "not the next of a purge: begin again without it")
	}
	if t.Repository == "" {
		return p.upstream(ctx, after)
	}
	return p.one(ctx)
}

// purging is one request to purge.
type purging struct {
	f        *finder
	target   api.PurgeTarget
	key      store.RepositoryKey
	estimate *store.Estimate // of a dry run
	out      api.Purged
}

// noted is the context of the changes, the first of which has the event, once for all parts.
func (p *purging) noted(ctx context.Context) context.Context {
	if p.target.DryRun || p.target.After != "" {
		return ctx
	}
	subject := "upstream " + p.target.Upstream
	if p.target.Repository != "" {
		subject += " " + p.target.Repository
	}
	if p.target.Reference != "" {
		subject += " " + p.target.Reference
	}
	return store.WithNote(ctx, p.f.group.ID, event.CachePurged, subject, nil)
}

func (p *purging) add(q store.Purged) {
	p.out.Tags, p.out.Manifests, p.out.Bytes, p.out.InUse = p.out.Tags+q.Tags, p.out.Manifests+q.Manifests, p.out.Bytes+q.Bytes, p.out.InUse+q.InUse
	p.out.AtLeast = p.out.AtLeast || q.AtLeast
}

// one purges a repository, or a reference of it.
func (p *purging) one(ctx context.Context) (api.Purged, error) {
	id, err := p.f.Store.RepositoryID(ctx, p.key)
	if err != nil {
		return p.out, p.f.missing(err, "cached repository")
	}
	in := store.FoundIn{Repository: id, Name: p.key.Name, UpstreamID: p.key.UpstreamID, Epoch: p.key.Epoch}
	p.out.Repositories = 1
	if p.target.Reference != "" {
		return p.reference(ctx, in)
	}
	done, err := p.repository(p.noted(ctx), in)
	if !done && err == nil {
		p.out.Next = cursor(in.Name) // the name does not matter: the repository is looked through anew
	}
	return p.out, p.f.missing(err, "cached repository")
}

func (p *purging) reference(ctx context.Context, in store.FoundIn) (api.Purged, error) {
	ref, err := oci.ParseReference(p.target.Reference)
	if err != nil {
		return p.out, api.WrongBody("reference", "want a tag, or a whole digest")
	}
	ctx = p.noted(ctx)
	var q store.Purged
	if ref.IsDigest() {
		q, err = p.f.Store.PurgeManifest(ctx, in.Repository, ref.Digest, p.target.DryRun)
	} else {
		q, err = p.f.Store.PurgeTag(ctx, in.Repository, ref.Tag, "", p.target.DryRun)
	}
	p.add(q)
	return p.out, p.f.missing(err, "tag or digest in the cached repository")
}

// repository purges a repository as far as this request may go. It reports whether it came to the end.
func (p *purging) repository(ctx context.Context, in store.FoundIn) (done bool, err error) {
	if p.target.DryRun {
		if p.estimate == nil {
			p.estimate = p.f.Store.Estimate(p.key.GroupID, p.target.Repository == "")
		}
		q, err := p.estimate.Repository(ctx, in)
		p.add(q)
		return true, err
	}
	q, done, err := p.f.Store.PurgeRepository(ctx, in.Repository, purgedManifests)
	p.add(q)
	return done, err
}

// upstream purges repository after repository, those behind a name.
func (p *purging) upstream(ctx context.Context, name string) (api.Purged, error) {
	ctx = p.noted(ctx)
	after := p.key
	for after.Name = name; ; {
		page, err := p.f.Store.CachedRepositories(ctx, after, purgePage)
		if err != nil {
			return p.out, err
		}
		for _, in := range page {
			if p.out.Manifests >= purgedManifests || p.out.Repositories == purgedRepositories {
				p.out.Next = cursor(after.Name)
				return p.out, nil
			}
			done, err := p.repository(ctx, in)
			switch {
			case errors.Is(err, store.ErrNotFound): // the collector was first
			case err != nil:
				return p.out, err
			case !done: // the rest of it comes first in the next part
				p.out.Next = cursor(after.Name)
				return p.out, nil
			}
			p.out.Repositories++
			after.Name = in.Name
		}
		if len(page) < purgePage {
			return p.out, nil
		}
	}
}

// cursor is never empty, even where the first repository of all comes next.
func cursor(repository string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(">" + repository))
}

func behind(cursor string) (repository string, err error) {
	if cursor == "" {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	repository, ok := strings.CutPrefix(string(text), ">")
	if err != nil || !ok || repository != "" && !oci.ValidRepository(repository) {
		return "", errCursor
	}
	return repository, nil
}

var errCursor = errors.New("not a cursor")

package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Repository is a hosted or cached repository. What it holds is known only of one that was read by itself.
type Repository struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	Kind         string     `json:"kind"` // hosted, cached
	Upstream     string     `json:"upstream,omitempty"`
	Paths        []string   `json:"paths"` // names by which the caller may pull from it
	Format       string     `json:"format"`
	CreatedAt    time.Time  `json:"created_at"`
	LastPulledAt *time.Time `json:"last_pulled_at,omitempty"`
	Pulls        int64      `json:"pulls"`
	Tags         int64      `json:"tags,omitempty"`
	Manifests    int64      `json:"manifests,omitempty"`
	Bytes        int64      `json:"bytes,omitempty"`
	UniqueBytes  int64      `json:"unique_bytes,omitempty"` // that no other repository of the group holds
	AtLeast      bool       `json:"at_least,omitempty"`     // the four numbers before are lower bounds
}

// Place names a repository. Upstream is empty for a hosted one.
type Place struct{ Group, Repository, Upstream string }

// path is the address of something in the repository.
func (p Place) path(parts ...string) string {
	path := groupPath(p.Group) + "/repositories/" + url.PathEscape(p.Repository)
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	if p.Upstream != "" {
		path += "?" + url.Values{"upstream": {p.Upstream}}.Encode()
	}
	return path
}

func groupPath(group string) string { return "/groups/" + url.PathEscape(group) }

// RepositoryFilter selects repositories; what is empty selects nothing away.
type RepositoryFilter struct {
	Kind, Upstream, Registry, Prefix string
	Sort                             string // name, last_pulled_at, -last_pulled_at
}

// Repositories lists the repositories of a group that the caller may know about, page by page as they are asked for.
func (c *Client) Repositories(ctx context.Context, group string, f RepositoryFilter) iter.Seq2[Repository, error] {
	q := url.Values{}
	set(q, "kind", f.Kind)
	set(q, "upstream", f.Upstream)
	set(q, "registry", f.Registry)
	set(q, "prefix", f.Prefix)
	set(q, "sort", f.Sort)
	return pages[Repository](ctx, c, with(groupPath(group)+"/repositories", q))
}

// Repository reads what a repository holds.
func (c *Client) Repository(ctx context.Context, p Place) (out Repository, err error) {
	err = c.Call(ctx, http.MethodGet, p.path(), nil, &out)
	return out, err
}

// Tag is a tag with what it points to. Its history is known only of one that was read by itself.
type Tag struct {
	Name         string        `json:"name"`
	Digest       string        `json:"digest"`
	MediaType    string        `json:"media_type"`
	ArtifactType string        `json:"artifact_type,omitempty"`
	Platform     string        `json:"platform,omitempty"`
	Size         int64         `json:"size"` // bytes, with what it refers to
	ImageCreated *time.Time    `json:"image_created_at,omitempty"`
	CreatedAt    time.Time     `json:"created_at"`
	UpdatedAt    time.Time     `json:"updated_at"`
	LastPulledAt *time.Time    `json:"last_pulled_at,omitempty"`
	Pulls        int64         `json:"pulls"`
	Cached       *TagFreshness `json:"cached,omitempty"`
	History      []TagMove     `json:"history,omitempty"`
	MoreHistory  bool          `json:"more_history,omitempty"`
}

// TagFreshness is what is known of a cached tag.
type TagFreshness struct {
	Upstream  string     `json:"upstream"`
	FetchedAt time.Time  `json:"fetched_at"`
	CheckedAt time.Time  `json:"checked_at"`
	Age       int64      `json:"age_seconds"`
	Class     string     `json:"freshness_class"`
	FreshFor  string     `json:"fresh_for"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Stale     bool       `json:"stale"`
}

// TagMove is a change of a tag; without a digest, its deletion.
type TagMove struct {
	ID     string    `json:"id"`
	Digest string    `json:"digest,omitempty"`
	At     time.Time `json:"at"`
	Actor  *TagMover `json:"actor,omitempty"` // nil: the server by itself, or the caller may not know
}

// TagMover is who moved a tag.
type TagMover struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Tags lists the tags of a repository that begin with prefix, by name, or the latest first, page by page as they are asked for.
func (c *Client) Tags(ctx context.Context, p Place, prefix string, latest bool) iter.Seq2[Tag, error] {
	q := url.Values{}
	set(q, "prefix", prefix)
	if latest {
		q.Set("sort", "-updated_at")
	}
	return pages[Tag](ctx, c, with(p.path("tags"), q))
}

// Tag reads one tag with its last moves.
func (c *Client) Tag(ctx context.Context, p Place, tag string) (out Tag, err error) {
	err = c.Call(ctx, http.MethodGet, p.path("tags", tag), nil, &out)
	return out, err
}

// TagHistory lists the moves of a tag, the latest first.
func (c *Client) TagHistory(ctx context.Context, p Place, tag string) iter.Seq2[TagMove, error] {
	return pages[TagMove](ctx, c, p.path("tags", tag, "history"))
}

// DeleteTag deletes a tag; of a cached repository with what it points to.
func (c *Client) DeleteTag(ctx context.Context, p Place, tag string) error {
	return c.Call(ctx, http.MethodDelete, p.path("tags", tag), nil, nil)
}

// Purged is what a purge took, or would take. Next is not empty when it was a part.
type Purged struct {
	DryRun       bool   `json:"dry_run,omitempty"`
	Repositories int64  `json:"repositories"`
	Tags         int64  `json:"tags"`
	Manifests    int64  `json:"manifests"`
	Bytes        int64  `json:"bytes"`
	InUse        int64  `json:"in_use"` // manifests pulled a moment ago, which go later
	AtLeast      bool   `json:"at_least,omitempty"`
	Next         string `json:"next,omitempty"`
}

func (p *Purged) add(part Purged) {
	p.Repositories += part.Repositories
	p.Tags += part.Tags
	p.Manifests += part.Manifests
	p.Bytes += part.Bytes
	p.InUse += part.InUse
	p.AtLeast = p.AtLeast || part.AtLeast
}

// Purge takes content out of an upstream's cache: all of it, one repository, or one tag or digest of that. It goes on until
// everything is done, and calls progress, if it is not nil, with the sums so far after each part. What was purged when an error
// comes is purged, and in the result.
func (c *Client) Purge(ctx context.Context, group, upstream, repository, reference string, dryRun bool, progress func(Purged)) (sum Purged, err error) {
	path := groupPath(group) + "/upstreams/" + url.PathEscape(upstream) + "/purge"
	if dryRun {
		path += "?dry_run=true"
	}
	sum.DryRun = dryRun
	after := ""
	for {
		var part Purged
		in := map[string]string{}
		for name, value := range map[string]string{"repository": repository, "reference": reference, "after": after} {
			if value != "" {
				in[name] = value
			}
		}
		if err := c.Call(ctx, http.MethodPost, path, in, &part); err != nil {
			return sum, err
		}
		sum.add(part)
		if after = part.Next; after == "" {
			return sum, nil
		}
		if progress != nil {
			progress(sum)
		}
	}
}

// DeleteRepository deletes a repository with everything in it; a cached one is purged. It goes on and reports as Purge does.
func (c *Client) DeleteRepository(ctx context.Context, p Place, dryRun bool, progress func(Purged)) (sum Purged, err error) {
	query := url.Values{}
	if p.Upstream != "" {
		query.Set("upstream", p.Upstream)
	}
	if dryRun {
		query.Set("dry_run", "true")
	}
	path := Place{Group: p.Group, Repository: p.Repository}.path()
	sum.DryRun = dryRun
	for {
		var part Purged
		if err := c.Call(ctx, http.MethodDelete, path+"?"+query.Encode(), nil, &part); err != nil {
			return sum, err
		}
		sum.add(part)
		sum.Repositories = 1
		if part.Next == "" {
			return sum, nil
		}
		if progress != nil {
			progress(sum)
		}
		query.Set("after", part.Next)
	}
}

// CopyRequest names an image and where to copy it. Both are full names, as in docker pull.
type CopyRequest struct {
	Source    string   `json:"source"`
	Target    string   `json:"target"`
	Referrers *bool    `json:"referrers,omitempty"` // nil: copy them
	Platforms []string `json:"platforms,omitempty"` // of an index; none: all
	DryRun    bool     `json:"-"`                   // only check, and tell what would be copied
}

// Copied is what a copy did, or would do.
type Copied struct {
	DryRun    bool     `json:"dry_run,omitempty"`
	Source    string   `json:"source"`
	Target    string   `json:"target"`
	Digest    string   `json:"digest"`
	Manifests int      `json:"manifests"`
	Blobs     int      `json:"blobs"`
	Bytes     int64    `json:"bytes"`             // of these blobs
	Fetched   int      `json:"fetched,omitempty"` // blobs that came from the upstream first
	Referrers []string `json:"referrers,omitempty"`
}

// CopyProgress is how far a copy is. What refers to the image adds to the totals when it is found.
type CopyProgress struct {
	Manifests      int   `json:"manifests"`
	TotalManifests int   `json:"total_manifests"`
	Blobs          int   `json:"blobs"`
	TotalBlobs     int   `json:"total_blobs"`
	Bytes          int64 `json:"bytes"`
	TotalBytes     int64 `json:"total_bytes"`
}

// Copy copies an image into a hosted repository of the group without moving bytes between repositories. progress, unless it is nil, is
// called about once a second.
func (c *Client) Copy(ctx context.Context, group string, r CopyRequest, progress func(CopyProgress)) (out Copied, err error) {
	path := groupPath(group) + "/copy"
	if r.DryRun {
		path += "?dry_run=true"
	}
	if progress == nil {
		err = c.Call(ctx, http.MethodPost, path, r, &out)
		return out, err
	}
	in := struct {
		CopyRequest
		Progress bool `json:"progress"`
	}{r, true}
	type line struct {
		Progress *CopyProgress
		Copied   *Copied
		Problem  *Problem
	}
	err = stream(ctx, c, path, in, func(l line) (bool, error) {
		switch {
		case l.Problem != nil:
			return true, l.Problem
		case l.Copied != nil:
			out = *l.Copied
		case l.Progress != nil:
			progress(*l.Progress)
		}
		return l.Copied != nil, nil
	})
	return out, err
}

// Evaluation says which members of a virtual registry may answer for a reference.
type Evaluation struct {
	Reference string    `json:"reference"`
	Allowed   bool      `json:"allowed"`
	Why       string    `json:"why,omitempty"`
	Members   []Verdict `json:"members"`
}

// Verdict is what rules and claims say of one member: may_answer, off, other_host, claimed or rule.
type Verdict struct {
	Member     string `json:"member"`
	Local      bool   `json:"local,omitempty"`
	Repository string `json:"repository"`
	Allowed    bool   `json:"allowed"`
	Verdict    string `json:"verdict"`
	Why        string `json:"why,omitempty"`
	ClaimedBy  string `json:"claimed_by,omitempty"`
}

// Evaluate asks by which rules and claims a reference, <repository>[:<tag>|@<digest>], is allowed or denied. No upstream is asked.
func (c *Client) Evaluate(ctx context.Context, group, registry, reference string) (out Evaluation, err error) {
	path := groupPath(group) + "/registries/" + url.PathEscape(registry) + "/evaluate"
	err = c.Call(ctx, http.MethodPost, path, map[string]string{"reference": reference}, &out)
	return out, err
}

// pageLimit is the length of a page.
const pageLimit = 500

// pages follows a list from page to page, as far as the caller goes.
func pages[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for path := with(path, url.Values{"limit": {strconv.Itoa(pageLimit)}}); path != ""; {
			var page struct{ Items []T }
			next, err := c.list(ctx, path, &page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			path = next
		}
	}
}

// with adds parameters to a path that may have some.
func with(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	if strings.Contains(path, "?") {
		return path + "&" + q.Encode()
	}
	return path + "?" + q.Encode()
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

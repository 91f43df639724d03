package virtual

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Bounds on listing tags under rules that speak of tags.
const (
	filterPage  = 1000 // tags asked of the member at once, and given to a client that does not say how many
	filterPages = 1000 // pages read for one page of the client's
)

// Tags implements registry.Lister: the list of the first member that has the repository, without the tags that rules exclude.
// Excluded tags are taken out before paging, so a page is short only at the end.
func (r *Registry) Tags(ctx context.Context, repository string, page registry.Page) (*registry.TagList, error) {
	q := Query{Kind: KindTags, Mode: ModeGet, Repository: repository, Page: page}
	if r.tagged {
		q.Page.N = max(page.N, filterPage)
	}
	w := r.begin(ctx, q)
	w.run(ctx)
	var list *registry.TagList
	if r.tagged && w.fault == nil && w.served >= 0 {
		list = w.filter(ctx, page.N)
	}
	a, err := w.finish(ctx)
	if err != nil {
		return nil, err
	}
	if list == nil {
		list = a.Tags
	}
	return list, nil
}

var errPaging = errors.New("the member's pages of tags do not end")

// filter gathers up to n tags that the rules let through, reading on at the member that answered. Trouble on the way turns
// the walk's outcome, since half a list would look whole.
func (w *walk) filter(ctx context.Context, n int) *registry.TagList {
	i := w.served
	if n <= 0 {
		n = filterPage
	}
	page, kept, last := w.steps[i].answer.Tags, &registry.TagList{Tags: []string{}}, w.q.Page.Last
	for range filterPages {
		rest, err := w.keep(ctx, i, page.Tags, n, kept)
		if err != nil {
			w.blind = true
			return w.unserve(i, storeTrouble(err))
		}
		if kept.More = page.More || rest; !page.More || len(kept.Tags) == n {
			return kept
		}
		if len(page.Tags) == 0 || page.Tags[len(page.Tags)-1] <= last {
			break
		}
		last = page.Tags[len(page.Tags)-1]
		q := w.query(i)
		q.Page.Last = last
		a := checked(w.r.members[i].Member.Ask(ctx, q), &q)
		if a.Outcome == registry.Absent { // deleted meanwhile
			kept.More = false
			return kept
		}
		if a.Outcome != registry.Found {
			return w.unserve(i, a)
		}
		page = a.Tags
	}
	return w.unserve(i, Answer{Outcome: registry.Unknown, Reason: errPaging.Error(), Err: errPaging})
}

// keep adds the tags that the rules let through to kept, up to n in all, and reports whether tags were left unread.
func (w *walk) keep(ctx context.Context, i int, tags []string, n int, kept *registry.TagList) (rest bool, err error) {
	for _, tag := range tags {
		if len(kept.Tags) == n {
			return true, nil
		}
		of, err := w.r.judgeTag(ctx, i, w.steps[i].name, tag, true, 0)
		if err != nil {
			return false, err
		}
		if of.exclusion == "" {
			kept.Tags = append(kept.Tags, tag)
		}
	}
	return false, nil
}

// unserve takes back that member i answered.
func (w *walk) unserve(i int, a Answer) *registry.TagList {
	if a.Outcome == registry.Denied {
		a.Outcome = registry.Unknown
	}
	w.served = -1
	w.settle(i, a)
	return nil
}

// Referrers implements registry.Lister: the list of the first member that has the repository. A repository that nobody has
// has no referrers: 404 would tell clients that the API is missing (distribution specification, "Listing Referrers").
func (r *Registry) Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	a, err := r.Resolve(ctx, Query{
		Kind: KindReferrers, Mode: ModeGet, Repository: repository, Reference: oci.ByDigest(digest), ArtifactType: artifactType,
	})
	if oci.ErrorCode(err) == oci.CodeManifestUnknown {
		return &registry.ReferrerList{}, nil
	}
	return a.Referrers, err
}

// Repositories implements registry.Lister. What a virtual registry could serve has no end, so it cannot be listed.
func (r *Registry) Repositories(context.Context, registry.Page) (*registry.RepositoryList, error) {
	return nil, oci.NewError(oci.CodeUnsupported, r.path()+" is a virtual registry: its repositories cannot be listed")
}

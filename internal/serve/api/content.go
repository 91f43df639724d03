package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/oci"
)

// Content is what hosted and cached repositories hold, as far as the caller may know of it. Errors: *oci.Error for what the
// resolver refuses, NoGroup, NotThere, WrongQuery and WrongBody.
type Content interface {
	Repositories(ctx context.Context, q RepositoryQuery) (RepositoryPage, error)
	Repository(ctx context.Context, at Place) (RepositoryDetail, error)
	DeleteRepository(ctx context.Context, at Place, r RepositoryRemoval) (Purged, error)
	Tags(ctx context.Context, q TagQuery) (items []Tag, more bool, last TagPlace, err error)
	Tag(ctx context.Context, at Place, tag string) (TagDetail, error)
	TagHistory(ctx context.Context, at Place, tag string, before int64, n int) ([]TagMove, error)
	DeleteTag(ctx context.Context, at Place, tag string, r Removal) (Purged, error)
	Manifests(ctx context.Context, at Place, after oci.Digest, n int) (items []ManifestSummary, more bool, last oci.Digest, err error)
	Manifest(ctx context.Context, at Place, digest oci.Digest) (ManifestDetail, error)
	DeleteManifest(ctx context.Context, at Place, digest oci.Digest, dryRun bool) (Purged, error)
	Purge(ctx context.Context, t PurgeTarget) (Purged, error)
	Copy(ctx context.Context, r CopyRequest, progress func(CopyProgress)) (Copied, error)
	Evaluate(ctx context.Context, q EvaluateQuery) (Evaluation, error)
}

// Removal says how a tag is deleted.
type Removal struct {
	Only   oci.Digest // where it must point; empty = anywhere
	DryRun bool       // only tell what would go
}

// Place is a repository, and who asks.
type Place struct {
	Group, Repository, Upstream string
	Caller                      Caller
}

// repositoryPath is the beginning of the path of every operation on one repository.
const repositoryPath = "/groups/{group}/repositories/{repository}"

const repositoryNaming = "A repository's name stands in the path as one segment, each / in it as %2F. " +
	"A hosted repository is named as below its group; a cached one as its upstream names it, and `upstream` says which upstream."

// RepositoryInput names a repository. (It is exported because fields of embedded structs count only then.)
type RepositoryInput struct {
	Group      string `path:"group" maxLength:"128" doc:"Name of the group"`
	Repository string `path:"repository" maxLength:"255" doc:"Name of the repository, each / as %2F: library%2Falpine" example:"library%2Falpine"`
	Upstream   string `query:"upstream" maxLength:"128" doc:"The upstream that a cached repository is from; a hosted repository without it"`
}

func (in RepositoryInput) place(ctx context.Context) Place {
	return Place{in.Group, in.Repository, in.Upstream, callerFrom(ctx)}
}

func (a *API) registerContent() {
	a.registerRepositories()
	a.registerTags()
	a.registerManifests()
	a.registerContentActions()
}

// NoGroup answers for a group that does not exist, and for one of which the caller may know nothing.
func NoGroup() error { return noGroup() }

// NotThere answers for what a group does not have, and for what of it the caller may know nothing.
func NotThere(what string) error { return notThere(what) }

// WrongBody is the error of a field of the body that is not what it should be; what is for people.
func WrongBody(field, what string) error { return missing(field, what) }

// parseDigest reads a digest out of the path.
func parseDigest(text string) (oci.Digest, error) {
	d, err := oci.ParseDigest(text)
	if err != nil {
		const what = "want a whole digest: sha256: and 64 hexadecimal digits"
		return "", huma.NewError(http.StatusUnprocessableEntity, what, &huma.ErrorDetail{Location: "path.digest", Message: what})
	}
	return d, nil
}

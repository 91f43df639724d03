// Package hosted is the registry that people push to: one group's hosted repositories over the store, with strict checks on
// what a manifest refers to. Package assemble builds one per group; Member lets a virtual registry ask it as a local
// upstream.
//
// Names are relative to the group. A push is durable when its method returns. Access has been checked by the layer above.
package hosted

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/store"
)

// Limits on lists.
const (
	maxPage      = 1000
	maxReferrers = 10_000
)

// Registry is a group's hosted repositories.
type Registry struct {
	registry.Unimplemented
	store  *store.Store
	group  int64
	sparse func(repository string) bool
}

// New returns the registry of a group. sparse says for a repository whether children of an index may be missing
// (allow_sparse_index of its hosted prefix); nil means nowhere.
func New(s *store.Store, group int64, sparse func(repository string) bool) *Registry {
	if sparse == nil {
		sparse = func(string) bool { return false }
	}
	return &Registry{store: s, group: group, sparse: sparse}
}

// TakesSparse reports whether an index may be pushed to a repository of which some manifests are missing there.
func (r *Registry) TakesSparse(repository string) bool { return r.sparse(repository) }

func (r *Registry) key(repository string) store.RepositoryKey {
	return store.RepositoryKey{GroupID: r.group, Name: repository}
}

// id returns the id of a repository; NAME_UNKNOWN.
func (r *Registry) id(ctx context.Context, repository string) (int64, error) {
	id, err := r.store.RepositoryID(ctx, r.key(repository))
	if err != nil {
		return 0, explain(err, errName, "find repository", repository)
	}
	return id, nil
}

// What a client is told when something is not there.
var (
	errName     = oci.NewError(oci.CodeNameUnknown, "there is no such repository")
	errManifest = oci.NewError(oci.CodeManifestUnknown, "there is no such manifest in this repository")
	errBlob     = oci.NewError(oci.CodeBlobUnknown, "there is no such blob in this repository")
	errUpload   = oci.NewError(oci.CodeBlobUploadUnknown, "there is no such upload in this repository; start a new one")
)

// errBusy is for two requests on one upload. The specification has no status for it. 416 would send clients of chunked uploads
// asking where to go on, which is just as busy; 404 would make them drop what the other request is sending. To
// BLOB_UPLOAD_INVALID docker, crane and skopeo --retry-times answer with a new try, and containerd ends the push with the message.
var errBusy = oci.NewError(oci.CodeBlobUploadInvalid, "another request is working on this upload; wait for it, or start a new upload").
	WithStatus(409).WithRetryAfter(time.Second)

// errUploads is for a group whose clients begin uploads and never finish them.
var errUploads = oci.NewError(oci.CodeTooManyRequests, "this group has as many unfinished uploads as it may; finish or cancel some, or wait: "+
	"those that nobody continues are dropped").WithRetryAfter(time.Minute)

// When to come back: space has to be made by somebody, a database mostly restarts.
const (
	fullRetry     = time.Minute
	databaseRetry = 5 * time.Second
)

// explain turns the store's errors into protocol errors; missing stands for "not found".
func explain(err error, missing *oci.Error, operation, object string) error {
	if e, ok := errors.AsType[*store.MissingError](err); ok {
		return oci.NewError(oci.CodeManifestBlobUnknown, "the manifest refers to content this repository does not hold; push that first").
			WithDetail(map[string][]oci.Digest{"blobs": e.Blobs, "manifests": e.Manifests})
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return missing
	case errors.Is(err, store.ErrDigest):
		return oci.NewError(oci.CodeDigestInvalid, "the bytes that arrived have another digest")
	case errors.Is(err, store.ErrOffset):
		return oci.NewError(oci.CodeRangeInvalid, "the chunk does not begin where the upload ends")
	case errors.Is(err, store.ErrBusy):
		return errBusy.WithCause(err)
	case errors.Is(err, store.ErrUploads):
		return errUploads.WithCause(err)
	case errors.Is(err, store.ErrInUse):
		// 405 as the specification has it for deletions that are not allowed, and a code that says why.
		return oci.NewError(oci.CodeDenied, "a manifest of this repository still needs the blob; delete the manifest first").WithStatus(405)
	case store.Full(err):
		return oci.NewError(oci.CodeUnavailable, "the server has no space left for uploads").WithRetryAfter(fullRetry).WithCause(err)
	case store.Unavailable(err):
		return oci.NewError(oci.CodeUnavailable, "the database does not answer").WithRetryAfter(databaseRetry).WithCause(err)
	}
	return fmt.Errorf("%s %s: %w", operation, object, err)
}

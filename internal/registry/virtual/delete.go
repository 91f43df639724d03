package virtual

import (
	"context"
	"fmt"

	"github.com/weir-registry/weir/internal/oci"
)

// DeleteManifest implements registry.Deleter: UNSUPPORTED.
func (r *Registry) DeleteManifest(_ context.Context, repository string, _ oci.Reference) error {
	return r.noDelete(repository)
}

// DeleteBlob implements registry.Deleter: UNSUPPORTED.
func (r *Registry) DeleteBlob(_ context.Context, repository string, _ oci.Digest) error {
	return r.noDelete(repository)
}

func (r *Registry) noDelete(repository string) error {
	return oci.NewError(oci.CodeUnsupported, fmt.Sprintf(
		"%s is a virtual registry, nothing can be deleted through it: delete in the hosted repository %s/%s, or use weir refresh for what is cached",
		r.path(), r.opt.Group, repository))
}

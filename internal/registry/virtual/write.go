package virtual

import (
	"context"
	"fmt"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// PutManifest implements registry.Writer: UNSUPPORTED.
func (r *Registry) PutManifest(_ context.Context, repository string, _ oci.Reference, _ registry.PutManifest) (registry.Put, error) {
	return registry.Put{}, r.readOnly(repository)
}

// MountBlob implements registry.Writer: UNSUPPORTED.
func (r *Registry) MountBlob(_ context.Context, repository, _ string, _ oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, r.readOnly(repository)
}

// StartUpload implements registry.Writer: UNSUPPORTED.
func (r *Registry) StartUpload(_ context.Context, repository string) (registry.Upload, error) {
	return nil, r.readOnly(repository)
}

// ResumeUpload implements registry.Writer: UNSUPPORTED.
func (r *Registry) ResumeUpload(_ context.Context, repository, _ string) (registry.Upload, error) {
	return nil, r.readOnly(repository)
}

func (r *Registry) readOnly(repository string) error {
	return oci.NewError(oci.CodeUnsupported, fmt.Sprintf(
		"%s is a virtual registry and takes no pushes: push to the hosted repository %s/%s instead", r.path(), r.opt.Group, repository))
}

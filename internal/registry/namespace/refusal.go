package namespace

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// refusal is a registry that answers everything with one error.
type refusal struct {
	registry.Unimplemented
	err *oci.Error
}

var _ registry.Registry = refusal{}

// nowhere answers for names where nothing can be.
func nowhere(message string) registry.Registry {
	return refusal{err: oci.NewError(oci.CodeNameUnknown, message)}
}

// off answers for what is turned off, and can be turned on again by who. DENIED, not NAME_UNKNOWN: clients take 404 for final, and what is off may come back.
func off(what, who string) registry.Registry {
	return refusal{err: oci.NewError(oci.CodeDenied, what+" is turned off: ask its "+who)}
}

// Manifest implements registry.Reader.
func (r refusal) Manifest(context.Context, string, oci.Reference) (*registry.Manifest, error) {
	return nil, r.err
}

// StatManifest implements registry.Reader.
func (r refusal) StatManifest(context.Context, string, oci.Reference) (oci.Descriptor, error) {
	return oci.Descriptor{}, r.err
}

// Blob implements registry.Reader.
func (r refusal) Blob(context.Context, string, oci.Digest, registry.Range) (*registry.Blob, error) {
	return nil, r.err
}

// StatBlob implements registry.Reader.
func (r refusal) StatBlob(context.Context, string, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, r.err
}

// PutManifest implements registry.Writer.
func (r refusal) PutManifest(context.Context, string, oci.Reference, registry.PutManifest) (registry.Put, error) {
	return registry.Put{}, r.err
}

// MountBlob implements registry.Writer.
func (r refusal) MountBlob(context.Context, string, string, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, r.err
}

// StartUpload implements registry.Writer.
func (r refusal) StartUpload(context.Context, string) (registry.Upload, error) { return nil, r.err }

// ResumeUpload implements registry.Writer.
func (r refusal) ResumeUpload(context.Context, string, string) (registry.Upload, error) {
	return nil, r.err
}

// DeleteManifest implements registry.Deleter.
func (r refusal) DeleteManifest(context.Context, string, oci.Reference) error { return r.err }

// DeleteBlob implements registry.Deleter.
func (r refusal) DeleteBlob(context.Context, string, oci.Digest) error { return r.err }

// Tags implements registry.Lister.
func (r refusal) Tags(context.Context, string, registry.Page) (*registry.TagList, error) {
	return nil, r.err
}

// Repositories implements registry.Lister.
func (r refusal) Repositories(context.Context, registry.Page) (*registry.RepositoryList, error) {
	return nil, r.err
}

// Referrers implements registry.Lister.
func (r refusal) Referrers(context.Context, string, oci.Digest, string) (*registry.ReferrerList, error) {
	return nil, r.err
}

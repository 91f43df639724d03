package registry

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
)

// ErrUnsupported is what Unimplemented answers.
var ErrUnsupported = oci.NewError(oci.CodeUnsupported, "this registry does not support the operation")

// Unimplemented answers every method with ErrUnsupported. Every kind of registry and every wrapper must embed it.
type Unimplemented struct{}

var _ Registry = Unimplemented{}

func (Unimplemented) unimplemented() {}

// Manifest implements Reader.
func (Unimplemented) Manifest(context.Context, string, oci.Reference) (*Manifest, error) {
	return nil, ErrUnsupported
}

// StatManifest implements Reader.
func (Unimplemented) StatManifest(context.Context, string, oci.Reference) (oci.Descriptor, error) {
	return oci.Descriptor{}, ErrUnsupported
}

// Blob implements Reader.
func (Unimplemented) Blob(context.Context, string, oci.Digest, Range) (*Blob, error) {
	return nil, ErrUnsupported
}

// StatBlob implements Reader.
func (Unimplemented) StatBlob(context.Context, string, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, ErrUnsupported
}

// PutManifest implements Writer.
func (Unimplemented) PutManifest(context.Context, string, oci.Reference, PutManifest) (Put, error) {
	return Put{}, ErrUnsupported
}

// MountBlob implements Writer.
func (Unimplemented) MountBlob(context.Context, string, string, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, ErrUnsupported
}

// StartUpload implements Writer.
func (Unimplemented) StartUpload(context.Context, string) (Upload, error) { return nil, ErrUnsupported }

// ResumeUpload implements Writer.
func (Unimplemented) ResumeUpload(context.Context, string, string) (Upload, error) {
	return nil, ErrUnsupported
}

// DeleteManifest implements Deleter.
func (Unimplemented) DeleteManifest(context.Context, string, oci.Reference) error {
	return ErrUnsupported
}

// DeleteBlob implements Deleter.
func (Unimplemented) DeleteBlob(context.Context, string, oci.Digest) error { return ErrUnsupported }

// Tags implements Lister.
func (Unimplemented) Tags(context.Context, string, Page) (*TagList, error) {
	return nil, ErrUnsupported
}

// Repositories implements Lister.
func (Unimplemented) Repositories(context.Context, Page) (*RepositoryList, error) {
	return nil, ErrUnsupported
}

// Referrers implements Lister.
func (Unimplemented) Referrers(context.Context, string, oci.Digest, string) (*ReferrerList, error) {
	return nil, ErrUnsupported
}

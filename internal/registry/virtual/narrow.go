package virtual

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Narrow returns the registry as a request with "?ns=host" sees it: WithNS on every call.
func (r *Registry) Narrow(host string) registry.Registry { return &narrowed{inner: r, host: host} }

type narrowed struct {
	registry.Unimplemented
	inner *Registry
	host  string
}

func (n *narrowed) Manifest(ctx context.Context, repository string, ref oci.Reference) (*registry.Manifest, error) {
	return n.inner.Manifest(WithNS(ctx, n.host), repository, ref)
}

func (n *narrowed) StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	return n.inner.StatManifest(WithNS(ctx, n.host), repository, ref)
}

func (n *narrowed) Blob(ctx context.Context, repository string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	return n.inner.Blob(WithNS(ctx, n.host), repository, digest, rng)
}

func (n *narrowed) StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error) {
	return n.inner.StatBlob(WithNS(ctx, n.host), repository, digest)
}

func (n *narrowed) Tags(ctx context.Context, repository string, page registry.Page) (*registry.TagList, error) {
	return n.inner.Tags(WithNS(ctx, n.host), repository, page)
}

func (n *narrowed) Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	return n.inner.Referrers(WithNS(ctx, n.host), repository, digest, artifactType)
}

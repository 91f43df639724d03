package hosted

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
)

// DeleteManifest implements registry.Deleter.
func (r *Registry) DeleteManifest(ctx context.Context, repository string, ref oci.Reference) error {
	id, err := r.id(ctx, repository)
	if err != nil {
		return err
	}
	if ref.IsDigest() {
		err = r.store.DeleteManifest(ctx, id, ref.Digest)
	} else {
		err = r.store.DeleteTag(ctx, id, ref.Tag)
	}
	if err != nil {
		return explain(err, errManifest, "delete manifest", repository+" "+ref.String())
	}
	return nil
}

// DeleteBlob implements registry.Deleter.
func (r *Registry) DeleteBlob(ctx context.Context, repository string, digest oci.Digest) error {
	id, err := r.id(ctx, repository)
	if err != nil {
		return err
	}
	if err := r.store.UnlinkBlob(ctx, id, digest); err != nil {
		return explain(err, errBlob, "delete blob", string(digest))
	}
	return nil
}

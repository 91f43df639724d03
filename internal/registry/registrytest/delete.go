package registrytest

import (
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

func testDelete(t *testing.T, open Open) {
	r, ctx := open(t, nil), t.Context()
	image, other := RandomImage(1, 1, 100), RandomImage(2, 1, 100)
	Push(t, r, repositoryName, []string{"a", "b"}, image)
	Push(t, r, repositoryName, []string{"keep"}, other)

	wantCode(t, "delete of a needed blob", r.DeleteBlob(ctx, repositoryName, image.Config().Digest), oci.CodeDenied)
	if err := r.DeleteManifest(ctx, repositoryName, oci.ByTag("a")); err != nil {
		t.Fatalf("delete tag: %v", err)
	}
	_, err := r.Manifest(ctx, repositoryName, oci.ByTag("a"))
	wantOutcome(t, "deleted tag", err, registry.Absent)
	checkManifest(t, r, oci.ByTag("b"), image.Manifest)

	if err := r.DeleteManifest(ctx, repositoryName, oci.ByDigest(image.Manifest.Digest)); err != nil {
		t.Fatalf("delete manifest: %v", err)
	}
	_, err = r.Manifest(ctx, repositoryName, oci.ByDigest(image.Manifest.Digest))
	wantOutcome(t, "deleted manifest", err, registry.Absent)
	_, err = r.StatManifest(ctx, repositoryName, oci.ByTag("b"))
	wantOutcome(t, "tag of a deleted manifest", err, registry.Absent)

	if err := r.DeleteBlob(ctx, repositoryName, image.Config().Digest); err != nil {
		t.Errorf("delete blob that nothing needs: %v", err)
	}
	_, err = r.StatBlob(ctx, repositoryName, image.Config().Digest)
	wantOutcome(t, "deleted blob", err, registry.Absent)
	checkManifest(t, r, oci.ByTag("keep"), other.Manifest)

	wantOutcome(t, "delete of a missing tag", r.DeleteManifest(ctx, repositoryName, oci.ByTag("nope")), registry.Absent)
	wantOutcome(t, "delete of a missing manifest", r.DeleteManifest(ctx, repositoryName, oci.ByDigest(missingDigest)), registry.Absent)
	wantOutcome(t, "delete of a missing blob", r.DeleteBlob(ctx, repositoryName, missingDigest), registry.Absent)
}

package hosted

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/store"
)

// Manifest implements registry.Reader.
func (r *Registry) Manifest(ctx context.Context, repository string, ref oci.Reference) (*registry.Manifest, error) {
	id, m, err := r.manifest(ctx, repository, ref)
	if err != nil {
		return nil, err
	}
	r.store.Pulled(id, m.Digest)
	return &registry.Manifest{Descriptor: describe(m), Payload: m.Payload}, nil
}

// StatManifest implements registry.Reader.
func (r *Registry) StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	_, m, err := r.manifest(ctx, repository, ref)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return describe(m), nil
}

// manifest looks a reference up. A tag may move, and its old manifest go, between two reads: then it is read once more.
func (r *Registry) manifest(ctx context.Context, repository string, ref oci.Reference) (int64, store.Manifest, error) {
	id, err := r.id(ctx, repository)
	if err != nil {
		return 0, store.Manifest{}, err
	}
	m, err := r.find(ctx, id, ref)
	if errors.Is(err, store.ErrNotFound) && !ref.IsDigest() {
		m, err = r.find(ctx, id, ref)
	}
	if err != nil {
		return 0, store.Manifest{}, explain(err, errManifest, "read manifest", repository+" "+ref.String())
	}
	return id, m, nil
}

func (r *Registry) find(ctx context.Context, id int64, ref oci.Reference) (store.Manifest, error) {
	digest := ref.Digest
	if !ref.IsDigest() {
		tag, err := r.store.Tag(ctx, id, ref.Tag)
		if err != nil {
			return store.Manifest{}, err
		}
		digest = tag.Digest
	}
	return r.store.Manifest(ctx, id, digest)
}

func describe(m store.Manifest) oci.Descriptor {
	return oci.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Payload))}
}

// Blob implements registry.Reader. Body is the file itself where the blob store has files.
func (r *Registry) Blob(ctx context.Context, repository string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	b, err := r.blob(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	offset, length, err := rng.Resolve(b.Size)
	if err != nil {
		return nil, err
	}
	content, err := r.store.OpenBlob(ctx, b, offset, length)
	if err != nil {
		return nil, explain(err, errBlob, "open blob", string(digest))
	}
	return &registry.Blob{
		Descriptor: describeBlob(b), Offset: offset, Length: length, Body: content.Body, Location: content.Location,
	}, nil
}

// StatBlob implements registry.Reader.
func (r *Registry) StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error) {
	b, err := r.blob(ctx, repository, digest)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return describeBlob(b), nil
}

func (r *Registry) blob(ctx context.Context, repository string, digest oci.Digest) (store.Blob, error) {
	id, err := r.id(ctx, repository)
	if err != nil {
		return store.Blob{}, err
	}
	b, err := r.store.Blob(ctx, id, digest)
	if err != nil {
		return store.Blob{}, explain(err, errBlob, "find blob", string(digest))
	}
	return b, nil
}

func describeBlob(b store.Blob) oci.Descriptor {
	return oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: b.Digest, Size: b.Size}
}

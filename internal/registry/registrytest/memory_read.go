package registrytest

import (
	"bytes"
	"context"
	"io"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Manifest implements registry.Reader.
func (m *Memory) Manifest(ctx context.Context, name string, ref oci.Reference) (*registry.Manifest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(name)
	if err != nil {
		return nil, err
	}
	return r.manifest(ref)
}

// StatManifest implements registry.Reader.
func (m *Memory) StatManifest(ctx context.Context, name string, ref oci.Reference) (oci.Descriptor, error) {
	man, err := m.Manifest(ctx, name, ref)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return man.Descriptor, nil
}

// Blob implements registry.Reader.
func (m *Memory) Blob(ctx context.Context, name string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	b, err := m.bytes(ctx, name, digest)
	if err != nil {
		return nil, err
	}
	offset, length, err := rng.Resolve(int64(len(b)))
	if err != nil {
		return nil, err
	}
	return &registry.Blob{
		Descriptor: blobDescriptor(digest, b), Offset: offset, Length: length,
		Body: io.NopCloser(bytes.NewReader(b[offset : offset+length])),
	}, nil
}

// StatBlob implements registry.Reader.
func (m *Memory) StatBlob(ctx context.Context, name string, digest oci.Digest) (oci.Descriptor, error) {
	b, err := m.bytes(ctx, name, digest)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return blobDescriptor(digest, b), nil
}

func (m *Memory) bytes(ctx context.Context, name string, digest oci.Digest) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(name)
	if err != nil {
		return nil, err
	}
	return r.blob(digest)
}

func blobDescriptor(digest oci.Digest, b []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: digest, Size: int64(len(b))}
}

package registrytest

import (
	"context"
	"maps"

	"github.com/weir-registry/weir/internal/oci"
)

// DeleteManifest implements registry.Deleter.
func (m *Memory) DeleteManifest(_ context.Context, name string, ref oci.Reference) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(name)
	if err != nil {
		return err
	}
	man, err := r.manifest(ref)
	if err != nil {
		return err
	}
	if !ref.IsDigest() {
		delete(r.tags, ref.Tag)
		return nil
	}
	delete(r.manifests, man.Digest)
	maps.DeleteFunc(r.tags, func(_ string, d oci.Digest) bool { return d == man.Digest })
	return nil
}

// DeleteBlob implements registry.Deleter.
func (m *Memory) DeleteBlob(_ context.Context, name string, digest oci.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(name)
	if err != nil {
		return err
	}
	if _, err := r.blob(digest); err != nil {
		return err
	}
	if r.needs(digest) {
		return oci.NewError(oci.CodeDenied, "a manifest still needs the blob; delete the manifest first")
	}
	delete(r.blobs, digest)
	return nil
}

func (r *repository) needs(digest oci.Digest) bool {
	for _, man := range r.manifests {
		parsed, err := oci.ParseManifest(man.MediaType, man.Payload)
		if err != nil {
			continue
		}
		for _, d := range parsed.Blobs() {
			if d.Digest == digest {
				return true
			}
		}
	}
	return false
}

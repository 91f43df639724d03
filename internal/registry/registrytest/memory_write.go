package registrytest

import (
	"bytes"
	"context"
	"io"
	"slices"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// PutManifest implements registry.Writer.
func (m *Memory) PutManifest(_ context.Context, name string, ref oci.Reference, put registry.PutManifest) (registry.Put, error) {
	parsed, err := oci.ParseManifest(put.MediaType, put.Payload)
	if err == nil {
		err = parsed.Conforms(put.MediaType, put.Payload)
	}
	if err != nil {
		return registry.Put{}, oci.NewError(oci.CodeManifestInvalid, err.Error())
	}
	digest := oci.DigestOf(oci.SHA256, put.Payload)
	if ref.IsDigest() {
		if digest = oci.DigestOf(ref.Digest.Algorithm(), put.Payload); digest != ref.Digest {
			return registry.Put{}, oci.NewError(oci.CodeDigestInvalid, "the payload has another digest")
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.make(name)
	if err := r.check(parsed); err != nil {
		return registry.Put{}, err
	}
	man := &registry.Manifest{
		Descriptor: oci.Descriptor{MediaType: put.MediaType, Digest: digest, Size: int64(len(put.Payload))},
		Payload:    bytes.Clone(put.Payload),
	}
	r.manifests[digest] = man
	for _, tag := range append(slices.Clone(put.Tags), ref.Tag) {
		if tag != "" {
			r.tags[tag] = digest
		}
	}
	out := registry.Put{Descriptor: man.Descriptor}
	if parsed.Subject != nil {
		out.Subject = parsed.Subject.Digest
	}
	return out, nil
}

// check refuses a manifest that names what the repository does not hold.
func (r *repository) check(man *oci.Manifest) error {
	for _, d := range man.Blobs() {
		if _, ok := r.blobs[d.Digest]; !ok && len(d.URLs) == 0 {
			return oci.NewError(oci.CodeManifestBlobUnknown, "push the blobs first").WithDetail(d.Digest)
		}
	}
	for _, d := range man.Children {
		if _, ok := r.manifests[d.Digest]; !ok {
			return oci.NewError(oci.CodeManifestBlobUnknown, "push the manifests of the index first").WithDetail(d.Digest)
		}
	}
	return nil
}

// MountBlob implements registry.Writer.
func (m *Memory) MountBlob(_ context.Context, name, from string, digest oci.Digest) (oci.Descriptor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	source, err := m.find(from)
	if err != nil {
		return oci.Descriptor{}, oci.NewError(oci.CodeBlobUnknown, "there is no such blob")
	}
	b, err := source.blob(digest)
	if err != nil {
		return oci.Descriptor{}, err
	}
	m.make(name).blobs[digest] = b
	return blobDescriptor(digest, b), nil
}

// StartUpload implements registry.Writer.
func (m *Memory) StartUpload(_ context.Context, name string) (registry.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &session{memory: m, id: m.nextID(), repository: name}
	m.uploads[s.id] = s
	return s, nil
}

// ResumeUpload implements registry.Writer.
func (m *Memory) ResumeUpload(_ context.Context, name, id string) (registry.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.uploads[id]
	if !ok || s.repository != name {
		return nil, errNoUpload
	}
	return s, nil
}

var errNoUpload = oci.NewError(oci.CodeBlobUploadUnknown, "there is no such upload; start a new one")

// session is one upload; memory.mu guards it.
type session struct {
	memory     *Memory
	id         string
	repository string
	content    []byte
}

// ID implements registry.Upload.
func (s *session) ID() string { return s.id }

// Size implements registry.Upload.
func (s *session) Size() int64 {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return int64(len(s.content))
}

// Append implements registry.Upload.
func (s *session) Append(_ context.Context, offset int64, r io.Reader) error {
	if offset >= 0 && offset != s.Size() {
		return oci.NewError(oci.CodeRangeInvalid, "the chunk does not follow the last one")
	}
	b, err := io.ReadAll(r)
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.memory.uploads[s.id] != s {
		return errNoUpload
	}
	s.content = append(s.content, b...)
	return err
}

// Commit implements registry.Upload.
func (s *session) Commit(_ context.Context, digest oci.Digest) (oci.Descriptor, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.memory.uploads[s.id] != s {
		return oci.Descriptor{}, errNoUpload
	}
	delete(s.memory.uploads, s.id)
	if oci.DigestOf(digest.Algorithm(), s.content) != digest {
		return oci.Descriptor{}, oci.NewError(oci.CodeDigestInvalid, "the uploaded bytes have another digest")
	}
	s.memory.make(s.repository).blobs[digest] = s.content
	return blobDescriptor(digest, s.content), nil
}

// Cancel implements registry.Upload.
func (s *session) Cancel(context.Context) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.memory.uploads[s.id] != s {
		return errNoUpload
	}
	delete(s.memory.uploads, s.id)
	return nil
}

// Close implements registry.Upload.
func (s *session) Close() error { return nil }

package registrytest

import (
	"strconv"
	"sync"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Memory is a complete registry in memory: a real implementation that passes the suite, for tests of what stands on a
// registry. It checks what a registry must check and keeps the rest simple.
type Memory struct {
	registry.Unimplemented

	mu           sync.Mutex
	repositories map[string]*repository
	uploads      map[string]*session
	sessions     int // how many were ever opened
}

type repository struct {
	blobs     map[oci.Digest][]byte
	manifests map[oci.Digest]*registry.Manifest
	tags      map[string]oci.Digest
}

var _ registry.Registry = (*Memory)(nil)

// NewMemory returns an empty registry.
func NewMemory() *Memory {
	return &Memory{repositories: map[string]*repository{}, uploads: map[string]*session{}}
}

// make returns the repository and makes it exist. m.mu must be held, as in every method below.
func (m *Memory) make(name string) *repository {
	r, ok := m.repositories[name]
	if !ok {
		r = &repository{blobs: map[oci.Digest][]byte{}, manifests: map[oci.Digest]*registry.Manifest{}, tags: map[string]oci.Digest{}}
		m.repositories[name] = r
	}
	return r
}

func (m *Memory) find(name string) (*repository, error) {
	if r, ok := m.repositories[name]; ok {
		return r, nil
	}
	return nil, oci.NewError(oci.CodeNameUnknown, "there is no such repository")
}

func (r *repository) manifest(ref oci.Reference) (*registry.Manifest, error) {
	digest := ref.Digest
	if !ref.IsDigest() {
		digest = r.tags[ref.Tag]
	}
	if man, ok := r.manifests[digest]; ok {
		return man, nil
	}
	return nil, oci.NewError(oci.CodeManifestUnknown, "there is no such manifest")
}

func (r *repository) blob(digest oci.Digest) ([]byte, error) {
	if b, ok := r.blobs[digest]; ok {
		return b, nil
	}
	return nil, oci.NewError(oci.CodeBlobUnknown, "there is no such blob")
}

func (m *Memory) nextID() string {
	m.sessions++
	return "upload-" + strconv.Itoa(m.sessions)
}

package registrytest

import (
	"context"
	"maps"
	"slices"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Tags implements registry.Lister.
func (m *Memory) Tags(_ context.Context, name string, page registry.Page) (*registry.TagList, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(name)
	if err != nil {
		return nil, err
	}
	names, more := pageOf(slices.Sorted(maps.Keys(r.tags)), page)
	return &registry.TagList{Tags: names, More: more}, nil
}

// Repositories implements registry.Lister.
func (m *Memory) Repositories(_ context.Context, page registry.Page) (*registry.RepositoryList, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names, more := pageOf(slices.Sorted(maps.Keys(m.repositories)), page)
	return &registry.RepositoryList{Repositories: names, More: more}, nil
}

// Referrers implements registry.Lister.
func (m *Memory) Referrers(_ context.Context, name string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &registry.ReferrerList{}
	r, ok := m.repositories[name]
	if !ok {
		return out, nil
	}
	for _, d := range slices.Sorted(maps.Keys(r.manifests)) {
		man := r.manifests[d]
		parsed, err := oci.ParseManifest(man.MediaType, man.Payload)
		if err != nil || parsed.Subject == nil || parsed.Subject.Digest != digest {
			continue
		}
		if artifactType == "" || parsed.ArtifactType == artifactType {
			out.Manifests = append(out.Manifests, referrerOf(man, parsed))
		}
	}
	return out, nil
}

func referrerOf(man *registry.Manifest, parsed *oci.Manifest) oci.Descriptor {
	d := man.Descriptor
	d.ArtifactType, d.Annotations = parsed.ArtifactType, parsed.Annotations
	return d
}

// pageOf cuts a page out of sorted names.
func pageOf(names []string, page registry.Page) ([]string, bool) {
	start, found := slices.BinarySearch(names, page.Last)
	if found {
		start++
	}
	names = names[start:]
	if page.N > 0 && len(names) > page.N {
		return names[:page.N], true
	}
	return names, false
}

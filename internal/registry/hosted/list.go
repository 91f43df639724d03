package hosted

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

func pageSize(n int) int {
	if n <= 0 || n > maxPage {
		return maxPage
	}
	return n
}

// Tags implements registry.Lister.
func (r *Registry) Tags(ctx context.Context, repository string, page registry.Page) (*registry.TagList, error) {
	id, err := r.id(ctx, repository)
	if err != nil {
		return nil, err
	}
	n := pageSize(page.N)
	tags, err := r.store.Tags(ctx, id, page.Last, n+1)
	if err != nil {
		return nil, explain(err, errName, "list tags of", repository)
	}
	return &registry.TagList{Tags: tags[:min(n, len(tags))], More: len(tags) > n}, nil
}

// Repositories implements registry.Lister.
func (r *Registry) Repositories(ctx context.Context, page registry.Page) (*registry.RepositoryList, error) {
	n := pageSize(page.N)
	names, err := r.store.HostedRepositories(ctx, r.group, page.Last, n+1)
	if err != nil {
		return nil, explain(err, errName, "list", "repositories")
	}
	return &registry.RepositoryList{Repositories: names[:min(n, len(names))], More: len(names) > n}, nil
}

// Referrers implements registry.Lister.
func (r *Registry) Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	id, err := r.id(ctx, repository)
	if errors.Is(err, errName) {
		return &registry.ReferrerList{}, nil // what does not exist has none
	}
	if err != nil {
		return nil, err
	}
	list, err := r.store.Referrers(ctx, id, digest, artifactType, maxReferrers)
	if err != nil {
		return nil, explain(err, errName, "list referrers in", repository)
	}
	return &registry.ReferrerList{Manifests: list}, nil
}

package hosted

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/store"
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
		return nil, fmt.Errorf("list repositories: %w", err)
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

// Group is a group as Catalog needs it.
type Group struct {
	ID   int64
	Name string
}

// Catalog lists the hosted repositories of groups by their full names, "<group>/<path…>", in byte order.
func Catalog(ctx context.Context, s *store.Store, groups []Group, page registry.Page) (*registry.RepositoryList, error) {
	n := pageSize(page.N)
	// With the slash, because "a-b/x" comes before "a/x".
	groups = slices.SortedFunc(slices.Values(groups), func(a, b Group) int { return cmp.Compare(a.Name+"/", b.Name+"/") })
	list := &registry.RepositoryList{}
	for _, g := range groups {
		prefix, after := g.Name+"/", ""
		if rest, ok := strings.CutPrefix(page.Last, prefix); ok {
			after = rest
		} else if page.Last >= prefix {
			continue
		}
		names, err := s.HostedRepositories(ctx, g.ID, after, n+1-len(list.Repositories))
		if err != nil {
			return nil, fmt.Errorf("list repositories of group %s: %w", g.Name, err)
		}
		for _, name := range names {
			list.Repositories = append(list.Repositories, prefix+name)
		}
		if len(list.Repositories) > n {
			list.Repositories, list.More = list.Repositories[:n], true
			break
		}
	}
	return list, nil
}

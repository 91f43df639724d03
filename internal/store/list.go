package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// maxPage bounds what one list query returns, whatever a caller asks for.
const maxPage = 10_000

func page(n int) int32 { return int32(min(max(n, 0), maxPage)) }

// Tags lists up to n tags (at most 10,000) after the name after, in byte order.
func (s *Store) Tags(ctx context.Context, repository int64, after string, n int) ([]string, error) {
	tags, err := s.db.Read().ListTags(ctx, query.ListTagsParams{RepositoryID: repository, After: after, N: page(n)})
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	return tags, nil
}

// HostedRepositories lists up to n names (at most 10,000) of hosted repositories of a group that hold a manifest, after the
// name after, in byte order.
func (s *Store) HostedRepositories(ctx context.Context, group int64, after string, n int) ([]string, error) {
	names, err := s.db.Read().ListHostedRepositories(ctx, query.ListHostedRepositoriesParams{GroupID: group, After: after, N: page(n)})
	if err != nil {
		return nil, fmt.Errorf("list hosted repositories: %w", err)
	}
	return names, nil
}

// Referrers lists manifests whose subject is digest, with artifact type and annotations, at most limit of them (at most
// 10,000), in order of digest. artifactType filters unless it is empty.
func (s *Store) Referrers(ctx context.Context, repository int64, digest oci.Digest, artifactType string, limit int) ([]oci.Descriptor, error) {
	rows, err := s.listReferrers(ctx, repository, oci.DigestBytes(digest), artifactType, page(limit))
	if err != nil {
		return nil, fmt.Errorf("list referrers of %s: %w", digest, err)
	}
	list := make([]oci.Descriptor, 0, len(rows))
	for _, row := range rows {
		d := oci.Descriptor{MediaType: row.MediaType, ArtifactType: row.ArtifactType, Size: row.Size}
		if d.Digest, err = oci.DigestFromBytes(row.Digest); err != nil {
			return nil, fmt.Errorf("list referrers of %s: %w", digest, err)
		}
		if err := json.Unmarshal([]byte(row.Annotations), &d.Annotations); err != nil {
			return nil, fmt.Errorf("annotations of %s: %w", d.Digest, err)
		}
		list = append(list, d)
	}
	return list, nil
}

func (s *Store) listReferrers(ctx context.Context, repository int64, subject []byte, artifactType string, n int32) ([]query.ListReferrersRow, error) {
	if artifactType == "" {
		return s.db.Read().ListReferrers(ctx, query.ListReferrersParams{RepositoryID: repository, Subject: subject, After: []byte{}, N: n})
	}
	typed, err := s.db.Read().ListReferrersOfType(ctx, query.ListReferrersOfTypeParams{
		RepositoryID: repository, Subject: subject, ArtifactType: artifactType, After: []byte{}, N: n,
	})
	rows := make([]query.ListReferrersRow, len(typed))
	for i, row := range typed {
		rows[i] = query.ListReferrersRow(row)
	}
	return rows, err
}

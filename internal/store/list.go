package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// listReferrers is the kind of a List that has a subject.
const listReferrers = "referrers"

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

// PutList keeps an upstream's answer. What a list of referrers names can be asked for from then on, by whoever may have the
// subject.
func (s *Store) PutList(ctx context.Context, l List) error {
	subject := optionalDigest(l.Subject)
	err := s.changeNamed(ctx, l.Repository, func(ctx context.Context, c *change) error {
		old, err := c.GetList(ctx, query.GetListParams{RepositoryID: c.repository.ID, Kind: l.Kind, Subject: subject})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if l.Subject != "" && err != nil {
			c.review(CandidateManifest, subject, c.now.Add(s.grace)) // it may never come
		}
		if l.Subject != "" && (err != nil || !bytes.Equal(old.Payload, l.Payload)) {
			if err := c.admitListed(ctx, subject, l.Referrers); err != nil {
				return err
			}
		}
		return c.PutList(ctx, query.PutListParams{
			RepositoryID: c.repository.ID, Kind: l.Kind, Subject: subject, Payload: l.Payload, CheckedAt: micros(l.CheckedAt),
		})
	})
	if err != nil {
		return fmt.Errorf("keep the list of %s: %w", l.Kind, err)
	}
	return nil
}

// admitListed makes the listed referrers of a subject those admitted ViaList, and no others.
func (c *change) admitListed(ctx context.Context, subject []byte, referrers []oci.Digest) error {
	if err := c.forgetListed(ctx, subject); err != nil {
		return err
	}
	for _, digest := range referrers {
		if err := c.admit(ctx, oci.DigestBytes(digest), ViaList, subjectTag(subject)); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) forgetListed(ctx context.Context, subject []byte) error {
	return c.ForgetListed(ctx, query.ForgetListedParams{RepositoryID: c.repository.ID, Tag: subjectTag(subject)})
}

// subjectTag is the tag that speaks of a digest (distribution specification, "Referrers Tag Schema"), but for its length.
func subjectTag(digest []byte) string { return strings.Replace(digestText(digest), ":", "-", 1) }

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

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// RepositoryID returns the id of a repository; ErrNotFound. Existence is cached either way.
func (s *Store) RepositoryID(ctx context.Context, key RepositoryKey) (int64, error) {
	key.Format = "" // no part of a repository's identity
	id, ok := recall[int64](s.ids, key)
	if !ok {
		return s.loadRepositoryID(ctx, key)
	}
	if id == nil {
		return 0, ErrNotFound
	}
	return *id, nil
}

// rememberedID is the id of a repository that is remembered to exist.
func (s *Store) rememberedID(key RepositoryKey) (int64, bool) {
	key.Format = ""
	id, ok := recall[int64](s.ids, key)
	if !ok || id == nil {
		return 0, false
	}
	return *id, true
}

// loadRepositoryID asks the database. What is remembered of a repository that somebody has just made, here or at another replica, may
// be a moment old; who must not take that for an answer asks here.
func (s *Store) loadRepositoryID(ctx context.Context, key RepositoryKey) (int64, error) {
	key.Format = ""
	ticket := s.ids.begin(key)
	found, err := s.db.Read().FindRepository(ctx, query.FindRepositoryParams{
		GroupID: key.GroupID, UpstreamID: key.UpstreamID, Epoch: key.Epoch, Name: key.Name,
	})
	id, err := present(&found, err)
	if err != nil {
		return 0, fmt.Errorf("find repository %s: %w", key.Name, err)
	}
	keep(s.ids, key, ticket, id)
	if id == nil {
		return 0, ErrNotFound
	}
	return *id, nil
}

// Tag returns a tag; ErrNotFound.
func (s *Store) Tag(ctx context.Context, repository int64, name string) (Tag, error) {
	key := itemKey{ChangeTag, repository, name}
	tag, ok := recall[Tag](s.content, key)
	if !ok {
		var err error
		if tag, err = s.loadTag(ctx, key); err != nil {
			return Tag{}, fmt.Errorf("read tag %s: %w", name, err)
		}
	}
	if tag == nil {
		return Tag{}, ErrNotFound
	}
	return *tag, nil
}

func (s *Store) loadTag(ctx context.Context, key itemKey) (*Tag, error) {
	ticket := s.content.begin(key)
	row, err := s.db.Read().GetTag(ctx, query.GetTagParams{RepositoryID: key.repository, Name: key.name})
	found, err := present(&row, err)
	if err != nil {
		return nil, err
	}
	var tag *Tag
	if found != nil {
		digest, err := oci.DigestFromBytes(row.Digest)
		if err != nil {
			return nil, err
		}
		tag = &Tag{Name: row.Name, Digest: digest, CheckedAt: fromMicros(row.CheckedAt), UpdatedAt: fromMicros(row.UpdatedAt)}
		s.deferred.overlay(key, tag)
	}
	keep(s.content, key, ticket, tag)
	return tag, nil
}

// Manifest returns a manifest; ErrNotFound.
func (s *Store) Manifest(ctx context.Context, repository int64, digest oci.Digest) (Manifest, error) {
	key := itemKey{ChangeManifest, repository, string(digest)}
	m, ok := recall[Manifest](s.content, key)
	if !ok {
		ticket := s.content.begin(key)
		row, err := s.db.Read().GetManifest(ctx, query.GetManifestParams{RepositoryID: repository, Digest: oci.DigestBytes(digest)})
		found, err := present(&row, err)
		if err != nil {
			return Manifest{}, fmt.Errorf("read manifest %s: %w", digest, err)
		}
		if found != nil {
			m = &Manifest{Digest: digest, MediaType: row.MediaType, Payload: row.Payload, CreatedAt: fromMicros(row.CreatedAt)}
		}
		keep(s.content, key, ticket, m)
	}
	if m == nil {
		return Manifest{}, ErrNotFound
	}
	return *m, nil
}

// Blob returns a blob linked into the repository; ErrNotFound.
func (s *Store) Blob(ctx context.Context, repository int64, digest oci.Digest) (Blob, error) {
	key := itemKey{ChangeLink, repository, string(digest)}
	b, ok := recall[Blob](s.content, key)
	if !ok {
		ticket := s.content.begin(key)
		row, err := s.db.Read().GetLinkedBlob(ctx, query.GetLinkedBlobParams{RepositoryID: repository, Digest: oci.DigestBytes(digest)})
		found, err := present(&row, err)
		if err != nil {
			return Blob{}, fmt.Errorf("read the link of blob %s: %w", digest, err)
		}
		if found != nil {
			b = &Blob{Digest: digest, Size: row.Size, Key: row.StorageKey}
		}
		keep(s.content, key, ticket, b)
	}
	if b == nil {
		return Blob{}, ErrNotFound
	}
	return *b, nil
}

// KnownBlob returns a blob that any cached repository of the group links: a candidate for LinkBlob after the upstream has
// confirmed the digest under the new name. ErrNotFound.
func (s *Store) KnownBlob(ctx context.Context, group int64, digest oci.Digest) (Blob, error) {
	row, err := s.db.Read().FindCachedBlob(ctx, query.FindCachedBlobParams{Digest: oci.DigestBytes(digest), GroupID: group})
	if err != nil {
		return Blob{}, notFound(fmt.Errorf("find blob %s: %w", digest, err))
	}
	return Blob{Digest: digest, Size: row.Size, Key: row.StorageKey}, nil
}

// OpenBlob opens [offset, offset+length) of a blob; length -1 is "to the end". It follows a moved key once: the blob may have
// been collected and stored again since it was looked up. ErrNotFound when its bytes are gone.
func (s *Store) OpenBlob(ctx context.Context, b Blob, offset, length int64) (blob.Content, error) {
	c, err := s.blobs.Open(ctx, b.Key, offset, length)
	if !errors.Is(err, blob.ErrNotFound) {
		return c, err
	}
	row, err := s.db.Read().GetBlob(ctx, oci.DigestBytes(b.Digest))
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && row.StorageKey == b.Key:
		return blob.Content{}, fmt.Errorf("the bytes of blob %s are gone: %w", b.Digest, ErrNotFound)
	case err != nil:
		return blob.Content{}, fmt.Errorf("find the key of blob %s: %w", b.Digest, err)
	}
	return s.blobs.Open(ctx, row.StorageKey, offset, length)
}

// Reference returns the descriptor by which a manifest of the repository names digest (a child, config or layer); ErrNotFound.
func (s *Store) Reference(ctx context.Context, repository int64, digest oci.Digest) (oci.Descriptor, error) {
	row, err := s.db.Read().GetReference(ctx, query.GetReferenceParams{RepositoryID: repository, Child: oci.DigestBytes(digest)})
	if err != nil {
		return oci.Descriptor{}, notFound(fmt.Errorf("find who refers to %s: %w", digest, err))
	}
	return oci.Descriptor{MediaType: row.MediaType, Digest: digest, Size: row.Size}, nil
}

// List returns an upstream's cached answer (kind "tags" or "referrers") and when it was confirmed; ErrNotFound.
func (s *Store) List(ctx context.Context, repository int64, kind string, subject oci.Digest) (payload []byte, checkedAt time.Time, err error) {
	row, err := s.db.Read().GetList(ctx, query.GetListParams{RepositoryID: repository, Kind: kind, Subject: optionalDigest(subject)})
	if err != nil {
		return nil, time.Time{}, notFound(fmt.Errorf("read the cached %s: %w", kind, err))
	}
	return row.Payload, fromMicros(row.CheckedAt), nil
}

// present tells a missing row (nil, nil: a fact worth remembering) from an error. It never leaves this package.
func present[T any](row *T, err error) (*T, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return row, nil
}

// notFound turns the database's word for a missing row into the store's.
func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// optionalDigest is the empty string of bytes for no digest, never NULL.
func optionalDigest(d oci.Digest) []byte {
	if d == "" {
		return []byte{}
	}
	return oci.DigestBytes(d)
}

// fromMicros is the time of a column; 0 is the zero time.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// micros is the column of a time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

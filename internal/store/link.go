package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Stage begins staging bytes in the blob store, for a fill.
func (s *Store) Stage(ctx context.Context) (blob.Stage, error) { return s.blobs.Stage(ctx) }

// ResumeStage continues a stage of an earlier process; blob.ErrNotFound.
func (s *Store) ResumeStage(ctx context.Context, id string, state []byte) (blob.Stage, error) {
	return s.blobs.ResumeStage(ctx, id, state)
}

// LinkBlob links an existing blob into a repository (created if need be): a mount or a copy whose source the caller may
// read, or a digest an upstream has confirmed under this name. ErrNotFound when the blob is gone.
func (s *Store) LinkBlob(ctx context.Context, key RepositoryKey, digest oci.Digest) (Blob, error) {
	b, err := s.linkBlob(ctx, key, linking{digest: digest})
	if err != nil {
		return Blob{}, fmt.Errorf("link blob %s: %w", digest, err)
	}
	return b, nil
}

// CommitBlob makes a stage's bytes the blob digest and links it. The caller has hashed every byte of the stage.
// It is idempotent: when the blob exists already the stage is dropped and the existing one is linked.
func (s *Store) CommitBlob(ctx context.Context, key RepositoryKey, stage blob.Stage, digest oci.Digest) (Blob, error) {
	b, err := s.commitBlob(ctx, key, stage, committing{digest: digest, hashed: true})
	if err != nil {
		return Blob{}, fmt.Errorf("commit blob %s: %w", digest, err)
	}
	return b, nil
}

// committing says how commitBlob commits a stage.
type committing struct {
	digest  oci.Digest
	hashed  bool   // the bytes of the stage are known to have the digest
	session string // upload session that ends in the same transaction, if any
}

func (s *Store) commitBlob(ctx context.Context, key RepositoryKey, stage blob.Stage, c committing) (Blob, error) {
	l := linking{digest: c.digest, session: c.session, size: stage.Size()}
	known, lost, err := s.knownBlob(ctx, c.digest)
	if err != nil {
		return Blob{}, err
	}
	if known && c.hashed {
		b, err := s.linkBlob(ctx, key, l)
		if err == nil {
			s.dropStage(ctx, stage)
		}
		if !errors.Is(err, ErrNotFound) {
			return b, err
		}
	}
	l.lost = lost
	if l.object, err = stage.Commit(ctx, c.digest); err != nil { // durable from here on
		return Blob{}, err
	}
	if !c.hashed {
		if err := s.verifyObject(ctx, l.object, c.digest); err != nil {
			return Blob{}, err
		}
	}
	return s.linkObject(ctx, key, l)
}

// verifyObject reads a new object back; ErrDigest, and the object is deleted, when it has another digest.
func (s *Store) verifyObject(ctx context.Context, object string, digest oci.Digest) error {
	content, err := s.blobs.Open(ctx, object, 0, -1)
	if err != nil {
		return err
	}
	if content.Body == nil {
		return fmt.Errorf("the blob store gives only the location of %s, whose digest must be checked", object)
	}
	defer content.Body.Close()
	h, err := oci.NewHash(digest.Algorithm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(h, io.LimitReader(content.Body, content.Length)); err != nil {
		return fmt.Errorf("read %s back: %w", object, err)
	}
	if oci.SumDigest(digest.Algorithm(), h) != digest {
		return errors.Join(ErrDigest, s.blobs.Delete(ctx, object))
	}
	return nil
}

// knownBlob reports whether a blob is here, row and bytes. Of one whose row is here but whose bytes are not it returns the key, so
// that new ones can take their place. It is a look without a lock, which spares a new blob's commit a transaction in vain.
func (s *Store) knownBlob(ctx context.Context, digest oci.Digest) (known bool, lost string, err error) {
	row, err := s.db.Read().GetBlob(ctx, oci.DigestBytes(digest))
	if errors.Is(err, sql.ErrNoRows) {
		return false, "", nil
	}
	if err != nil {
		return false, "", err
	}
	_, err = s.blobs.Stat(ctx, row.StorageKey)
	if errors.Is(err, blob.ErrNotFound) {
		s.log.Warn("the bytes of a blob were lost; new ones take their place", "digest", digest, "key", row.StorageKey)
		return false, row.StorageKey, nil
	}
	return err == nil, "", err
}

// linkObject links new bytes. An error must leave the object alone: the transaction may have been committed although nobody
// heard of it. An object that no row names is found by the scrub.
func (s *Store) linkObject(ctx context.Context, key RepositoryKey, l linking) (Blob, error) {
	object := l.object
	b, err := s.linkBlob(ctx, key, l)
	if err != nil {
		return Blob{}, err
	}
	if b.Key != object { // another transfer of the same content was first
		if err := s.blobs.Delete(ctx, object); err != nil {
			s.log.Warn("delete a duplicate object", "key", object, "error", err)
		}
	}
	return b, nil
}

// dropStage drops what is not needed any more. What a failure leaves behind is found by the sweep of abandoned stages.
func (s *Store) dropStage(ctx context.Context, stage blob.Stage) {
	if err := stage.Drop(ctx); err != nil {
		s.log.Warn("drop a stage", "stage", stage.ID(), "error", err)
	}
}

// linking is what one transaction links.
type linking struct {
	digest  oci.Digest
	session string // upload session that ends with it, if any
	object  string // key of new bytes, if there are any
	size    int64
	lost    string     // key whose bytes are gone: the new ones replace it
	info    *imageInfo // of the blob, once known to be a config
}

// linkBlob links the blob that exists, or makes one of l.object; ErrNotFound when there is neither.
func (s *Store) linkBlob(ctx context.Context, key RepositoryKey, l linking) (b Blob, err error) {
	for {
		err = s.changeNamed(ctx, key, func(ctx context.Context, c *change) error {
			b, err = s.linkInTx(ctx, c, l)
			return err
		})
		if !errors.Is(err, errConfigNamed) {
			return b, err
		}
		if l.info, err = s.readImageInfo(ctx, b); err != nil {
			return Blob{}, err
		}
	}
}

func (s *Store) linkInTx(ctx context.Context, c *change, l linking) (Blob, error) {
	digest := oci.DigestBytes(l.digest)
	row, err := c.lockOrInsertBlob(ctx, digest, l)
	if err != nil {
		return Blob{}, err
	}
	b := Blob{Digest: l.digest, Size: row.Size, Key: row.StorageKey}
	used, err := c.IsReferenced(ctx, query.IsReferencedParams{RepositoryID: c.repository.ID, Child: digest})
	if err != nil {
		return Blob{}, err
	}
	if used { // perhaps as a config
		if err := s.describeImages(ctx, c, digest, l.info); err != nil {
			return b, err
		}
	}
	link := query.LinkBlobParams{RepositoryID: c.repository.ID, Digest: digest, CreatedAt: micros(c.now)}
	if !c.hosted() {
		link.CachedIn = c.repository.GroupID
		if err := c.countCached(ctx, digest, row.Size); err != nil {
			return Blob{}, err
		}
	}
	if err := c.LinkBlob(ctx, link); err != nil {
		return Blob{}, err
	}
	if !used {
		c.review(CandidateLink, digest, c.now.Add(s.grace))
	}
	if l.session != "" {
		if _, err := c.DeleteUpload(ctx, l.session); err != nil {
			return Blob{}, err
		}
	}
	return b, c.changed(ctx, ChangeLink, string(l.digest))
}

// lockOrInsertBlob returns the blob's row, which cannot be collected before this transaction ends.
func (c *change) lockOrInsertBlob(ctx context.Context, digest []byte, l linking) (query.Blob, error) {
	for {
		if l.object != "" {
			row := query.Blob{Digest: digest, Size: l.size, StorageKey: l.object, CreatedAt: micros(c.now)}
			n, err := c.InsertBlob(ctx, query.InsertBlobParams(row))
			if err != nil || n == 1 {
				return row, err
			}
		}
		row, err := c.LockBlob(ctx, digest)
		switch {
		case err == nil && l.lost != "" && row.StorageKey == l.lost:
			return c.moveBlob(ctx, row, l.object)
		case errors.Is(err, sql.ErrNoRows) && l.object != "":
			continue // it was there a moment ago, and has been collected
		case errors.Is(err, sql.ErrNoRows):
			return row, ErrNotFound
		}
		return row, err
	}
}

// moveBlob makes a blob's row name other bytes.
func (c *change) moveBlob(ctx context.Context, row query.Blob, key string) (query.Blob, error) {
	if err := c.InsertDoomedKey(ctx, query.InsertDoomedKeyParams{StorageKey: row.StorageKey, CreatedAt: micros(c.now)}); err != nil {
		return row, err
	}
	row.StorageKey = key
	_, err := c.MoveBlob(ctx, query.MoveBlobParams{StorageKey: key, Digest: row.Digest})
	return row, err
}

// describeImages gives the manifests that name the blob as their config what it tells; errConfigNamed when info is wanting.
func (s *Store) describeImages(ctx context.Context, c *change, digest []byte, info *imageInfo) error {
	if info == nil {
		named, err := c.ConfigIsNamed(ctx, query.ConfigIsNamedParams{RepositoryID: c.repository.ID, ConfigDigest: digest})
		if named {
			return errConfigNamed
		}
		return err
	}
	_, err := c.SetImageInfo(ctx, query.SetImageInfoParams{
		Platform: info.platform, ImageCreated: micros(info.created), Labels: info.labels,
		RepositoryID: c.repository.ID, ConfigDigest: digest,
	})
	return err
}

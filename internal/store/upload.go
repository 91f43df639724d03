package store

import (
	"context"
	"crypto/rand"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Upload is one upload session in the hands of one request; it implements registry.Upload but for the error types: ErrOffset,
// ErrDigest. Its bytes, the state of their hash and the blob store's own state are saved after every Append, so that
// whatever was acknowledged outlives the process.
type Upload struct {
	store *Store
	key   RepositoryKey
	id    string
	stage blob.Stage
	hash  savedHash // sha256 over the stage

	size      int64 // in the row: acknowledged
	updatedAt int64 // in the row: its version
	held      bool  // this Upload holds the session
}

// savedHash is a hash whose state can be kept in a row.
type savedHash interface {
	hash.Hash
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

func newSavedHash() (savedHash, error) {
	h, err := oci.NewHash(oci.SHA256)
	if err != nil {
		return nil, err
	}
	saved, ok := h.(savedHash)
	if !ok {
		return nil, errors.New("the state of this sha256 cannot be saved")
	}
	return saved, nil
}

// sessions are the upload sessions that requests of this process are working on.
type sessions struct {
	mu   sync.Mutex
	busy map[string]struct{}
}

func (b *sessions) take(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.busy[id]; taken {
		return false
	}
	if b.busy == nil {
		b.busy = make(map[string]struct{})
	}
	b.busy[id] = struct{}{}
	return true
}

func (b *sessions) release(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.busy, id)
}

// StartUpload begins an upload session in a repository, which is created if need be. The caller must Close it.
func (s *Store) StartUpload(ctx context.Context, key RepositoryKey) (*Upload, error) {
	u, err := s.startUpload(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("start an upload: %w", err)
	}
	return u, nil
}

func (s *Store) startUpload(ctx context.Context, key RepositoryKey) (_ *Upload, err error) {
	if err := s.room(ctx); err != nil {
		return nil, err
	}
	u := &Upload{store: s, key: key, id: rand.Text()}
	if u.hash, err = newSavedHash(); err != nil {
		return nil, err
	}
	if u.stage, err = s.blobs.Stage(ctx); err != nil {
		return nil, err
	}
	row, err := u.row(ctx, s.now())
	if err == nil {
		err = s.changeNamed(ctx, key, func(ctx context.Context, c *change) error {
			row.RepositoryID = c.repository.ID
			return c.InsertUpload(ctx, row)
		})
	}
	if err != nil {
		s.dropStage(context.WithoutCancel(ctx), u.stage)
		return nil, err
	}
	u.updatedAt, u.held = row.UpdatedAt, s.sessions.take(u.id)
	return u, nil
}

// ResumeUpload continues a session of that repository, after a restart too; ErrNotFound, or ErrBusy while another request
// has it. The caller must Close it.
func (s *Store) ResumeUpload(ctx context.Context, key RepositoryKey, id string) (*Upload, error) {
	if !s.sessions.take(id) {
		return nil, fmt.Errorf("resume upload %s: %w", id, ErrBusy)
	}
	u, err := s.resumeUpload(ctx, key, id)
	if err != nil {
		s.sessions.release(id)
		return nil, fmt.Errorf("resume upload %s: %w", id, err)
	}
	return u, nil
}

func (s *Store) resumeUpload(ctx context.Context, key RepositoryKey, id string) (*Upload, error) {
	repository, err := s.RepositoryID(ctx, key)
	if err != nil {
		return nil, err
	}
	row, err := s.db.Read().GetUpload(ctx, query.GetUploadParams{ID: id, RepositoryID: repository})
	if err != nil {
		return nil, notFound(err)
	}
	u := &Upload{store: s, key: key, id: id, size: row.Size, updatedAt: row.UpdatedAt, held: true}
	if u.hash, err = newSavedHash(); err != nil {
		return nil, err
	}
	if err := u.hash.UnmarshalBinary(row.HashState); err != nil {
		return nil, fmt.Errorf("the saved hash: %w", err)
	}
	u.stage, err = s.blobs.ResumeStage(ctx, row.Stage, row.StageState)
	if errors.Is(err, blob.ErrNotFound) { // a commit that died half way, or a disk that lost it: there is nothing to go on with
		return nil, errors.Join(ErrNotFound, u.deleteRow(ctx))
	}
	if err != nil {
		return nil, err
	}
	if u.stage.Size() != row.Size {
		return nil, errors.Join(fmt.Errorf("the stage has %d bytes, %d were acknowledged", u.stage.Size(), row.Size), u.stage.Close())
	}
	return u, nil
}

// ID is the session's id. Whoever knows it and may push to the repository may go on with the session.
func (u *Upload) ID() string { return u.id }

// Size is the number of bytes acknowledged.
func (u *Upload) Size() int64 { return u.size }

// Append adds r at offset (-1 = at the end); ErrOffset. What arrived before an error of r is kept, and is durable on return.
// When the blob store fails, Size is what was acknowledged before, and the session must be resumed to go on. When there is no
// space left (Full), the session ends and gives back what it has taken.
func (u *Upload) Append(ctx context.Context, offset int64, r io.Reader) error {
	if !u.held {
		return fmt.Errorf("append to upload %s, which has ended: %w", u.id, ErrNotFound)
	}
	if offset >= 0 && offset != u.size {
		return ErrOffset
	}
	counted := &countingHash{hash: u.hash}
	room := &roomReader{r: r, room: func() error { return u.store.room(ctx) }}
	n, err := u.stage.Append(ctx, u.size, io.TeeReader(room, counted))
	if Full(err) {
		return fmt.Errorf("append to upload %s: %w", u.id, errors.Join(err, u.abandon(ctx)))
	}
	if n != counted.n { // hashed but not stored: the state of the hash is of no use any more
		return fmt.Errorf("append to upload %s: %w", u.id, errors.Join(err, io.ErrShortWrite, u.end()))
	}
	// The client may be gone, which must not lose what it has sent.
	saveErr := u.save(context.WithoutCancel(ctx), u.size+n)
	if Full(saveErr) {
		return errors.Join(err, fmt.Errorf("save upload %s: %w", u.id, saveErr), u.abandon(ctx))
	}
	if saveErr != nil {
		return errors.Join(err, fmt.Errorf("save upload %s: %w", u.id, saveErr), u.end())
	}
	if err != nil {
		return fmt.Errorf("append to upload %s: %w", u.id, err)
	}
	return nil
}

type countingHash struct {
	hash hash.Hash
	n    int64
}

func (c *countingHash) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.hash.Write(p)
}

// save acknowledges size bytes. ErrBusy when another replica has gone on with the session meanwhile.
func (u *Upload) save(ctx context.Context, size int64) error {
	if size == u.size {
		return nil
	}
	row, err := u.row(ctx, u.store.now())
	if err != nil {
		return err
	}
	row.UpdatedAt = max(row.UpdatedAt, u.updatedAt+1)
	err = u.store.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		n, err := tx.SaveUpload(ctx, query.SaveUploadParams{
			StageState: row.StageState, Size: size, HashState: row.HashState, UpdatedAt: row.UpdatedAt,
			ID: u.id, OldSize: u.size, OldUpdatedAt: u.updatedAt,
		})
		if err == nil && n == 0 {
			return ErrBusy
		}
		return err
	})
	if err != nil {
		return err
	}
	u.size, u.updatedAt = size, row.UpdatedAt
	return nil
}

// row is the session as it is to be stored, but for its repository.
func (u *Upload) row(ctx context.Context, now time.Time) (query.InsertUploadParams, error) {
	state, err := u.stage.Save(ctx)
	if err != nil {
		return query.InsertUploadParams{}, err
	}
	sum, err := u.hash.MarshalBinary()
	if err != nil {
		return query.InsertUploadParams{}, err
	}
	return query.InsertUploadParams{
		ID: u.id, Stage: u.stage.ID(), StageState: state, HashState: sum, CreatedAt: micros(now), UpdatedAt: micros(now),
	}, nil
}

// Commit makes the bytes the blob digest, durable on return, and links it. ErrDigest ends the session too.
func (u *Upload) Commit(ctx context.Context, digest oci.Digest) (Blob, error) {
	if !u.held {
		return Blob{}, fmt.Errorf("commit upload %s, which has ended: %w", u.id, ErrNotFound)
	}
	hashed, err := u.verify(digest)
	var b Blob
	if err == nil {
		b, err = u.store.commitBlob(ctx, u.key, u.stage, committing{digest: digest, hashed: hashed, session: u.id})
	}
	if errors.Is(err, ErrDigest) {
		return Blob{}, errors.Join(ErrDigest, u.Cancel(ctx))
	}
	if Full(err) {
		return Blob{}, fmt.Errorf("commit upload %s: %w", u.id, errors.Join(err, u.abandon(ctx)))
	}
	endErr := u.end() // also after an error: the stage may be unusable, and a request that resumes the session finds out
	if err != nil {
		return Blob{}, fmt.Errorf("commit upload %s: %w", u.id, err)
	}
	if endErr != nil {
		u.store.log.Warn("close a committed stage", "upload", u.id, "error", endErr)
	}
	return b, nil
}

// verify returns ErrDigest when the staged bytes have another digest. Sessions only carry a sha256, since few clients use
// anything else and none says so before the end: for another algorithm the bytes are read back, from the stage or, with
// hashed false, from the object it becomes.
func (u *Upload) verify(digest oci.Digest) (hashed bool, err error) {
	algorithm, h := digest.Algorithm(), hash.Hash(u.hash)
	if algorithm != oci.SHA256 {
		r, ok := u.stage.(blob.ReadableStage)
		if !ok {
			return false, nil
		}
		if h, err = oci.NewHash(algorithm); err != nil {
			return false, err
		}
		if _, err := io.Copy(h, io.NewSectionReader(r, 0, u.stage.Size())); err != nil {
			return false, fmt.Errorf("read the stage back: %w", err)
		}
	}
	if oci.SumDigest(algorithm, h) != digest {
		return false, ErrDigest
	}
	return true, nil
}

// Cancel ends the session and drops its bytes.
func (u *Upload) Cancel(ctx context.Context) error {
	if !u.held {
		return nil
	}
	if err := u.deleteRow(ctx); err != nil {
		return errors.Join(fmt.Errorf("cancel upload %s: %w", u.id, err), u.end())
	}
	u.store.dropStage(ctx, u.stage)
	return u.end()
}

// abandon ends a session for which there is no space. Its bytes go first, which may make the room that the rest needs; a row that
// stays names a stage that is not there, and goes with the next request for it or when it expires.
func (u *Upload) abandon(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	u.store.dropStage(ctx, u.stage)
	return errors.Join(u.deleteRow(ctx), u.end())
}

func (u *Upload) deleteRow(ctx context.Context) error {
	return u.store.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.DeleteUpload(ctx, u.id)
		return err
	})
}

// Close frees what the request held. The session goes on if it was neither committed nor cancelled: all of it is saved.
func (u *Upload) Close() error {
	if !u.held {
		return nil
	}
	return u.end()
}

func (u *Upload) end() error {
	u.held = false
	err := u.stage.Close()
	u.store.sessions.release(u.id)
	return err
}

// ExpireUploads ends up to 1000 upload sessions that nobody has touched since olderThan and returns how many it ended.
func (s *Store) ExpireUploads(ctx context.Context, olderThan time.Time) (int, error) {
	stale, err := s.db.Read().ListStaleUploads(ctx, query.ListStaleUploadsParams{Before: micros(olderThan), N: 1000})
	if err != nil {
		return 0, fmt.Errorf("list stale uploads: %w", err)
	}
	ended := 0
	for _, row := range stale {
		ok, err := s.expireUpload(ctx, row, olderThan)
		if err != nil {
			return ended, fmt.Errorf("expire upload %s: %w", row.ID, err)
		}
		if ok {
			ended++
		}
	}
	return ended, nil
}

// expireUpload takes the row first: a session whose row is gone cannot be resumed, so its stage is nobody's.
func (s *Store) expireUpload(ctx context.Context, row query.ListStaleUploadsRow, olderThan time.Time) (bool, error) {
	if !s.sessions.take(row.ID) {
		return false, nil
	}
	defer s.sessions.release(row.ID)
	var n int64
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) (err error) {
		n, err = tx.DeleteStaleUpload(ctx, query.DeleteStaleUploadParams{ID: row.ID, Before: micros(olderThan)})
		return err
	})
	if err != nil || n == 0 {
		return false, err
	}
	return true, s.blobs.DropStage(ctx, row.Stage)
}

// HasStage reports whether an upload session owns the stage. Stages nobody owns are garbage of a crash, or a fill's.
func (s *Store) HasStage(ctx context.Context, id string) (bool, error) {
	owned, err := s.db.Read().StageIsOwned(ctx, id)
	if err != nil {
		return false, fmt.Errorf("find who owns stage %s: %w", id, err)
	}
	return owned, nil
}

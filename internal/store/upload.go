package store

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// Upload is one upload session in the hands of one request; it implements registry.Upload but for the error types: ErrOffset,
// ErrDigest. Close acknowledges what was appended: the bytes, the state of their hash and the blob store's own state then
// outlive the process. Whoever commits in the same request is spared that: one transaction links the blob and ends the session.
type Upload struct {
	store *Store
	key   RepositoryKey
	id    string
	stage blob.Stage // nil before the first bytes
	hash  savedHash  // sha256 over the stage

	size    int64 // appended
	saved   int64 // in the row: acknowledged
	version int64 // of the row: its updated_at; 0 = there is none
	resumed bool
	held    bool // this Upload holds the session
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

// ID is the session's id. Whoever knows it and may push to the repository may go on with the session.
func (u *Upload) ID() string { return u.id }

// Size is the number of bytes that Close acknowledges.
func (u *Upload) Size() int64 { return u.size }

// Append adds r at offset (-1 = at the end); ErrOffset. What arrived before an error of r is kept. When the blob store fails,
// what was appended since the session was resumed is lost. When there is no space left (Full), the session ends and gives back
// what it has taken.
func (u *Upload) Append(ctx context.Context, offset int64, r io.Reader) error {
	if !u.held {
		return fmt.Errorf("append to upload %s, which has ended: %w", u.id, ErrNotFound)
	}
	if offset >= 0 && offset != u.size {
		return ErrOffset
	}
	err := u.begin(ctx)
	if err == nil {
		err = u.append(ctx, r)
	}
	if Full(err) {
		err = errors.Join(err, u.abandon(ctx))
	}
	if err != nil {
		return fmt.Errorf("append to upload %s: %w", u.id, err)
	}
	return nil
}

// begin makes the stage if there is none.
func (u *Upload) begin(ctx context.Context) (err error) {
	if u.stage == nil {
		u.stage, err = u.store.blobs.Stage(ctx)
	}
	return err
}

func (u *Upload) append(ctx context.Context, r io.Reader) error {
	counted := &countingHash{hash: u.hash}
	room := &roomReader{r: r, room: func() error { return u.store.room(ctx) }}
	n, err := u.stage.Append(ctx, u.size, io.TeeReader(room, counted))
	err = busy(err)
	if n != counted.n && !Full(err) { // hashed but not stored: the state of the hash is of no use any more
		u.size = u.saved
		return errors.Join(err, io.ErrShortWrite, u.end())
	}
	u.size += n
	return err
}

type countingHash struct {
	hash hash.Hash
	n    int64
}

func (c *countingHash) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.hash.Write(p)
}

// Commit makes the bytes the blob digest, durable on return, and links it. ErrDigest ends the session too.
func (u *Upload) Commit(ctx context.Context, digest oci.Digest) (Blob, error) {
	if !u.held {
		return Blob{}, fmt.Errorf("commit upload %s, which has ended: %w", u.id, ErrNotFound)
	}
	b, err := u.commit(ctx, digest)
	switch {
	case errors.Is(err, ErrDigest) && u.resumed && u.size == 0:
		// Nothing was ever sent to this session, or it has ended at another replica and the answer was lost.
		return Blob{}, errors.Join(ErrNotFound, u.Cancel(ctx))
	case errors.Is(err, ErrDigest):
		return Blob{}, errors.Join(ErrDigest, u.Cancel(ctx))
	case Full(err):
		return Blob{}, fmt.Errorf("commit upload %s: %w", u.id, errors.Join(err, u.abandon(ctx)))
	case err != nil: // the stage may be unusable: a request that resumes the session finds out
		return Blob{}, fmt.Errorf("commit upload %s: %w", u.id, errors.Join(err, u.end()))
	}
	u.store.sessions.end(u.id)
	if err := u.end(); err != nil {
		u.store.log.Warn("close a committed stage", "upload", u.id, "error", err)
	}
	return b, nil
}

func (u *Upload) commit(ctx context.Context, digest oci.Digest) (Blob, error) {
	if err := u.begin(ctx); err != nil {
		return Blob{}, err
	}
	hashed, err := u.verify(digest)
	if err != nil {
		return Blob{}, err
	}
	c := committing{digest: digest, hashed: hashed}
	if u.version != 0 {
		c.session = u.id
	}
	b, err := u.store.commitBlob(ctx, u.key, u.stage, c)
	return b, busy(err)
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
	return u.drop(ctx)
}

// abandon ends a session for which there is no space. Its bytes go first, which may make the room that the rest needs; a row that
// stays names a stage that is not there, and goes with the next request for it or when it expires.
func (u *Upload) abandon(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(u.drop(ctx), u.deleteRow(ctx))
}

// drop ends the session's bytes, and the session.
func (u *Upload) drop(ctx context.Context) error {
	if u.stage != nil {
		u.store.dropStage(ctx, u.stage)
	}
	u.size = 0
	u.store.sessions.end(u.id)
	return u.end()
}

// Close frees what the request held. The session goes on if it was neither committed nor cancelled, with all that was appended
// once Close returns nil. ErrUploads ends it; ErrBusy when another replica has gone on with the session: what this one has appended is lost.
func (u *Upload) Close() error {
	if !u.held {
		return nil
	}
	if u.size == u.saved {
		return u.end()
	}
	ctx := context.Background() // the client may be gone, which must not lose what it has sent
	err := u.save(ctx)
	switch {
	case Full(err), errors.Is(err, ErrUploads):
		return fmt.Errorf("save upload %s: %w", u.id, errors.Join(err, u.abandon(ctx)))
	case err != nil:
		u.size = u.saved
		return fmt.Errorf("save upload %s: %w", u.id, errors.Join(err, u.end()))
	}
	return u.end()
}

// end lets the session go. Bytes that no row speaks of are nobody's.
func (u *Upload) end() error {
	u.held = false
	defer u.store.sessions.release(u.id)
	if u.stage == nil {
		return nil
	}
	if u.version == 0 {
		u.store.dropStage(context.Background(), u.stage)
	}
	return u.stage.Close()
}

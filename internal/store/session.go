package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// An upload session begins with its first bytes: only then is there a stage, and a row once they are acknowledged. Until then it
// is nothing but its id, which says when it was given out and for which repository, so that every replica knows it as one of
// ours, and a client that goes no further leaves nothing behind:
//
//	06a3k2v9ae4tq9c1rbm5h7g3o4-9f86d081
//	└ blob.NewID               └ the first 4 bytes of sha256(NewID, repository)
//
// No secret is in it: who makes one up may as well ask for one.

// emptySessionAge is for how long the id of a session is known to which nothing has been sent.
const emptySessionAge = 24 * time.Hour

func newSessionID(key RepositoryKey) string {
	id := blob.NewID()
	return id + "-" + boundTo(id, key)
}

func boundTo(id string, key RepositoryKey) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s", id, key.GroupID, key.UpstreamID, key.Name))
	return hex.EncodeToString(sum[:4])
}

// issued reports whether id was given out for the repository not long ago, and has not ended as far as this process knows. A
// session that ended at another replica looks like one that is empty: nothing can be lost by going on with it.
func (s *Store) issued(key RepositoryKey, id string) bool {
	made, bound, _ := strings.Cut(id, "-")
	at, err := blob.IDTime(made)
	age := s.now().Sub(at)
	return err == nil && bound == boundTo(made, key) && age < emptySessionAge && age > -time.Hour && !s.sessions.hasEnded(id)
}

// sessions are the upload sessions that requests of this process are working on, and those that have lately ended in it.
type sessions struct {
	mu     sync.Mutex
	busy   map[string]struct{}
	ended  map[string]struct{}
	before map[string]struct{} // ended before those
	left   map[int64]int       // by group: how many more rows may be made before those that are there are counted again
}

// maxEnded bounds both sets of ended sessions: it takes that many others until one is forgotten.
const maxEnded = 10_000

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

func (b *sessions) end(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ended) >= maxEnded || b.ended == nil {
		b.ended, b.before = make(map[string]struct{}), b.ended
	}
	b.ended[id] = struct{}{}
}

func (b *sessions) hasEnded(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ended := b.ended[id]
	_, before := b.before[id]
	return ended || before
}

// countEvery is how many sessions of a group may get rows between two counts.
const countEvery = 64

// allowed takes one of the rows that may be made without a count.
func (b *sessions) allowed(group int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left[group] == 0 {
		return false
	}
	b.left[group]--
	return true
}

func (b *sessions) counted(group int64, left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == nil {
		b.left = make(map[int64]int)
	}
	b.left[group] = min(left, countEvery) - 1
}

const countUploads = "SELECT count(*) FROM uploads WHERE repository_id IN (SELECT id FROM repositories WHERE group_id = $1)"

// mayKeep returns ErrUploads when the group keeps as many unfinished uploads as it may, or a few more: clients that never finish theirs
// must not fill the database and the folder of stages.
func (s *Store) mayKeep(ctx context.Context, group int64) error {
	if s.maxUploads < 0 || s.sessions.allowed(group) {
		return nil
	}
	var kept int
	if err := s.db.ReadConn().QueryRowContext(ctx, countUploads, group).Scan(&kept); err != nil {
		return fmt.Errorf("count the uploads of the group: %w", err)
	}
	if kept >= s.maxUploads {
		return ErrUploads
	}
	s.sessions.counted(group, s.maxUploads-kept)
	return nil
}

// StartUpload begins an upload session in a repository, which is created when the first bytes are acknowledged. It writes nothing.
// The caller must Close it.
func (s *Store) StartUpload(ctx context.Context, key RepositoryKey) (*Upload, error) {
	u, err := s.newUpload(key, newSessionID(key))
	if err == nil {
		err = s.room(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("start an upload: %w", err)
	}
	u.held = s.sessions.take(u.id)
	return u, nil
}

func (s *Store) newUpload(key RepositoryKey, id string) (*Upload, error) {
	h, err := newSavedHash()
	return &Upload{store: s, key: key, id: id, hash: h}, err
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
	u.held = true
	return u, nil
}

// resumeAttempts bounds how often another replica may be faster between two looks at the row.
const resumeAttempts = 4

// resumeUpload reads the row, takes the stage, and reads the row again: a replica that had the stage until now may have saved what
// the first look did not see. From then on nobody else can append to the stage.
func (s *Store) resumeUpload(ctx context.Context, key RepositoryKey, id string) (*Upload, error) {
	for range resumeAttempts {
		row, err := s.uploadRow(ctx, key, id)
		if errors.Is(err, ErrNotFound) && s.issued(key, id) {
			u, err := s.newUpload(key, id)
			u.resumed = true
			return u, err
		}
		if err != nil {
			return nil, err
		}
		u, err := s.takeStage(ctx, key, row)
		if err != nil {
			return nil, err
		}
		now, err := s.uploadRow(ctx, key, id)
		if err == nil && now.UpdatedAt == row.UpdatedAt {
			return u, nil
		}
		if err := errors.Join(err, u.stage.Close()); err != nil {
			return nil, err
		}
	}
	return nil, ErrBusy
}

func (s *Store) uploadRow(ctx context.Context, key RepositoryKey, id string) (query.Upload, error) {
	repository, err := s.RepositoryID(ctx, key)
	if errors.Is(err, ErrNotFound) { // so it was a moment ago; what was acknowledged since must not be taken for an empty session
		repository, err = s.loadRepositoryID(ctx, key)
	}
	if err != nil {
		return query.Upload{}, err
	}
	row, err := s.db.Read().GetUpload(ctx, query.GetUploadParams{ID: id, RepositoryID: repository})
	return row, notFound(err)
}

func (s *Store) takeStage(ctx context.Context, key RepositoryKey, row query.Upload) (*Upload, error) {
	u, err := s.newUpload(key, row.ID)
	if err != nil {
		return nil, err
	}
	u.size, u.saved, u.version, u.resumed = row.Size, row.Size, row.UpdatedAt, true
	if err := u.hash.UnmarshalBinary(row.HashState); err != nil {
		return nil, fmt.Errorf("the saved hash: %w", err)
	}
	u.stage, err = s.blobs.ResumeStage(ctx, row.Stage, row.StageState)
	switch {
	case errors.Is(err, blob.ErrNotFound): // a commit that died half way, or a disk that lost it: there is nothing to go on with
		s.sessions.end(row.ID)
		return nil, errors.Join(ErrNotFound, u.deleteRow(ctx))
	case err != nil:
		return nil, busy(err)
	case u.stage.Size() != row.Size:
		return nil, errors.Join(fmt.Errorf("the stage has %d bytes, %d were acknowledged", u.stage.Size(), row.Size), u.stage.Close())
	}
	return u, nil
}

// save acknowledges what was appended: bytes and the state of their hash are durable when it returns. ErrBusy when another replica
// has gone on with the session meanwhile, ErrUploads when there are too many others.
func (u *Upload) save(ctx context.Context) error {
	if u.version == 0 {
		if err := u.store.mayKeep(ctx, u.key.GroupID); err != nil {
			return err
		}
	}
	state, err := u.stage.Save(ctx)
	if err != nil {
		return busy(err)
	}
	sum, err := u.hash.MarshalBinary()
	if err != nil {
		return err
	}
	version := max(micros(u.store.now()), u.version+1)
	if u.version == 0 {
		err = u.insertRow(ctx, state, sum, version)
	} else {
		err = u.updateRow(ctx, state, sum, version)
	}
	if err != nil {
		return err
	}
	u.saved, u.version = u.size, version
	return nil
}

// busy is ErrBusy for an error of a stage that is in other hands.
func busy(err error) error {
	if errors.Is(err, blob.ErrBusy) {
		return errors.Join(ErrBusy, err)
	}
	return err
}

func (u *Upload) insertRow(ctx context.Context, state, sum []byte, version int64) error {
	return u.store.changeNamed(ctx, u.key, func(ctx context.Context, c *change) error {
		n, err := c.InsertUpload(ctx, query.InsertUploadParams{
			ID: u.id, RepositoryID: c.repository.ID, Stage: u.stage.ID(), StageState: state, Size: u.size, HashState: sum,
			CreatedAt: version, UpdatedAt: version,
		})
		if err == nil && n == 0 {
			return ErrBusy
		}
		return err
	})
}

func (u *Upload) updateRow(ctx context.Context, state, sum []byte, version int64) error {
	return u.store.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		n, err := tx.SaveUpload(ctx, query.SaveUploadParams{
			StageState: state, Size: u.size, HashState: sum, UpdatedAt: version, ID: u.id, OldSize: u.saved, OldUpdatedAt: u.version,
		})
		if err == nil && n == 0 {
			return ErrBusy
		}
		return err
	})
}

func (u *Upload) deleteRow(ctx context.Context) error {
	if u.version == 0 {
		return nil
	}
	return u.store.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.DeleteUpload(ctx, u.id)
		return err
	})
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
	s.sessions.end(row.ID)
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

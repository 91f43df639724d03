package fs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// stage is a growing file. One goroutine uses it, but ReadAt may be called from any.
type stage struct {
	store  *Store
	id     string
	file   *os.File
	size   atomic.Int64 // bytes appended; what lies behind in the file does not count
	synced int64        // bytes known to be on the device; -1 = the file's name is not
	behind int64        // bytes on their way to the device
	ended  bool         // committed or dropped
	broken error        // a flush or a commit went wrong: the kernel may have dropped the bytes, so no other attempt may succeed
}

var _ blob.ReadableStage = (*stage)(nil)

// stageState is what Save returns, as JSON.
type stageState struct {
	Size int64 `json:"size"`
}

// Stage implements blob.Store.
func (s *Store) Stage(ctx context.Context) (blob.Stage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id := blob.NewID()
	var f *os.File
	err := s.inFolder(s.stageFolder(id), func() (err error) {
		f, err = os.OpenFile(s.stagePath(id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err == nil {
		err = lock(f)
	}
	if err != nil {
		return nil, translate("make stage", id, err)
	}
	return &stage{store: s, id: id, file: f, synced: -1}, nil
}

// ResumeStage implements blob.Store.
func (s *Store) ResumeStage(ctx context.Context, id string, state []byte) (blob.Stage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !blob.ValidID(id) {
		return nil, fmt.Errorf("resume stage %q: %w", id, blob.ErrNotFound)
	}
	var saved stageState
	if err := json.Unmarshal(state, &saved); err != nil || saved.Size < 0 {
		return nil, fmt.Errorf("resume stage %s: its saved state is unreadable", id)
	}
	f, err := os.OpenFile(s.stagePath(id), os.O_RDWR, 0)
	if err != nil {
		return nil, translate("resume stage", id, err)
	}
	err = lock(f)
	if err == nil {
		err = holds(f, saved.Size)
	}
	if err != nil {
		_ = f.Close()
		return nil, translate("resume stage", id, err)
	}
	st := &stage{store: s, id: id, file: f, synced: saved.Size}
	st.size.Store(saved.Size)
	return st, nil
}

// lock makes the file ours until it is closed or the process dies; blob.ErrBusy while another one has it. A filesystem without
// locks is taken as it is: only one server can use it then.
func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) { //nolint:gosec // a descriptor
		return blob.ErrBusy
	}
	return nil
}

// holds returns blob.ErrNotFound when the file has lost some of its first size bytes.
func holds(f *os.File, size int64) error {
	info, err := f.Stat()
	if err == nil && info.Size() < size {
		return fmt.Errorf("%d bytes of %d are left: %w", info.Size(), size, blob.ErrNotFound)
	}
	return err
}

// cut drops what lies behind the first size bytes: a piece that was written in part, by this process or a dead one.
func cut(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil || info.Size() == size {
		return err
	}
	return f.Truncate(size)
}

func (st *stage) ID() string  { return st.id }
func (st *stage) Size() int64 { return st.size.Load() }

// Append writes each piece as it is read, so that readers of the stage get it at once.
func (st *stage) Append(ctx context.Context, offset int64, r io.Reader) (int64, error) {
	if err := st.usable(ctx); err != nil {
		return 0, err
	}
	if offset != st.Size() {
		return 0, fmt.Errorf("append at %d to stage %s of %d bytes: %w", offset, st.id, st.Size(), blob.ErrOffset)
	}
	buffer := st.store.buffer()
	defer st.store.buffers.Put(buffer)
	for {
		n, readErr := r.Read(*buffer)
		written, err := st.file.WriteAt((*buffer)[:n], st.Size())
		st.behind = writeBehind(st.file, st.behind, st.size.Add(int64(written)))
		switch {
		case err != nil:
			return st.Size() - offset, translate("append to stage", st.id, err)
		case readErr == io.EOF:
			return st.Size() - offset, nil
		case readErr != nil:
			return st.Size() - offset, readErr
		case ctx.Err() != nil:
			return st.Size() - offset, ctx.Err()
		}
	}
}

// ReadAt implements io.ReaderAt within what was appended.
func (st *stage) ReadAt(p []byte, offset int64) (int, error) {
	left := st.Size() - offset
	if offset < 0 {
		return 0, fmt.Errorf("read stage %s at %d: %w", st.id, offset, blob.ErrRange)
	}
	if left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) <= left {
		return st.file.ReadAt(p, offset)
	}
	n, err := st.file.ReadAt(p[:left], offset)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

// Save flushes the bytes to the device, so that an upload or a fill goes on even after a crash of the machine. A stage without
// bytes is not worth the flush: then it is gone after such a crash.
func (st *stage) Save(ctx context.Context) ([]byte, error) {
	if err := st.usable(ctx); err != nil {
		return nil, err
	}
	size := st.Size()
	if size > 0 && st.synced != size {
		if err := st.flush(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(stageState{Size: size})
}

func (st *stage) flush() error {
	err := st.store.syncFile(st.file)
	if err == nil && st.synced == -1 {
		err = st.store.syncFolder(st.store.stageFolder(st.id))
	}
	if err != nil {
		st.broken = translate("flush stage", st.id, err)
		return st.broken
	}
	st.synced = st.Size()
	return nil
}

// Commit renames first and flushes then: one wait for the device's journal instead of two. Until it returns no row names the
// key, so nobody can see the object early.
func (st *stage) Commit(ctx context.Context, digest oci.Digest) (string, error) {
	if err := st.usable(ctx); err != nil {
		return "", err
	}
	key, err := blob.NewKey(digest)
	if err != nil {
		return "", err
	}
	if err := st.commit(key); err != nil {
		st.broken = err
		return "", err
	}
	st.ended = true
	return key, nil
}

func (st *stage) commit(key string) error {
	if err := cut(st.file, st.Size()); err != nil {
		return translate("commit stage", st.id, err)
	}
	folder := filepath.Join(st.store.root, filepath.FromSlash(path.Dir(key)))
	object := filepath.Join(st.store.root, filepath.FromSlash(key))
	err := st.store.inFolder(folder, func() error { return os.Rename(st.store.stagePath(st.id), object) })
	if err != nil {
		return translate("commit stage", st.id, err)
	}
	err = st.store.syncFile(st.file)
	if err == nil {
		err = st.store.syncFolder(folder)
	}
	if err != nil {
		return errors.Join(translate("commit stage", st.id, err), os.Remove(object))
	}
	return nil
}

// Drop implements blob.Stage.
func (st *stage) Drop(ctx context.Context) error {
	if st.ended {
		return nil
	}
	if err := st.store.DropStage(ctx, st.id); err != nil {
		return err
	}
	st.ended = true
	return nil
}

// Close implements blob.Stage. Bytes that were not saved may still be there for ResumeStage; it cuts them off.
func (st *stage) Close() error {
	if err := st.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return translate("close stage", st.id, err)
	}
	return nil
}

func (st *stage) usable(ctx context.Context) error {
	switch {
	case st.broken != nil:
		return st.broken
	case st.ended:
		return fmt.Errorf("stage %s has ended: %w", st.id, blob.ErrNotFound)
	}
	return ctx.Err()
}

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
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// stage is a growing file, or bytes in memory while they fit into one buffer and need not outlive the process: what is committed
// before that is written once, under its final name. One goroutine uses it, but ReadAt may be called from any.
type stage struct {
	store  *Store
	id     string
	size   atomic.Int64 // bytes appended; what lies behind in the file does not count
	synced int64        // bytes known to be on the device; -1 = the file's name is not
	behind int64        // bytes on their way to the device
	ended  bool         // committed or dropped
	broken error        // a flush or a commit went wrong: the kernel may have dropped the bytes, so no other attempt may succeed

	mu     sync.RWMutex // changes of those below, and reads of memory
	file   *os.File     // nil before the stage has one
	memory *[]byte      // of the store's buffers; nil without bytes, and once there is a file
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
	return &stage{store: s, id: blob.NewID(), synced: -1}, nil
}

// spill gives the stage its file.
func (st *stage) spill() error {
	var f *os.File
	err := st.store.inFolder(st.store.stageFolder(st.id), func() (err error) {
		f, err = os.OpenFile(st.store.stagePath(st.id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return translate("make stage", st.id, err)
	}
	err = lock(f)
	if err == nil {
		err = st.writeMemory(f)
	}
	if err != nil {
		return errors.Join(translate("make stage", st.id, err), f.Close(), os.Remove(f.Name()))
	}
	st.mu.Lock()
	st.file = f
	st.mu.Unlock()
	st.release()
	return nil
}

func (st *stage) writeMemory(f *os.File) error {
	if st.memory == nil {
		return nil
	}
	_, err := f.Write((*st.memory)[:st.Size()])
	return err
}

// release gives the memory back.
func (st *stage) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.memory != nil {
		st.store.buffers.Put(st.memory)
		st.memory = nil
	}
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
	var err error
	more := true
	if st.file == nil {
		if more, err = st.appendMemory(ctx, r); more {
			err = st.spill()
		}
	}
	if more && err == nil {
		err = st.appendFile(ctx, r)
	}
	return st.Size() - offset, err
}

// appendMemory reports whether there may be more than the buffer takes.
func (st *stage) appendMemory(ctx context.Context, r io.Reader) (more bool, err error) {
	if st.memory == nil {
		buffer := st.store.buffer()
		st.mu.Lock()
		st.memory = buffer
		st.mu.Unlock()
	}
	for st.Size() < bufferSize {
		n, err := r.Read((*st.memory)[st.Size():])
		st.size.Add(int64(n))
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, err
		case ctx.Err() != nil:
			return false, ctx.Err()
		}
	}
	return true, nil
}

func (st *stage) appendFile(ctx context.Context, r io.Reader) error {
	buffer := st.store.buffer()
	defer st.store.buffers.Put(buffer)
	for {
		n, readErr := r.Read(*buffer)
		written, err := st.file.WriteAt((*buffer)[:n], st.Size())
		st.behind = writeBehind(st.file, st.behind, st.size.Add(int64(written)))
		switch {
		case err != nil:
			return translate("append to stage", st.id, err)
		case readErr == io.EOF:
			return nil
		case readErr != nil:
			return readErr
		case ctx.Err() != nil:
			return ctx.Err()
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
		return st.readAt(p, offset)
	}
	n, err := st.readAt(p[:left], offset)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

// readAt fills p, of bytes that were appended.
func (st *stage) readAt(p []byte, offset int64) (int, error) {
	st.mu.RLock()
	file := st.file
	if st.memory != nil {
		defer st.mu.RUnlock()
		return copy(p, (*st.memory)[offset:]), nil
	}
	st.mu.RUnlock()
	if file == nil {
		return 0, os.ErrClosed
	}
	return file.ReadAt(p, offset)
}

// Save flushes the bytes to the device, so that an upload or a fill goes on even after a crash of the machine. A stage without
// bytes is not worth the flush: then it is gone after such a crash.
func (st *stage) Save(ctx context.Context) ([]byte, error) {
	if err := st.usable(ctx); err != nil {
		return nil, err
	}
	if st.file == nil {
		if err := st.spill(); err != nil {
			return nil, err
		}
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
	var err error
	if st.synced == -1 {
		err = st.store.syncNamed(st.file, st.store.stageFolder(st.id))
	} else {
		err = st.store.syncFile(st.file)
	}
	if err != nil {
		st.broken = translate("flush stage", st.id, err)
		return st.broken
	}
	st.synced = st.Size()
	return nil
}

// Commit gives the bytes their final name first and flushes then: one wait for the device's journal instead of two. Until it returns
// no row names the key, so nobody can see the object early.
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
	folder := filepath.Join(st.store.root, filepath.FromSlash(path.Dir(key)))
	object := filepath.Join(st.store.root, filepath.FromSlash(key))
	if st.file == nil {
		return st.create(folder, object)
	}
	err := cut(st.file, st.Size())
	if err == nil {
		err = st.store.inFolder(folder, func() error { return os.Rename(st.store.stagePath(st.id), object) })
	}
	if err != nil {
		return translate("commit stage", st.id, err)
	}
	return st.keep(st.file, folder, object)
}

// create makes the object of what is in memory.
func (st *stage) create(folder, object string) error {
	var f *os.File
	err := st.store.inFolder(folder, func() (err error) {
		f, err = os.OpenFile(object, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return translate("commit stage", st.id, err)
	}
	defer f.Close() // flushed: it has nothing to tell
	if err := st.writeMemory(f); err != nil {
		return errors.Join(translate("commit stage", st.id, err), os.Remove(object))
	}
	return st.keep(f, folder, object)
}

// keep flushes an object and its name.
func (st *stage) keep(f *os.File, folder, object string) error {
	if err := st.store.syncNamed(f, folder); err != nil {
		return errors.Join(translate("commit stage", st.id, err), os.Remove(object))
	}
	return nil
}

// Drop implements blob.Stage.
func (st *stage) Drop(ctx context.Context) error {
	if st.ended {
		return nil
	}
	if st.file == nil {
		st.ended = true
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
	st.release()
	if st.file == nil {
		return nil
	}
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

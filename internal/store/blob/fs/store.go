// Package fs keeps bytes in a folder of a local filesystem: the blob store of an installation without object storage.
//
//	<root>/stage/<c>/<id>                                a stage: bytes as they arrive
//	<root>/<algorithm>/<aa>/<hex>.<generation>           an object, named by its key
//
// c is one of 32 characters of the id: commits in one folder would wait for each other on its lock.
//
// Folders have mode 0700, files 0600. Replicas may share the folder only if the filesystem keeps POSIX promises of rename, fsync
// and flock: a stage belongs to the process that has its file locked.
//
// # A power cut
//
// Nothing is trusted to be on the device but the bytes of a file that was flushed (fsync) after they were written, under a name
// whose folder was flushed after it was made. What is promised, and why it holds:
//
//   - New returns when the folders it made, and the one it was given, are in folders that are flushed. A folder made later is
//     flushed into its parent before anything is put into it.
//   - Save returns when the bytes are flushed and, the first time, the stage's folder. What is appended behind them later may be
//     there or not after the cut: it does not count, as a state knows its size.
//   - Commit renames first (or, what was never saved and fits into a buffer, it writes under the object's name at once), and flushes
//     the bytes and the folder of the object: one wait for the device's journal, not two. In between a cut may leave an
//     object that is short or empty, but only Commit's caller knows its key, and writes it into a row after Commit has returned.
//     So no row ever names such an object, and the scrub removes it. The stage's old name may come back as a second name of the
//     same bytes; no row names it, and the sweep of abandoned stages removes it.
//   - Delete and DropStage flush nothing: what comes back is garbage that is found again.
//   - When a flush fails, the kernel may have dropped the bytes and say so only once. The stage is broken then, and no second
//     attempt can succeed.
//
// Long before Commit flushes them, the bytes of a large stage are on their way to the device (writeBehind), which only makes that
// flush shorter.
package fs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// Store is a blob.Store in a folder. All methods are safe for concurrent use.
type Store struct {
	root string

	mu      sync.Mutex
	folders map[string]bool // folders of objects known to be durable

	buffers sync.Pool // of *[]byte

	// flushed is told of each file and folder that has been flushed (file nil). Tests cut the power by it.
	flushed func(path string, file *os.File)
}

var _ blob.Store = (*Store)(nil)

// New opens the blob store in the folder root, which is made if it does not exist.
func New(root string) (*Store, error) { return newStore(root, func(string, *os.File) {}) }

func newStore(root string, flushed func(string, *os.File)) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	s := &Store{root: root, folders: map[string]bool{}, flushed: flushed}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	return s, nil
}

// prepare makes the folders that will be needed, with one flush for each parent, so that the first commits need not make them
// one by one.
func (s *Store) prepare() error {
	var stages, objects []string
	for _, c := range stageFolders {
		stages = append(stages, string(c))
	}
	for i := range 256 {
		objects = append(objects, fmt.Sprintf("%02x", i))
	}
	return errors.Join(
		s.makeFolders(filepath.Join(s.root, "stage"), stages),
		s.makeFolders(filepath.Join(s.root, string(oci.SHA256)), objects))
}

func (s *Store) makeFolders(parent string, names []string) error {
	if err := s.makeFolder(parent); err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(parent, name)
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return translate("make folder", path, err)
		}
		s.folders[path] = true // once the parent is flushed; nobody else has the store yet
	}
	return s.syncFolder(parent)
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	path, err := s.objectPath(key)
	if err != nil {
		return blob.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return blob.Info{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return blob.Info{}, translate("stat object", key, err)
	}
	return blob.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete removes the object's file. Readers that have it open keep their bytes. That the removal is not flushed to the device is
// no harm: an object that comes back after a crash of the machine is one that no row names.
func (s *Store) Delete(ctx context.Context, key string) error {
	path, err := s.objectPath(key)
	if err != nil {
		return err
	}
	return remove(ctx, "delete object", key, path)
}

// Space returns the bytes that the filesystem has free for unprivileged users.
func (s *Store) Space(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.root, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.root, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // types differ between systems; no device is that large
}

func (s *Store) objectPath(key string) (string, error) {
	if err := blob.CheckKey(key); err != nil {
		return "", err
	}
	return s.root + string(filepath.Separator) + filepath.FromSlash(key), nil // a key has nothing to be cleaned
}

// bufferSize is large enough that system calls do not dominate, and small enough for thousands of uploads at once.
const bufferSize = 128 << 10

func (s *Store) buffer() *[]byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, bufferSize)
	return &b
}

// stageFolders are the folders of stages: the characters of an id.
const stageFolders = "0123456789abcdefghijklmnopqrstuv"

// stageFolder is the folder of a stage. The last but one character of an id is random.
func (s *Store) stageFolder(id string) string {
	return filepath.Join(s.root, "stage", id[len(id)-2:len(id)-1])
}

func (s *Store) stagePath(id string) string { return filepath.Join(s.stageFolder(id), id) }

// ensureFolder makes the folder for new objects. It returns only when the folder itself is durable, whoever made it.
func (s *Store) ensureFolder(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folders[path] {
		return nil
	}
	if err := s.makeFolder(path); err != nil {
		return err
	}
	s.folders[path] = true
	return nil
}

// inFolder runs do, which puts something into a folder. The folder is made if it is not there: an operator may tidy empty
// folders away while the server runs.
func (s *Store) inFolder(path string, do func() error) error {
	for first := true; ; first = false {
		if err := s.ensureFolder(path); err != nil {
			return err
		}
		err := do()
		if !first || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.mu.Lock()
		delete(s.folders, path)
		s.mu.Unlock()
	}
}

// makeFolder makes a folder and its missing parents, durably. The parent is flushed even if the folder exists: whoever
// made it may have crashed before doing so.
func (s *Store) makeFolder(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.makeFolder(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return translate("make folder", path, err)
	}
	return s.syncFolder(parent)
}

func (s *Store) syncFolder(path string) error {
	err := flushFolder(path)
	if err == nil {
		s.flushed(path, nil)
	}
	return err
}

func flushFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return translate("flush folder", path, err)
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return translate("flush folder", path, err)
	}
	return nil
}

// syncNamed flushes a file and the folder that its name is in, both at once: filesystems with a journal wait for one commit of it
// then, and not for another flush of the device.
func (s *Store) syncNamed(f *os.File, folder string) error {
	named := make(chan error, 1)
	go func() { named <- flushFolder(folder) }()
	err := f.Sync()
	if err := errors.Join(err, <-named); err != nil {
		return err
	}
	s.flushed(folder, nil)
	s.flushed(f.Name(), f)
	return nil
}

func (s *Store) syncFile(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	s.flushed(f.Name(), f)
	return nil
}

func remove(ctx context.Context, operation, name, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return translate(operation, name, err)
	}
	return nil
}

// translate wraps err with operation and object, as the contract's sentinel where it has one.
func translate(operation, name string, err error) error {
	sentinel := err
	switch {
	case errors.Is(err, fs.ErrNotExist):
		sentinel = blob.ErrNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		sentinel = blob.ErrFull
	}
	return fmt.Errorf("%s %s: %w", operation, name, sentinel)
}

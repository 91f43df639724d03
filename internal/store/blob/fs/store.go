// Package fs keeps bytes in a folder of a local filesystem: the blob store of an installation without object storage.
//
//	<root>/stage/<c>/<id>                                a stage: bytes as they arrive
//	<root>/<algorithm>/<aa>/<hex>.<generation>           an object, named by its key
//
// c is one of 32 characters of the id: commits in one folder would wait for each other on its lock.
//
// Folders have mode 0700, files 0600. A commit renames the stage's file to its key and returns when file and folder are
// on the device; a crash before that leaves an object that no row names, which the scrub removes. Replicas may share the
// folder only if the filesystem keeps POSIX rename and fsync promises.
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
}

var _ blob.Store = (*Store)(nil)

// New opens the blob store in the folder root, which is made if it does not exist.
func New(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	s := &Store{root: root, folders: map[string]bool{}}
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
	if err := makeFolder(parent); err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(parent, name)
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return translate("make folder", path, err)
		}
		s.folders[path] = true // once the parent is flushed; nobody else has the store yet
	}
	return syncFolder(parent)
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
	if err := makeFolder(path); err != nil {
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
func makeFolder(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeFolder(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return translate("make folder", path, err)
	}
	return syncFolder(parent)
}

func syncFolder(path string) error {
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

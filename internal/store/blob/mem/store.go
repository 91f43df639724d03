// Package mem keeps bytes in memory, with the manners of an object store: parts have a minimal size, a deleted object can
// still be listed for a while, requests fail with 503, and a stage cannot be read back. Tests use it to show that the rest of
// Weir will live with S3. Nothing in it depends on time or chance: each misbehaviour is asked for.
package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/store/blob"
)

// ErrUnavailable is the injected "503 Slow Down".
var ErrUnavailable = errors.New("service unavailable")

// DefaultPartSize is the least size of a part of a multipart upload on S3.
const DefaultPartSize = 5 << 20

// Options of a Store. The zero value is a store with S3's part size and no misbehaviour.
type Options struct {
	// PartSize is the size of each part but the last, in bytes; 0 is DefaultPartSize. Bytes that do not fill a part are
	// held by the stage, and kept beside the parts by Save.
	PartSize int
	// Linger is for how many calls of List and Stat a deleted object still shows up there.
	Linger int
	// Fail, if set, is asked before each operation with the operation's name (stage, resume, part, save, commit, open, stat,
	// delete, list, stages, drop) and how often it was called so far, counted from 1. The operation returns the error it
	// gives, for example ErrUnavailable, and changes nothing.
	Fail func(operation string, count int) error
	// Capacity bounds the bytes of objects and stages together (blob.ErrFull); 0 is unbounded.
	Capacity int64
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Store is a blob.Store in memory. All methods are safe for concurrent use.
type Store struct {
	options Options

	mu      sync.Mutex
	objects map[string]*object
	stages  map[string]*multipart
	counts  map[string]int
	used    int64
}

type object struct {
	parts    [][]byte
	size     int64
	modified time.Time
	deleted  bool
	linger   int // calls that may still show a deleted object
}

var _ blob.Store = (*Store)(nil)

// New returns an empty store.
func New(options Options) *Store {
	if options.PartSize == 0 {
		options.PartSize = DefaultPartSize
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Store{options: options, objects: map[string]*object{}, stages: map[string]*multipart{}, counts: map[string]int{}}
}

// begin counts an operation and lets it fail. The caller holds s.mu.
func (s *Store) begin(ctx context.Context, operation string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.counts[operation]++
	if s.options.Fail != nil {
		if err := s.options.Fail(operation, s.counts[operation]); err != nil {
			return fmt.Errorf("%s: %w", operation, err)
		}
	}
	return nil
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (blob.Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "open"); err != nil {
		return blob.Content{}, err
	}
	o, err := s.object(key)
	if err == nil && o.deleted {
		err = fmt.Errorf("open object %s: %w", key, blob.ErrNotFound)
	}
	if err != nil {
		return blob.Content{}, err
	}
	length, err = blob.CheckRange(o.size, offset, length)
	if err != nil {
		return blob.Content{}, fmt.Errorf("open object %s: %w", key, err)
	}
	return blob.Content{Body: io.NopCloser(o.reader(offset, length)), Length: length}, nil
}

// reader returns the range without copying it; the bytes of an object never change.
func (o *object) reader(offset, length int64) io.Reader {
	readers := make([]io.Reader, 0, len(o.parts))
	for _, part := range o.parts {
		if n := int64(len(part)); offset >= n {
			offset -= n
			continue
		}
		readers = append(readers, bytes.NewReader(part[offset:]))
		offset = 0
	}
	return io.LimitReader(io.MultiReader(readers...), length)
}

func (s *Store) object(key string) (*object, error) {
	if _, _, err := blob.ParseKey(key); err != nil {
		return nil, err
	}
	o := s.objects[key]
	if o == nil {
		return nil, fmt.Errorf("object %s: %w", key, blob.ErrNotFound)
	}
	return o, nil
}

// shown reports whether a listing shows the object, which it does a few times after its deletion.
func (s *Store) shown(key string, o *object) bool {
	if !o.deleted {
		return true
	}
	if o.linger == 0 {
		delete(s.objects, key)
		return false
	}
	o.linger--
	return true
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "stat"); err != nil {
		return blob.Info{}, err
	}
	o, err := s.object(key)
	if err != nil {
		return blob.Info{}, err
	}
	if !s.shown(key, o) {
		return blob.Info{}, fmt.Errorf("object %s: %w", key, blob.ErrNotFound)
	}
	return blob.Info{Key: key, Size: o.size, Modified: o.modified}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "delete"); err != nil {
		return err
	}
	o, err := s.object(key)
	if errors.Is(err, blob.ErrNotFound) || (err == nil && o.deleted) {
		return nil
	}
	if err != nil {
		return err
	}
	s.used -= o.size
	o.deleted, o.linger = true, s.options.Linger
	return nil
}

// List implements blob.Store. It shows the objects of the moment it begins.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		infos, err := s.list(ctx, prefix, after)
		for _, info := range infos {
			if err = ctx.Err(); err != nil {
				break
			}
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(blob.Info{}, err)
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, after string) ([]blob.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "list"); err != nil {
		return nil, err
	}
	var infos []blob.Info
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if key <= after || !strings.HasPrefix(key, prefix) {
			continue
		}
		if o := s.objects[key]; s.shown(key, o) {
			infos = append(infos, blob.Info{Key: key, Size: o.size, Modified: o.modified})
		}
	}
	return infos, nil
}

// Space implements blob.Store.
func (s *Store) Space(ctx context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.Capacity == 0 {
		return -1, ctx.Err()
	}
	return s.options.Capacity - s.used, ctx.Err()
}

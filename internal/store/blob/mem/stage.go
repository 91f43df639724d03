package mem

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// multipart is what the "service" keeps of a stage: full parts by number, and the tails that the last two Saves wrote beside
// them, each under a name of its own: a Save whose state was lost must not spoil the one before it.
type multipart struct {
	parts    [][]byte
	tails    []savedTail
	modified time.Time
	holder   *stage // the last to take it; others can do nothing
}

type savedTail struct {
	name  int
	bytes []byte
}

func (m *multipart) tail(name int) []byte {
	for _, t := range m.tails {
		if t.name == name {
			return t.bytes
		}
	}
	return nil
}

func (m *multipart) size() int64 {
	n := int64(0)
	for _, t := range m.tails {
		n += int64(len(t.bytes))
	}
	for _, p := range m.parts {
		n += int64(len(p))
	}
	return n
}

// stage is a multipart upload in the hands of one process. What it has not sent dies with it.
type stage struct {
	store *Store
	id    string
	parts int    // sent
	tail  []byte // not yet a part
	saves int    // name of the tail that the next Save writes
	size  int64
	ended bool
}

var _ blob.Stage = (*stage)(nil)

// stageState is what Save returns, as JSON: how many parts count, and how many bytes lie beside them under which name.
type stageState struct {
	Parts int `json:"parts"`
	Tail  int `json:"tail"`
	Name  int `json:"name"`
}

// Stage implements blob.Store.
func (s *Store) Stage(ctx context.Context) (blob.Stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "stage"); err != nil {
		return nil, err
	}
	st := &stage{store: s, id: blob.NewID()}
	s.stages[st.id] = &multipart{modified: s.options.Now(), holder: st}
	return st, nil
}

// ResumeStage implements blob.Store.
func (s *Store) ResumeStage(ctx context.Context, id string, state []byte) (blob.Stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "resume"); err != nil {
		return nil, err
	}
	m := s.stages[id]
	if m == nil {
		return nil, fmt.Errorf("resume stage %q: %w", id, blob.ErrNotFound)
	}
	var saved stageState
	if err := json.Unmarshal(state, &saved); err != nil || saved.Parts < 0 || saved.Tail < 0 {
		return nil, fmt.Errorf("resume stage %s: its saved state is unreadable", id)
	}
	tail := m.tail(saved.Name)
	if saved.Parts > len(m.parts) || saved.Tail != len(tail) {
		return nil, fmt.Errorf("resume stage %s: parts are missing: %w", id, blob.ErrNotFound)
	}
	m.holder = &stage{
		store: s, id: id, parts: saved.Parts, tail: slices.Clone(tail), saves: saved.Name + 1,
		size: int64(saved.Parts)*int64(s.options.PartSize) + int64(saved.Tail),
	}
	return m.holder, nil
}

func (st *stage) ID() string  { return st.id }
func (st *stage) Size() int64 { return st.size }

// Append implements blob.Stage.
func (st *stage) Append(ctx context.Context, offset int64, r io.Reader) (int64, error) {
	if st.ended {
		return 0, fmt.Errorf("stage %s has ended: %w", st.id, blob.ErrNotFound)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if offset != st.size {
		return 0, fmt.Errorf("append at %d to stage %s of %d bytes: %w", offset, st.id, st.size, blob.ErrOffset)
	}
	buffer := make([]byte, 32<<10)
	for {
		// A full tail is sent before more is read: when that fails, all bytes that were read are still counted.
		if err := st.sendFull(ctx); err != nil {
			return st.size - offset, err
		}
		room := min(len(buffer), st.store.options.PartSize-len(st.tail))
		n, readErr := r.Read(buffer[:room])
		st.tail = append(st.tail, buffer[:n]...)
		st.size += int64(n)
		switch {
		case readErr == io.EOF:
			return st.size - offset, nil
		case readErr != nil:
			return st.size - offset, readErr
		case ctx.Err() != nil:
			return st.size - offset, ctx.Err()
		}
	}
}

// sendFull sends the tail as a part if it is large enough.
func (st *stage) sendFull(ctx context.Context) error {
	if len(st.tail) < st.store.options.PartSize {
		return nil
	}
	return st.send(ctx, "part", func(m *multipart) {
		m.parts = append(m.parts[:st.parts], st.tail) // the saved tails stay: an older state may still be resumed
		st.parts++
		st.tail = nil
	})
}

// send runs one request that changes the multipart upload.
func (st *stage) send(ctx context.Context, operation string, change func(*multipart)) error {
	s := st.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.ended {
		return fmt.Errorf("stage %s has ended: %w", st.id, blob.ErrNotFound)
	}
	if err := s.begin(ctx, operation); err != nil {
		return err
	}
	m := s.stages[st.id]
	if m == nil {
		return fmt.Errorf("stage %s: %w", st.id, blob.ErrNotFound)
	}
	if m.holder != st {
		return fmt.Errorf("stage %s: %w", st.id, blob.ErrBusy)
	}
	before := m.size()
	if limit := s.options.Capacity; limit > 0 && s.used+st.size-before > limit {
		return fmt.Errorf("stage %s: %w", st.id, blob.ErrFull)
	}
	change(m)
	s.used += m.size() - before
	m.modified = s.options.Now()
	return nil
}

// Save implements blob.Stage.
func (st *stage) Save(ctx context.Context) ([]byte, error) {
	if err := st.send(ctx, "save", func(m *multipart) {
		m.tails = slices.DeleteFunc(m.tails, func(t savedTail) bool { return t.name != st.saves-1 })
		m.tails = append(m.tails, savedTail{st.saves, slices.Clone(st.tail)})
	}); err != nil {
		return nil, err
	}
	st.saves++
	return json.Marshal(stageState{Parts: st.parts, Tail: len(st.tail), Name: st.saves - 1})
}

// Commit implements blob.Stage.
func (st *stage) Commit(ctx context.Context, digest oci.Digest) (string, error) {
	key, err := blob.NewKey(digest)
	if err != nil {
		return "", err
	}
	err = st.send(ctx, "commit", func(m *multipart) {
		m.parts = append(m.parts[:st.parts], st.tail)
		m.tails = nil
		st.store.objects[key] = &object{parts: m.parts, size: st.size, modified: st.store.options.Now()}
		delete(st.store.stages, st.id)
	})
	if err != nil {
		return "", err
	}
	st.ended = true
	return key, nil
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

// Close implements blob.Stage.
func (st *stage) Close() error { return nil }

// Stages implements blob.Store.
func (s *Store) Stages(ctx context.Context) iter.Seq2[blob.StageInfo, error] {
	return func(yield func(blob.StageInfo, error) bool) {
		infos, err := s.listStages(ctx)
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(blob.StageInfo{}, err)
		}
	}
}

func (s *Store) listStages(ctx context.Context) ([]blob.StageInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "stages"); err != nil {
		return nil, err
	}
	var infos []blob.StageInfo
	for _, id := range slices.Sorted(maps.Keys(s.stages)) {
		m := s.stages[id]
		infos = append(infos, blob.StageInfo{ID: id, Size: m.size(), Modified: m.modified})
	}
	return infos, nil
}

// DropStage implements blob.Store.
func (s *Store) DropStage(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx, "drop"); err != nil {
		return err
	}
	if m := s.stages[id]; m != nil {
		s.used -= m.size()
		delete(s.stages, id)
	}
	return nil
}

package blobtest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// ErrCrash is what every operation of a Faulty store returns from its fault on.
var ErrCrash = errors.New("crashed on purpose")

// Moment says on which side of an operation the crash lies.
type Moment int

// Moments of a crash.
const (
	Before Moment = iota // the operation has not happened
	After                // it has happened, but nobody learns of it
)

// Faulty is a store whose process dies at a chosen step. Steps are the operations that change the store: stage, append, save,
// commit, drop, delete. Test a commit protocol by letting it crash at step 1, 2, … until it gets through, and look at the
// store below each time, as a new process would.
type Faulty struct {
	under blob.Store

	mu      sync.Mutex
	at      int
	moment  Moment
	steps   int
	crashed bool
}

var _ blob.Store = (*Faulty)(nil)

// NewFaulty returns a wrapper around a store that works until CrashAt.
func NewFaulty(under blob.Store) *Faulty { return &Faulty{under: under} }

// CrashAt makes the nth step from now on the last one; n is counted from 1, and 0 means never. It also revives the store.
func (f *Faulty) CrashAt(n int, moment Moment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.moment, f.steps, f.crashed = n, moment, 0, false
}

// Crashed reports whether the fault has happened.
func (f *Faulty) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.crashed
}

// alive returns ErrCrash after the crash.
func (f *Faulty) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return ErrCrash
	}
	return nil
}

// step runs one operation, or crashes.
func (f *Faulty) step(do func() error) error {
	f.mu.Lock()
	if !f.crashed {
		f.steps++
	}
	dead, now, moment := f.crashed, !f.crashed && f.steps == f.at, f.moment
	f.crashed = dead || now
	f.mu.Unlock()
	if dead || (now && moment == Before) {
		return ErrCrash
	}
	err := do()
	if now {
		return ErrCrash
	}
	return err
}

// Stage implements blob.Store.
func (f *Faulty) Stage(ctx context.Context) (st blob.Stage, err error) {
	err = f.step(func() error { st, err = f.under.Stage(ctx); return err })
	return f.wrap(st, err)
}

// ResumeStage implements blob.Store.
func (f *Faulty) ResumeStage(ctx context.Context, id string, state []byte) (blob.Stage, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	st, err := f.under.ResumeStage(ctx, id, state)
	return f.wrap(st, err)
}

func (f *Faulty) wrap(st blob.Stage, err error) (blob.Stage, error) {
	if err != nil {
		if st != nil {
			_ = st.Close()
		}
		return nil, err
	}
	wrapped := &faultyStage{Stage: st, faulty: f}
	if r, ok := st.(blob.ReadableStage); ok {
		return &readableFaultyStage{faultyStage: wrapped, ReaderAt: r}, nil
	}
	return wrapped, nil
}

// Open implements blob.Store.
func (f *Faulty) Open(ctx context.Context, key string, offset, length int64) (blob.Content, error) {
	if err := f.alive(); err != nil {
		return blob.Content{}, err
	}
	return f.under.Open(ctx, key, offset, length)
}

// Stat implements blob.Store.
func (f *Faulty) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := f.alive(); err != nil {
		return blob.Info{}, err
	}
	return f.under.Stat(ctx, key)
}

// Delete implements blob.Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.step(func() error { return f.under.Delete(ctx, key) })
}

// List implements blob.Store.
func (f *Faulty) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := f.alive(); err != nil {
			yield(blob.Info{}, err)
			return
		}
		f.under.List(ctx, prefix, after)(yield)
	}
}

// Stages implements blob.Store.
func (f *Faulty) Stages(ctx context.Context) iter.Seq2[blob.StageInfo, error] {
	return func(yield func(blob.StageInfo, error) bool) {
		if err := f.alive(); err != nil {
			yield(blob.StageInfo{}, err)
			return
		}
		f.under.Stages(ctx)(yield)
	}
}

// DropStage implements blob.Store.
func (f *Faulty) DropStage(ctx context.Context, id string) error {
	return f.step(func() error { return f.under.DropStage(ctx, id) })
}

// Space implements blob.Store.
func (f *Faulty) Space(ctx context.Context) (int64, error) {
	if err := f.alive(); err != nil {
		return 0, err
	}
	return f.under.Space(ctx)
}

type faultyStage struct {
	blob.Stage
	faulty *Faulty
}

type readableFaultyStage struct {
	*faultyStage
	io.ReaderAt
}

func (st *faultyStage) Append(ctx context.Context, offset int64, r io.Reader) (n int64, err error) {
	err = st.faulty.step(func() error { n, err = st.Stage.Append(ctx, offset, r); return err })
	return n, err
}

func (st *faultyStage) Save(ctx context.Context) (state []byte, err error) {
	err = st.faulty.step(func() error { state, err = st.Stage.Save(ctx); return err })
	return state, err
}

func (st *faultyStage) Commit(ctx context.Context, digest oci.Digest) (key string, err error) {
	err = st.faulty.step(func() error { key, err = st.Stage.Commit(ctx, digest); return err })
	if err != nil {
		return "", err
	}
	return key, nil
}

func (st *faultyStage) Drop(ctx context.Context) error {
	return st.faulty.step(func() error { return st.Stage.Drop(ctx) })
}

package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
)

// spool holds what has arrived of a fill's content. One goroutine uses it; ReadAt may be called from any.
type spool interface {
	io.ReaderAt
	size() int64
	// append adds p at the end and returns how much of it was added, also beside an error.
	append(ctx context.Context, p []byte) (int, error)
	// save makes what was appended survive the process and tells how to find it again.
	save(ctx context.Context) (spoolMark, error)
	// commit makes the bytes a blob of the store. Reading may fail from then on.
	commit(ctx context.Context, key store.RepositoryKey, digest oci.Digest) (store.Blob, error)
	// close lets go of the bytes; those of a spool that was saved, and neither committed nor dropped, stay.
	close()
	drop(ctx context.Context)
}

// spoolMark is how a spool is found again after a restart: a stage of the blob store, or a file of the spool folder.
type spoolMark struct {
	Stage string `json:"stage,omitempty"`
	State []byte `json:"state,omitempty"`
	File  string `json:"file,omitempty"`
}

// newSpool begins a spool: the stage of the blob store itself, so that bytes are written once, where a stage can be read
// back; else a local file that is uploaded when it is complete.
func (e *Fills) newSpool(ctx context.Context, id Identity) (spool, error) {
	stage, err := e.options.Store.Stage(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin a stage: %w", err)
	}
	if readable, ok := stage.(blob.ReadableStage); ok {
		return &stageSpool{ReadableStage: readable, store: e.options.Store}, nil
	}
	dropStage(ctx, stage)
	f, err := os.CreateTemp(e.options.SpoolDir, sidecarName(id)+"-*"+spoolSuffix)
	if err != nil {
		return nil, spoolFull(fmt.Errorf("make a spool file: %w", err))
	}
	return &fileSpool{file: f, store: e.options.Store}, nil
}

// oldSpool continues the spool that mark names; blob.ErrNotFound if it is gone.
func (e *Fills) oldSpool(ctx context.Context, mark spoolMark) (spool, error) {
	if mark.File != "" {
		f, err := os.OpenFile(filepath.Join(e.options.SpoolDir, filepath.Base(mark.File)), os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			err = blob.ErrNotFound
		}
		if err != nil {
			return nil, fmt.Errorf("open spool file %s: %w", mark.File, err)
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open spool file %s: %w", mark.File, err), f.Close())
		}
		return &fileSpool{file: f, store: e.options.Store, length: info.Size()}, nil
	}
	stage, err := e.options.Store.ResumeStage(ctx, mark.Stage, mark.State)
	if err != nil {
		return nil, fmt.Errorf("resume stage %s: %w", mark.Stage, err)
	}
	readable, ok := stage.(blob.ReadableStage)
	if !ok {
		dropStage(ctx, stage)
		return nil, fmt.Errorf("stage %s cannot be read back any more: %w", mark.Stage, blob.ErrNotFound)
	}
	return &stageSpool{ReadableStage: readable, store: e.options.Store}, nil
}

func dropStage(ctx context.Context, s blob.Stage) {
	_ = s.Drop(context.WithoutCancel(ctx)) // what stays behind is found by the sweep of abandoned stages
	_ = s.Close()
}

type stageSpool struct {
	blob.ReadableStage
	store  FillStore
	reader bytes.Reader // reused for every append
}

func (s *stageSpool) size() int64 { return s.Size() }

func (s *stageSpool) append(ctx context.Context, p []byte) (int, error) {
	s.reader.Reset(p)
	n, err := s.Append(ctx, s.Size(), &s.reader)
	return int(n), err
}

func (s *stageSpool) save(ctx context.Context) (spoolMark, error) {
	state, err := s.Save(ctx)
	return spoolMark{Stage: s.ID(), State: state}, err
}

func (s *stageSpool) commit(ctx context.Context, key store.RepositoryKey, digest oci.Digest) (store.Blob, error) {
	return s.store.CommitBlob(ctx, key, s.ReadableStage, digest)
}

func (s *stageSpool) close()                   { _ = s.Close() } // nothing is lost: Save decides what stays
func (s *stageSpool) drop(ctx context.Context) { dropStage(ctx, s.ReadableStage) }

// fileSpool is a local file beside a blob store whose stages cannot be read back. A kill leaves it as long as it got: it is
// hashed again, so its own size is state enough.
type fileSpool struct {
	file   *os.File
	store  FillStore
	length int64
}

func (s *fileSpool) size() int64                                { return s.length }
func (s *fileSpool) ReadAt(p []byte, offset int64) (int, error) { return s.file.ReadAt(p, offset) }
func (s *fileSpool) close()                                     { _ = s.file.Close() }
func (s *fileSpool) save(context.Context) (spoolMark, error)    { return s.mark(), nil }
func (s *fileSpool) mark() spoolMark                            { return spoolMark{File: filepath.Base(s.file.Name())} }

func (s *fileSpool) append(_ context.Context, p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.length)
	s.length += int64(n)
	if err != nil {
		return n, spoolFull(fmt.Errorf("write spool file: %w", err))
	}
	return n, nil
}

// commit uploads the file to a stage. The open file stays readable for those who follow it, its name goes.
func (s *fileSpool) commit(ctx context.Context, key store.RepositoryKey, digest oci.Digest) (store.Blob, error) {
	stage, err := s.store.Stage(ctx)
	if err != nil {
		return store.Blob{}, fmt.Errorf("begin a stage: %w", err)
	}
	if _, err = stage.Append(ctx, 0, io.NewSectionReader(s.file, 0, s.length)); err != nil {
		dropStage(ctx, stage)
		return store.Blob{}, fmt.Errorf("upload the spool: %w", err)
	}
	b, err := s.store.CommitBlob(ctx, key, stage, digest)
	if err != nil {
		dropStage(ctx, stage)
		return store.Blob{}, err
	}
	_ = stage.Close()
	_ = os.Remove(s.file.Name())
	return b, nil
}

func (s *fileSpool) drop(context.Context) {
	_ = os.Remove(s.file.Name())
	s.close()
}

// spoolFull marks an error of the local device as blob.ErrFull where it is one.
func spoolFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return err
}

// Package blob keeps bytes: the contract of the drivers in its child packages (fs, mem, later s3, gcs, azure), each of which
// passes the suite in blobtest. Only package store, the fill engine (through store) and the scrub use it.
//
// Bytes enter through a Stage and become an object by Commit: atomic and durable on return. There is no rename, copy or
// put-by-digest: which object holds which digest is a row (blobs.storage_key), so a second upload of the same digest makes
// a new object (another generation in its key), and deleting an object can never take away what a later upload stored.
package blob

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// Errors of a Store.
var (
	ErrNotFound = errors.New("no such object")         // Open, Stat, ResumeStage
	ErrOffset   = errors.New("not at the stage's end") // Stage.Append
	ErrRange    = errors.New("not within the object")  // Open
	ErrFull     = errors.New("no space left")          // Stage, Append, Save, Commit: the device or bucket is full
	ErrBusy     = errors.New("in other hands")         // ResumeStage, Stage.Append, Save, Commit
)

// Store keeps objects. All methods are safe for concurrent use.
type Store interface {
	// Stage begins a new stage. id is chosen by the driver.
	Stage(ctx context.Context) (Stage, error)

	// ResumeStage continues a stage from its id and the state last saved or the one before it (the caller may have died
	// between Save and keeping its result), possibly on another replica. Bytes after the state's size, written by a request that
	// died, do not count and are written over. ErrNotFound when the stage is gone, or when a crash of the machine has taken
	// bytes that were never saved with it.
	//
	// One at a time has a stage: either ResumeStage returns ErrBusy until the one that has it closes it or its process dies, or
	// whoever had it before gets ErrBusy from then on. A caller whose state may be outdated must look again once it has the stage.
	ResumeStage(ctx context.Context, id string, state []byte) (Stage, error)

	// Open returns the bytes [offset, offset+length) of an object; length -1 is "to the end". ErrNotFound; ErrRange when
	// the object is shorter than that. The caller closes the Content's Body.
	Open(ctx context.Context, key string, offset, length int64) (Content, error)

	// Stat returns the size of an object. ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)

	// Delete removes an object. Deleting what is not there is no error.
	Delete(ctx context.Context, key string) error

	// List yields objects whose key starts with prefix and is greater than after, in key order.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Stages yields the stages that exist, for cleaning up abandoned ones.
	Stages(ctx context.Context) iter.Seq2[StageInfo, error]

	// DropStage removes a stage by id. Dropping what is not there is no error.
	DropStage(ctx context.Context, id string) error

	// Space returns the bytes free for new objects, or -1 if the driver has no limit it knows of.
	Space(ctx context.Context) (int64, error)
}

// Stage is a growing object in the hands of one goroutine (ReadAt excepted).
type Stage interface {
	ID() string
	Size() int64 // bytes appended

	// Append adds r at offset, which must equal Size (ErrOffset). It returns how many bytes were added; these stay, also
	// when err is not nil (err is r's error, or the driver's).
	Append(ctx context.Context, offset int64, r io.Reader) (int64, error)

	// Save makes what was appended survive this process and returns the state that ResumeStage needs.
	Save(ctx context.Context) ([]byte, error)

	// Commit makes the bytes an object, atomic and durable on return, and ends the stage. digest must be that of the
	// bytes (the caller has hashed them); drivers make the key of it with NewKey. After an error the stage must not be used
	// but for Drop and Close: its bytes may or may not be on the device.
	Commit(ctx context.Context, digest oci.Digest) (key string, err error)

	// Drop ends the stage and its bytes. After Commit it is a no-op.
	Drop(ctx context.Context) error

	// Close releases the process's hold without ending the stage. It may be called more than once.
	Close() error
}

// ReadableStage is a Stage whose appended bytes can be read back before Commit, also while Append runs. A fill uses such a
// stage as its spool, so that bytes are written once. ReadAt ends (io.EOF) where what was appended ends, and goes on working
// after Commit and Drop until Close: a client that follows the spool is not cut off by the end of the stage.
type ReadableStage interface {
	Stage
	io.ReaderAt
}

// Content is an object's bytes, or a signed location to fetch them from.
type Content struct {
	// Body holds the bytes asked for, first. Where the driver has files it is an *os.File at the offset, so that it can
	// leave by sendfile (io.CopyN to the connection); the file goes on behind the range, and a reader must stop at Length.
	// A small range may have been read already: *Bytes.
	Body     io.ReadCloser
	Length   int64     // of the range
	Location string    // set instead of Body
	Expires  time.Time // of Location
}

// Info describes an object.
type Info struct {
	Key      string
	Size     int64
	Modified time.Time
}

// StageInfo describes a stage.
type StageInfo struct {
	ID       string
	Size     int64
	Modified time.Time
}

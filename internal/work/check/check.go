// Package check is the fsck: it compares rows with bytes both ways and says what to do about each difference. `weir check
// --offline` runs it over a store it opened itself, a job runs it while the server serves.
//
// Rows and objects are read as two streams in the same order, so memory stays constant however much there is. What is found is
// confirmed before it is reported, since a server that runs goes on changing both.
package check

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/work"
)

// Kind of the job.
const Kind = "check"

// Kinds of problem, beside those of store.CheckRows.
const (
	MissingBytes = "missing-bytes" // a blob's row names an object that is not there
	WrongSize    = "wrong-size"    // the object has another size than the row says
	WrongDigest  = "wrong-digest"  // deep: the object's bytes have another digest
	Unreadable   = "unreadable"    // the object cannot be looked at, or, deep, not be read
	OrphanBytes  = "orphan-bytes"  // an object that no row names, older than the grace period
	OrphanStage  = "orphan-stage"  // a stage that no upload owns, untouched for the grace period
)

// Rows is what the check needs of *store.Store.
type Rows interface {
	CheckRows(ctx context.Context, report func(store.Problem)) error
	BlobPage(ctx context.Context, after oci.Digest, n int) ([]store.Blob, error)
	IsCurrent(ctx context.Context, b store.Blob) (bool, error)
	HasKey(ctx context.Context, key string) (bool, error)
	HasStage(ctx context.Context, id string) (bool, error)
	DropLost(ctx context.Context, b store.Blob) error
}

// Options of a Checker. Log is required.
type Options struct {
	Log *slog.Logger
	Now func() time.Time // time.Now when nil

	// Grace is how old bytes must be to count as orphans: a transfer may be about to write their row. Default 24h;
	// negative = none, for a store that nothing else has open.
	Grace time.Duration

	Deep bool // read all bytes and compare their digest

	// DropOrphans deletes orphaned bytes and stages. DropLost unlinks blobs whose bytes are missing or wrong, so that caches
	// fetch them again and a push sends them again instead of finding them here.
	DropOrphans bool
	DropLost    bool

	// Progress is called about once a second while rows and bytes are compared; nil: nobody wants to know, and nothing is counted
	// beforehand.
	Progress func(Progress)
}

// Progress is how far a check is. What is pushed and collected meanwhile changes the totals a little.
type Progress struct {
	Blobs, TotalBlobs int64
	Bytes, TotalBytes int64 // that the rows stand for
}

// Finding is a problem and what became of it.
type Finding struct {
	store.Problem
	Advice   string // what to do about it
	Repaired bool
}

// Summary counts what was looked at and what was found.
type Summary struct {
	Blobs    int64 // rows
	Bytes    int64 // that they stand for
	Objects  int64
	Stages   int64
	Problems int64 // without warnings, repaired ones included
	Repaired int64 // of the problems
	Warnings int64 // repaired ones included
}

// Checker checks one store.
type Checker struct {
	rows  Rows
	blobs blob.Store
	o     Options
}

// New returns a checker of a store's rows against its bytes.
func New(rows Rows, blobs blob.Store, o Options) *Checker {
	o.Grace = max(0, cmp.Or(o.Grace, 24*time.Hour))
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Now = work.Steady(o.Now)
	return &Checker{rows: rows, blobs: blobs, o: o}
}

// maxLogged bounds how many findings of one kind a job writes to the log: a disk that is gone would fill it.
const maxLogged = 100

// Handler is the check as a job: it writes what it finds to the log.
func (c *Checker) Handler(every time.Duration) work.Handler {
	return work.Handler{Kind: Kind, Every: every, Run: func(ctx context.Context, _ json.RawMessage) error {
		logged := map[string]int{}
		sum, err := c.Run(ctx, func(f Finding) {
			if logged[f.Kind]++; logged[f.Kind] > maxLogged {
				return
			}
			level := slog.LevelError
			if f.Warning || f.Repaired {
				level = slog.LevelWarn
			}
			c.o.Log.Log(ctx, level, "check", "kind", f.Kind, "subject", f.Subject, "detail", f.Detail, "advice", f.Advice, "repaired", f.Repaired)
		})
		c.o.Log.Info("checked rows against bytes", "blobs", sum.Blobs, "bytes", sum.Bytes, "objects", sum.Objects,
			"problems", sum.Problems, "warnings", sum.Warnings, "repaired", sum.Repaired, "error", err)
		return err
	}}
}

// Run checks everything once. report is called for each finding as it is made. The error is one of checking itself; the summary
// then tells how far it came.
func (c *Checker) Run(ctx context.Context, report func(Finding)) (Summary, error) {
	r := &run{Checker: c, report: report}
	if err := r.count(ctx); err != nil {
		return r.sum, fmt.Errorf("count rows: %w", err)
	}
	if err := r.compare(ctx); err != nil {
		return r.sum, fmt.Errorf("compare rows with bytes: %w", err)
	}
	if err := r.stages(ctx); err != nil {
		return r.sum, fmt.Errorf("check stages: %w", err)
	}
	err := c.rows.CheckRows(ctx, func(p store.Problem) { r.found(Finding{Problem: p, Advice: advice(p.Kind)}) })
	if err != nil {
		return r.sum, fmt.Errorf("check rows: %w", err)
	}
	return r.sum, nil
}

type run struct {
	*Checker
	report func(Finding)
	sum    Summary
	of     Progress // with the totals alone
	told   time.Time
}

// progressEvery is how often progress is told.
const progressEvery = time.Second

// count finds out how much there is to do, if somebody wants to know.
func (r *run) count(ctx context.Context) error {
	if r.o.Progress == nil {
		return nil
	}
	for b, err := range r.allBlobs(ctx) {
		if err != nil {
			return err
		}
		r.of.TotalBlobs++
		r.of.TotalBytes += b.Size
	}
	r.tell()
	return nil
}

// tell tells how far it is, now and then.
func (r *run) tell() {
	if r.o.Progress == nil {
		return
	}
	if now := r.o.Now(); now.Sub(r.told) >= progressEvery {
		r.told = now
		r.o.Progress(Progress{r.sum.Blobs, r.of.TotalBlobs, r.sum.Bytes, r.of.TotalBytes})
	}
}

func (r *run) found(f Finding) {
	switch {
	case f.Warning:
		r.sum.Warnings++
	case f.Repaired:
		r.sum.Problems++
		r.sum.Repaired++
	default:
		r.sum.Problems++
	}
	r.report(f)
}

func advice(kind string) string {
	switch kind {
	case MissingBytes, WrongSize, WrongDigest:
		return "run with --repair: caches fetch it again; what was pushed must be pushed again, or restored from a backup"
	case Unreadable:
		return "look at the storage: its error is in the detail"
	case OrphanBytes, OrphanStage:
		return "run with --repair to get the space back; nothing refers to it"
	case store.ProblemBlob, store.ProblemManifest:
		return "push the image again, or delete the manifest"
	default:
		return "this should never happen: please report it with the output of weir check"
	}
}

// Package uploads tidies up after clients that went away: the job that ends upload sessions nobody goes on with, and drops staged
// bytes that nobody owns.
package uploads

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/work"
)

// Kind of the job.
const Kind = "uploads"

// Sessions is what the sweep needs of *store.Store.
type Sessions interface {
	ExpireUploads(ctx context.Context, olderThan time.Time) (int, error)
	HasStage(ctx context.Context, id string) (bool, error)
}

// Options of a Sweeper. Log is required.
type Options struct {
	Log   *slog.Logger
	Now   func() time.Time // time.Now when nil
	Every time.Duration    // how often to sweep; default 10m, or Age if that is shorter

	// Age is for how long a session, or the bytes of a fill that was interrupted, may lie untouched; default 24h. It must
	// exceed the longest pause of a live transfer, since what is older is dropped.
	Age time.Duration
}

// Sweeper ends abandoned sessions and drops abandoned stages.
type Sweeper struct {
	sessions Sessions
	blobs    blob.Store
	o        Options
}

// New returns a sweeper over the sessions and the bytes of one store.
func New(s Sessions, blobs blob.Store, o Options) *Sweeper {
	o.Age = cmp.Or(o.Age, 24*time.Hour)
	o.Every = cmp.Or(o.Every, min(10*time.Minute, o.Age))
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Now = work.Steady(o.Now)
	return &Sweeper{sessions: s, blobs: blobs, o: o}
}

// Handler is the sweeper's job.
func (s *Sweeper) Handler() work.Handler {
	return work.Handler{Kind: Kind, Every: s.o.Every, Run: func(ctx context.Context, _ json.RawMessage) error { return s.Sweep(ctx) }}
}

// Sweep does what the package is for, once.
func (s *Sweeper) Sweep(ctx context.Context) error {
	before := s.o.Now().Add(-s.o.Age)
	sessions := 0
	for {
		n, err := s.sessions.ExpireUploads(ctx, before)
		sessions += n
		if err != nil {
			return fmt.Errorf("expire uploads: %w", err)
		}
		if n == 0 {
			break
		}
	}
	stages, err := s.dropAbandoned(ctx, before)
	if sessions+stages > 0 {
		s.o.Log.Info("abandoned uploads ended", "sessions", sessions, "stages", stages)
	}
	return err
}

// dropAbandoned drops stages that no session owns and nobody has written to since before: what a crash left between making a
// stage and writing its row, or the spool of a fill that nobody took up again. A failure does not stop it.
func (s *Sweeper) dropAbandoned(ctx context.Context, before time.Time) (dropped int, err error) {
	var failed error
	for stage, err := range s.blobs.Stages(ctx) {
		if err != nil {
			return dropped, errors.Join(failed, fmt.Errorf("list stages: %w", err))
		}
		if !stage.Modified.Before(before) {
			continue
		}
		owned, err := s.sessions.HasStage(ctx, stage.ID)
		if err != nil {
			return dropped, errors.Join(failed, err)
		}
		if owned {
			continue
		}
		if err := s.blobs.DropStage(ctx, stage.ID); err != nil {
			failed = cmp.Or(failed, fmt.Errorf("drop abandoned stage: %w", err))
			continue
		}
		dropped++
	}
	return dropped, failed
}

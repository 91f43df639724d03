package work

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Desk shows jobs to people, and takes their wish that one be run at once.
type Desk struct {
	DB  *meta.DB
	Now func() time.Time
}

// Status is a job as it stands.
type Status struct {
	Kind, Key string
	CreatedAt time.Time
	RunAfter  time.Time
	Running   bool      // some replica has it
	Until     time.Time // when that replica's lease ends unless it is renewed
	Attempts  int       // runs since the last success, the one that goes on included
	LastError string    // of the last run; empty after a success
}

// Jobs returns up to limit jobs by kind and key, from behind the given ones.
func (d *Desk) Jobs(ctx context.Context, afterKind, afterKey string, limit int) ([]Status, error) {
	rows, err := d.DB.Read().ListJobs(ctx, query.ListJobsParams{AfterKind: afterKind, AfterKey: afterKey, N: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	now := d.Now()
	out := make([]Status, len(rows))
	for i, r := range rows {
		out[i] = Status{
			Kind: r.Kind, Key: r.Key, CreatedAt: time.UnixMicro(r.CreatedAt).UTC(), RunAfter: time.UnixMicro(r.RunAfter).UTC(),
			Attempts: int(r.Attempts), LastError: r.LastError,
		}
		if r.RunAfter == 0 { // at once
			out[i].RunAfter = out[i].CreatedAt
		}
		if until := time.UnixMicro(r.LeaseUntil); r.LeaseOwner != 0 && until.After(now) {
			out[i].Running, out[i].Until = true, until.UTC()
		}
	}
	return out, nil
}

// RunJob makes a job due now, its backoff notwithstanding; one that is being run is run again afterwards. meta.ErrNotFound.
func (d *Desk) RunJob(ctx context.Context, by event.Actor, kind, key string) error {
	return d.DB.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		n, err := tx.RunJob(ctx, query.RunJobParams{ID: tx.ID(), Now: micros(d.Now()), Kind: kind, Key: key})
		if err != nil {
			return fmt.Errorf("run job %s %s: %w", kind, key, err)
		}
		if n == 0 {
			return fmt.Errorf("job %s: %w", strings.TrimSpace(kind+" "+key), meta.ErrNotFound)
		}
		if err := tx.Change(ctx, 0, ChangeJob, kind); err != nil {
			return err
		}
		return tx.Event(ctx, meta.Event{Kind: event.JobRun, ActorID: by.ID, Subject: kind, Detail: map[string]string{"key": key}, RequestID: by.RequestID})
	})
}

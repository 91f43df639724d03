// Package work runs what happens later: jobs, rows of the database that any replica may claim. Its children are the jobs of the
// house (gc, uploads, check); app registers them with a Runner, and whoever makes a change that needs later work
// enqueues a job in the transaction of that change.
//
// A job runs at least once, on one replica at a time: a claim is a lease, which the runner renews while the handler works and
// which another replica may take over when it has run out. The clocks of replicas must agree to within half a lease. Handlers
// must bear being run again.
package work

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// ChangeJob is the kind of change that wakes the runners of all replicas; its key is the kind of job.
const ChangeJob = "job"

// Job is a piece of later work. There is at most one for each kind and key.
type Job struct {
	Kind     string
	Key      string    // what it is about; may be empty
	Payload  any       // becomes JSON; nil is none
	RunAfter time.Time // zero is at once
}

// Enqueue adds a job in the transaction of the change that asks for it. If the same job waits already, it gets the new
// payload and the earlier of both times, except that one that failed keeps its backoff. If it is being run, it will be run
// again: the change may have come too late for the run that goes on.
func Enqueue(ctx context.Context, tx *meta.Tx, j Job) error {
	payload := []byte("null")
	if j.Payload != nil {
		var err error
		if payload, err = json.Marshal(j.Payload); err != nil {
			return fmt.Errorf("encode the payload of job %s %s: %w", j.Kind, j.Key, err)
		}
	}
	err := tx.PutJob(ctx, query.PutJobParams{
		ID: tx.ID(), Kind: j.Kind, Key: j.Key, Payload: string(payload), RunAfter: micros(j.RunAfter), CreatedAt: micros(time.Now()),
	})
	if err != nil {
		return fmt.Errorf("enqueue job %s %s: %w", j.Kind, j.Key, err)
	}
	return tx.Change(ctx, 0, ChangeJob, j.Kind)
}

// micros is how times are stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

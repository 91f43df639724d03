package work

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

var (
	errNothingDue = errors.New("no job is due")
	errLeaseLost  = errors.New("the lease of the job was lost")
)

// lease is a claimed job. owner is an id made for this claim alone, so that a former holder, on this replica or another, can
// settle nothing.
type lease struct {
	id        int64
	kind, key string
	owner     int64
	payload   string
	attempts  int // this one included
	until     time.Time
}

// dueBatch is how many due jobs are looked at for one that nobody else has claimed meanwhile.
const dueBatch = 16

// claim leases the job of the kind that is due for longest; errNothingDue.
func (r *Runner) claim(ctx context.Context, kind string) (*lease, error) {
	now := r.o.Now()
	ids, err := r.db.Read().ListDueJobs(ctx, query.ListDueJobsParams{Kind: kind, Now: micros(now), N: dueBatch})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		l, err := r.claimOne(ctx, id, now)
		if !errors.Is(err, sql.ErrNoRows) { // taken by another, or asked for anew under another id
			return l, err
		}
	}
	return nil, errNothingDue
}

func (r *Runner) claimOne(ctx context.Context, id int64, now time.Time) (*lease, error) {
	l := &lease{id: id, owner: r.db.ID(), until: now.Add(r.o.Lease)}
	err := r.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		row, err := tx.ClaimJob(ctx, query.ClaimJobParams{ID: id, LeaseOwner: l.owner, LeaseUntil: micros(l.until), Now: micros(now)})
		if err != nil {
			return err
		}
		l.kind, l.key, l.payload, l.attempts = row.Kind, row.Key, row.Payload, int(row.Attempts)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// renew keeps the lease until ctx ends; it ends ctx when the lease is lost.
func (r *Runner) renew(ctx context.Context, l *lease, cancel context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.o.After(r.o.Lease / 3):
		}
		until := r.o.Now().Add(r.o.Lease)
		err := r.settle(ctx, "renew", func(ctx context.Context, tx *meta.Tx) (int64, error) {
			return tx.RenewJob(ctx, query.RenewJobParams{LeaseUntil: micros(until), Kind: l.kind, Key: l.key, LeaseOwner: l.owner})
		})
		switch {
		case err == nil:
			l.until = until
		case ctx.Err() != nil:
			return
		case errors.Is(err, errLeaseLost) || !r.o.Now().Before(l.until):
			cancel(errLeaseLost)
			return
		default:
			r.o.Log.Warn("renew the lease of a job", "kind", l.kind, "key", l.key, "error", err)
		}
	}
}

// settleTries is how often a change of a leased job is tried: one that fails would have the job run again when its lease has run out.
const settleTries = 3

// settle runs one change of a leased job; errLeaseLost when it is leased no more.
func (r *Runner) settle(ctx context.Context, what string, change func(context.Context, *meta.Tx) (int64, error)) (err error) {
	for try := 1; ; try++ {
		err = r.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			n, err := change(ctx, tx)
			if err == nil && n == 0 {
				err = errLeaseLost
			}
			return err
		})
		switch {
		case err == nil:
			return nil
		case try == settleTries, errors.Is(err, errLeaseLost), ctx.Err() != nil:
			return fmt.Errorf("%s job: %w", what, err)
		}
		r.o.Log.Warn("settle a job: trying again", "what", what, "error", err)
	}
}

// finish ends a job that is done. A recurring one, or one that was asked for again meanwhile, stays.
func (r *Runner) finish(ctx context.Context, h Handler, l *lease) error {
	next := r.o.Now().Add(h.Every)
	return r.settle(ctx, "finish", func(ctx context.Context, tx *meta.Tx) (int64, error) {
		if h.Every == 0 || l.key != "" {
			n, err := tx.FinishJob(ctx, query.FinishJobParams{ID: l.id, LeaseOwner: l.owner})
			if err != nil || n > 0 {
				return n, err
			}
		}
		return tx.RepeatJob(ctx, query.RepeatJobParams{ID: l.id, Next: micros(next), Kind: l.kind, Key: l.key, LeaseOwner: l.owner})
	})
}

// release gives a job back that the stopping runner interrupted: that was no failure of the job.
func (r *Runner) release(ctx context.Context, l *lease) error {
	return r.settle(ctx, "release", func(ctx context.Context, tx *meta.Tx) (int64, error) {
		return tx.ReleaseJob(ctx, query.ReleaseJobParams{Kind: l.kind, Key: l.key, LeaseOwner: l.owner})
	})
}

// errorBytes bounds the text of an error that is kept with a job.
const errorBytes = 1000

func (r *Runner) fail(ctx context.Context, l *lease, cause error, again time.Time) error {
	text := cause.Error()
	if len(text) > errorBytes {
		text = text[:errorBytes]
	}
	return r.settle(ctx, "put off", func(ctx context.Context, tx *meta.Tx) (int64, error) {
		return tx.FailJob(ctx, query.FailJobParams{
			RunAfter: micros(again), LastError: strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "?"), // PostgreSQL takes no others
			Kind: l.kind, Key: l.key, LeaseOwner: l.owner,
		})
	})
}

// ensureRecurring makes the rows of recurring jobs that are not there yet, and sees to it that they come.
func (r *Runner) ensureRecurring(ctx context.Context) error {
	for _, h := range r.handlers {
		if h.Every == 0 {
			continue
		}
		now := r.o.Now()
		err := r.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			_, err := tx.EnsureJob(ctx, query.EnsureJobParams{ID: tx.ID(), Kind: h.Kind, Payload: "null", RunAfter: micros(now), CreatedAt: micros(now)})
			return errors.Join(err, r.comeBack(ctx, tx, h, now))
		})
		if err != nil {
			return fmt.Errorf("make the recurring job %s: %w", h.Kind, err)
		}
	}
	return nil
}

// comeBack undoes what a clock has done that stood far ahead and was set right: recurring jobs would wait until that time comes again,
// and the leases of whoever died meanwhile would hold as long. A holder that lives has renewed before the lease given here ends.
func (r *Runner) comeBack(ctx context.Context, tx *meta.Tx, h Handler, now time.Time) error {
	const soon = "UPDATE jobs SET run_after = $1 WHERE kind = $2 AND key = '' AND run_after > $3"
	const held = "UPDATE jobs SET lease_until = $1 WHERE kind = $2 AND lease_until > $3"
	latest := now.Add(2 * max(h.Every, r.o.BackoffMax))
	_, err := tx.Conn().ExecContext(ctx, soon, micros(now), h.Kind, micros(latest))
	if err == nil {
		_, err = tx.Conn().ExecContext(ctx, held, micros(now.Add(r.o.Lease)), h.Kind, micros(now.Add(2*r.o.Lease)))
	}
	return err
}

// backoff is how long a job waits after its nth attempt failed.
func (r *Runner) backoff(attempts int) time.Duration {
	wait := r.o.BackoffMax
	if shift := attempts - 1; shift < 20 {
		wait = min(wait, r.o.BackoffMin<<shift)
	}
	return jitter(wait)
}

// jitter spreads d by a fifth either way, so that what began together does not go on together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // nothing secret
}

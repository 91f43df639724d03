package meta

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// A replica number is a lease: its row carries a heartbeat, and a number whose heartbeat is older than replicaExpiry may be
// taken by another process. The holder must not write on a heartbeat older than replicaTrust without renewing it first.
const (
	heartbeat     = 5 * time.Second
	replicaTrust  = 30 * time.Second
	replicaExpiry = 60 * time.Second
)

type replica struct {
	number int
	id     string
	beaten atomic.Pointer[time.Time]
	lost   atomic.Bool
	ids    *idSource // made by this replica
}

var errAllTaken = errors.New("all 1024 replica numbers are in use")

// claim takes the number that has been free for longest and returns the time after which its ids may start.
func (r *replica) claim(ctx context.Context, e engine, version string) (floor time.Time, err error) {
	host, _ := os.Hostname() // for people; an empty one does no harm
	r.id = rand.Text()
	for {
		begun := time.Now()
		now, err := e.now(ctx)
		if err != nil {
			return time.Time{}, err
		}
		var won bool
		err = e.write(ctx, func(ctx context.Context, q *query.Queries, _ query.DBTX) error {
			won = false
			rows, err := q.ListReplicas(ctx)
			if err != nil {
				return err
			}
			number, former, err := pickReplica(rows, now)
			if err != nil {
				return err
			}
			var n int64
			if former == nil {
				n, err = q.InsertReplica(ctx, query.InsertReplicaParams{
					Number: number, ID: r.id, Host: host, Version: version, StartedAt: micros(now), HeartbeatAt: micros(now),
				})
			} else {
				floor = idFloor(former)
				n, err = q.TakeReplica(ctx, query.TakeReplicaParams{
					ID: r.id, Host: host, Version: version, StartedAt: micros(now), HeartbeatAt: micros(now),
					Number: number, ID_2: former.ID, HeartbeatAt_2: former.HeartbeatAt,
				})
			}
			r.number, won = int(number), n == 1
			return err
		})
		if err != nil {
			return time.Time{}, err
		}
		if won {
			r.beaten.Store(&begun)
			return floor, nil
		}
	}
}

// pickReplica prefers a number that never had a holder among the low ones, then the one whose holder went first.
func pickReplica(rows []query.Replica, now time.Time) (number int32, former *query.Replica, err error) {
	for i := range rows {
		row := &rows[i]
		expired := row.HeartbeatAt < micros(now.Add(-replicaExpiry))
		if (row.ID == "" || expired) && (former == nil || row.HeartbeatAt < former.HeartbeatAt) {
			former = row
		}
	}
	if former != nil {
		return former.Number, former, nil
	}
	if len(rows) >= maxReplicas {
		return 0, nil, errAllTaken
	}
	next := int32(0)
	for _, row := range rows { // ordered by number
		if row.Number == next {
			next++
		}
	}
	return next, nil, nil
}

// idFloor is after every id that the former holder of a number can have made.
func idFloor(former *query.Replica) time.Time {
	floor := time.UnixMicro(former.HeartbeatAt)
	if former.ID != "" { // it was not released, but died or was lost between two heartbeats
		floor = floor.Add(replicaTrust)
	}
	return floor
}

// stamp is the heartbeat to write. It covers the ids made so far, because this machine's clock may be ahead of the shared one.
func (r *replica) stamp(now time.Time) int64 {
	return max(micros(now), micros(r.ids.latest()))
}

// beat renews the lease. It sets lost when another process has taken the number.
func (r *replica) beat(ctx context.Context, e engine) error {
	begun := time.Now()
	now, err := e.now(ctx)
	if err != nil {
		return err
	}
	var n int64
	err = e.write(ctx, func(ctx context.Context, q *query.Queries, _ query.DBTX) (err error) {
		n, err = q.BeatReplica(ctx, query.BeatReplicaParams{HeartbeatAt: r.stamp(now), Number: int32(r.number), ID: r.id})
		return err
	})
	if err != nil {
		return err
	}
	if n == 0 {
		r.lost.Store(true)
		return ErrReplicaLost
	}
	r.beaten.Store(&begun)
	return nil
}

// check must pass before each write: ids are unique only while the number is ours.
func (r *replica) check(ctx context.Context, e engine) error {
	if r.lost.Load() {
		return ErrReplicaLost
	}
	if elapsed(*r.beaten.Load()) < replicaTrust {
		return nil
	}
	if err := r.beat(ctx, e); err != nil {
		return fmt.Errorf("renew the replica number: %w", err)
	}
	return nil
}

// keep renews the lease until ctx ends.
func (r *replica) keep(ctx context.Context, e engine, log *slog.Logger) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := r.beat(ctx, e)
		switch {
		case errors.Is(err, ErrReplicaLost):
			log.Error("writes are refused from now on", "replica", r.number, "error", err)
			return
		case err != nil && ctx.Err() == nil:
			log.Warn("heartbeat of this replica", "replica", r.number, "error", err)
		}
	}
}

// release gives the number back, noting until when its ids may reach.
func (r *replica) release(e engine) error {
	if r.lost.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), heartbeat)
	defer cancel()
	now, err := e.now(ctx)
	if err != nil {
		return fmt.Errorf("release the replica number: %w", err)
	}
	err = e.write(ctx, func(ctx context.Context, q *query.Queries, _ query.DBTX) error {
		return q.ReleaseReplica(ctx, query.ReleaseReplicaParams{HeartbeatAt: r.stamp(now), Number: int32(r.number), ID: r.id})
	})
	if err != nil {
		return fmt.Errorf("release the replica number: %w", err)
	}
	return nil
}

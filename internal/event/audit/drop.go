package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// dropSeals is how many ranges one look takes.
const dropSeals = 50

// drop lets go of what is older than it is kept, in whole sealed ranges. Their seals stay, so that the chain does, and each drop of
// changes or pulls is an event itself. What is not sealed is never dropped.
func (k *Keeper) drop(ctx context.Context) error {
	for _, c := range []struct {
		class string
		keep  time.Duration
		some  func(ctx context.Context, class string, before int64) (int, error)
	}{
		{Changes, k.o.KeepChanges, k.dropEvents}, {Pulls, k.o.KeepPulls, k.dropPulls}, {Access, k.o.KeepAccess, k.dropPulls},
	} {
		for n := dropSeals; n == dropSeals && c.keep > 0; {
			var err error
			if n, err = c.some(ctx, c.class, k.o.Now().Add(-c.keep).UnixMicro()); err != nil {
				return fmt.Errorf("drop old %s: %w", c.class, err)
			}
		}
	}
	return k.dropAddresses(ctx)
}

// dropAddresses lets go of the addresses of months of which nothing is kept.
func (k *Keeper) dropAddresses(ctx context.Context) error {
	if keep := k.o.KeepChanges; keep > 0 {
		err := k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			_, err := tx.TrimAddresses(ctx, meta.Month(k.o.Now().Add(-keep)))
			return err
		})
		if err != nil {
			return fmt.Errorf("drop old addresses: %w", err)
		}
	}
	keep := max(k.o.KeepPulls, k.o.KeepAccess)
	if min(k.o.KeepPulls, k.o.KeepAccess) <= 0 {
		return nil // some are kept for ever
	}
	return k.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		_, err := q.TrimPullAddresses(ctx, meta.Month(k.o.Now().Add(-keep)))
		return err
	})
}

func (k *Keeper) dropEvents(ctx context.Context, class string, before int64) (int, error) {
	old, err := k.db.Read().OldSeals(ctx, query.OldSealsParams{Class: class, LastAt: before, Limit: dropSeals})
	if err != nil {
		return 0, err
	}
	for _, s := range old {
		err := k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			n, err := tx.DropSeal(ctx, query.DropSealParams{DroppedAt: k.o.Now().UnixMicro(), Leaves: []byte{}, ID: s.ID})
			if err != nil || n == 0 {
				return err
			}
			if _, err := tx.DeleteSealedEvents(ctx, query.DeleteSealedEventsParams{First: s.FirstID, Last: s.LastID, SealID: s.ID}); err != nil {
				return err
			}
			return dropped(ctx, tx, s)
		})
		if err != nil {
			return 0, err
		}
	}
	return len(old), nil
}

// dropPulls notes the drop before it happens: the two are no one transaction on SQLite, and a note without a drop is put right by the
// next run.
func (k *Keeper) dropPulls(ctx context.Context, class string, before int64) (int, error) {
	old, err := k.db.Read().OldPullSeals(ctx, query.OldPullSealsParams{Class: class, LastAt: before, Limit: dropSeals})
	if err != nil {
		return 0, err
	}
	for _, s := range old {
		err := k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return dropped(ctx, tx, sealed(s)) })
		if err != nil {
			return 0, err
		}
		err = k.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error { return k.dropPull(ctx, q, s) })
		if err != nil {
			return 0, err
		}
	}
	return len(old), nil
}

func (k *Keeper) dropPull(ctx context.Context, q *query.Queries, s query.PullSeal) error {
	rows, err := q.SealedPullBatches(ctx, query.SealedPullBatchesParams{First: s.FirstID, Last: s.LastID, SealID: s.ID})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := q.DeletePullBatchGroups(ctx, row.ID); err != nil {
			return err
		}
		if err := q.DeletePullBatchPrincipals(ctx, row.ID); err != nil {
			return err
		}
	}
	if _, err := q.DeleteSealedPullBatches(ctx, query.DeleteSealedPullBatchesParams{First: s.FirstID, Last: s.LastID, SealID: s.ID}); err != nil {
		return err
	}
	_, err = q.DropPullSeal(ctx, query.DropPullSealParams{DroppedAt: k.o.Now().UnixMicro(), Leaves: []byte{}, ID: s.ID})
	return err
}

func dropped(ctx context.Context, tx *meta.Tx, s sealed) error {
	return tx.Event(ctx, meta.Event{
		Kind: "audit.dropped", Subject: fmt.Sprintf("%s of replica %d on %s", s.Class, s.Replica, s.Day),
		Detail: map[string]any{"class": s.Class, "replica": s.Replica, "number": s.Number, "day": s.Day, "events": s.Events},
	})
}

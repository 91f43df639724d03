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
	if err := k.dropStream(ctx, Changes, k.o.KeepChanges, k.dropEvents); err != nil {
		return err
	}
	return k.dropStream(ctx, Pulls, k.o.KeepPulls, k.dropPulls)
}

func (k *Keeper) dropStream(ctx context.Context, stream string, keep time.Duration, some func(ctx context.Context, before int64) (int, error)) error {
	if keep <= 0 {
		return nil
	}
	before := k.o.Now().Add(-keep)
	for n := dropSeals; n == dropSeals; {
		var err error
		if n, err = some(ctx, before.UnixMicro()); err != nil {
			return fmt.Errorf("drop old %s: %w", stream, err)
		}
	}
	month := meta.Month(before)
	if stream == Changes {
		return k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			_, err := tx.TrimAddresses(ctx, month)
			return err
		})
	}
	return k.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		_, err := q.TrimPullAddresses(ctx, month)
		return err
	})
}

func (k *Keeper) dropEvents(ctx context.Context, before int64) (int, error) {
	old, err := k.db.Read().OldSeals(ctx, query.OldSealsParams{LastAt: before, Limit: dropSeals})
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
			return dropped(ctx, tx, Changes, s)
		})
		if err != nil {
			return 0, err
		}
	}
	return len(old), nil
}

// dropPulls notes the drop before it happens: the two are no one transaction on SQLite, and a note without a drop is put right by the
// next run.
func (k *Keeper) dropPulls(ctx context.Context, before int64) (int, error) {
	old, err := k.db.Read().OldPullSeals(ctx, query.OldPullSealsParams{LastAt: before, Limit: dropSeals})
	if err != nil {
		return 0, err
	}
	for _, s := range old {
		err := k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return dropped(ctx, tx, Pulls, sealed(s)) })
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

func dropped(ctx context.Context, tx *meta.Tx, stream string, s sealed) error {
	return tx.Event(ctx, meta.Event{
		Kind: "audit.dropped", Subject: fmt.Sprintf("%s of replica %d on %s", stream, s.Replica, s.Day),
		Detail: map[string]any{"stream": stream, "replica": s.Replica, "number": s.Number, "day": s.Day, "events": s.Events},
	})
}

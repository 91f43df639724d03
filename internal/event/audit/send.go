package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	sendEvery = 5 * time.Second
	sendRows  = 500 // changes that go in one write
)

// send hands on what no sink has got yet, oldest first, as JSON lines. Rows are taken because they carry no mark, never because of where
// a cursor stands, so what commits late goes late and not never. The mark follows the delivery: what was delivered when the process
// died is delivered again. The lease of the job keeps replicas from doing it at the same time.
func (k *Keeper) send(ctx context.Context) error {
	for ctx.Err() == nil {
		changes, err := k.sendEvents(ctx)
		if err != nil {
			return fmt.Errorf("hand on changes: %w", err)
		}
		pulls, err := k.sendBatch(ctx)
		if err != nil {
			return fmt.Errorf("hand on pulls: %w", err)
		}
		if changes < sendRows && pulls == 0 {
			return nil
		}
	}
	return ctx.Err()
}

func (k *Keeper) sendEvents(ctx context.Context) (n int, err error) {
	rows, err := k.db.Read().UnsentEvents(ctx, sendRows)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	entries := make([]Entry, len(rows))
	for i := range rows {
		entries[i] = entryOf(&rows[i])
	}
	if err := k.deliver(ctx, entries); err != nil {
		return 0, err
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	return len(rows), k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		for i := range rows {
			if err := tx.SentEvent(ctx, rows[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *Keeper) sendBatch(ctx context.Context) (n int, err error) {
	rows, err := k.db.Read().UnsentPullBatches(ctx, 1)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	b := &rows[0]
	records, err := decode(b.Payload)
	if err != nil {
		k.o.Log.ErrorContext(ctx, "hand on a batch of pulls: the sink gets how many there were", "batch", b.ID, "error", err)
		records = unreadable(b.FirstAt, b.LastAt, b.Events)
	}
	entries := make([]Entry, len(records))
	for i := range records {
		entries[i] = records[i].entry(place(b.ID, i))
	}
	if err := k.deliver(ctx, entries); err != nil {
		return 0, err
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	return 1, k.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error { return q.SentPullBatch(ctx, b.ID) })
}

// settling is a context for the marks of what was delivered: a stop must not come between the two.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), writeLimit)
}

// place is the id of a pull.
func place(batch int64, i int) string {
	return strconv.FormatInt(batch, 10) + "." + strconv.Itoa(i)
}

// deliver writes what the sink wants of entries, in one Write.
func (k *Keeper) deliver(ctx context.Context, entries []Entry) error {
	entries = slices.DeleteFunc(entries, func(e Entry) bool {
		return !slices.ContainsFunc(k.o.SinkKinds, func(pattern string) bool { return matches(pattern, e.Kind) })
	})
	if len(entries) == 0 {
		return nil
	}
	if err := newReader(k.db, Query{}).fill(ctx, entries); err != nil {
		return err
	}
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	out.SetEscapeHTML(false)
	for i := range entries {
		if err := out.Encode(&entries[i]); err != nil {
			return err
		}
	}
	if _, err := k.o.Sink.Write(lines.Bytes()); err != nil {
		return err
	}
	k.o.Metrics.Sent(len(entries))
	return nil
}

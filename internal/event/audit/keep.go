package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
	"github.com/weir-registry/weir/internal/work"
)

// Keeper is what happens to the trail later: jobs for package work, on one replica at a time.
type Keeper struct {
	db *meta.DB
	o  KeeperOptions
}

// KeeperOptions configure a Keeper.
type KeeperOptions struct {
	Log         *slog.Logger
	Sealer      *seal.Sealer  // of the signing key
	KeepChanges time.Duration // 0 = for ever
	KeepPulls   time.Duration // 0 = for ever
	KeepAccess  time.Duration // refusals and logins; 0 = for ever

	// Sink gets each entry as a JSON line, whole lines in each Write; nil for none. What Write has acknowledged must be durable.
	Sink      io.Writer
	SinkKinds []string // patterns of the kinds that it gets
	Metrics   SinkMetrics

	Now func() time.Time // default time.Now
}

// SinkMetrics counts what a sink got. Calls must not block.
type SinkMetrics interface{ Sent(n int) }

type noSinkMetrics struct{}

func (noSinkMetrics) Sent(int) {}

// NewKeeper returns a Keeper of the trail in db.
func NewKeeper(db *meta.DB, o KeeperOptions) *Keeper {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Metrics == nil {
		o.Metrics = noSinkMetrics{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Keeper{db, o}
}

// Handlers are the jobs.
func (k *Keeper) Handlers() []work.Handler {
	out := []work.Handler{
		{Kind: jobForget, Run: k.forget},
		{Kind: "audit.seal", Every: sealEvery, Run: func(ctx context.Context, _ json.RawMessage) error { return k.seal(ctx) }},
		{Kind: "audit.drop", Every: dropEvery, Run: func(ctx context.Context, _ json.RawMessage) error { return k.drop(ctx) }},
	}
	if k.o.Sink != nil {
		out = append(out, work.Handler{Kind: "audit.send", Every: sendEvery, Run: func(ctx context.Context, _ json.RawMessage) error { return k.send(ctx) }})
	}
	return out
}

const (
	sealEvery = 5 * time.Minute
	dropEvery = 6 * time.Hour

	jobForget = "audit.forget"

	// What an erased account did in its last moment is written by then, on every replica.
	lateFlush = 2 * time.Minute
)

type forgetting struct {
	Account int64 `json:"account"`
}

// Forget asks, in the transaction that erases an account, for the addresses it has pulled from to go: at once, and again when what is
// still in memory anywhere has been written.
func Forget(ctx context.Context, tx *meta.Tx, account int64) error {
	key := strconv.FormatInt(account, 10)
	err := work.Enqueue(ctx, tx, work.Job{Kind: jobForget, Key: key, Payload: forgetting{account}})
	if err != nil {
		return err
	}
	return work.Enqueue(ctx, tx, work.Job{Kind: jobForget, Key: key + " late", Payload: forgetting{account}, RunAfter: time.Now().Add(lateFlush)})
}

func (k *Keeper) forget(ctx context.Context, payload json.RawMessage) error {
	var f forgetting
	if err := json.Unmarshal(payload, &f); err != nil {
		return fmt.Errorf("erase addresses: %w", err)
	}
	return k.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error { return q.ErasePullAddresses(ctx, f.Account) })
}

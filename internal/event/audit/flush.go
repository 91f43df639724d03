package audit

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// batch is what becomes one row. Its id is made once, so that a row whose commit was in doubt is not written twice.
type batch struct {
	id       int64
	requests []record
}

// Run writes what is gathered until ctx ends, and then the rest.
func (t *Trail) Run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
			defer cancel()
			t.flush(last)
			return
		case <-tick.C:
		case <-t.wake:
		}
		t.flush(ctx)
	}
}

// flush writes everything gathered so far. What cannot be written stays for the next flush, and no more is taken before it went.
func (t *Trail) flush(ctx context.Context) {
	for {
		if len(t.pending) == 0 {
			t.collect()
		}
		if len(t.pending) == 0 {
			return
		}
		for len(t.pending) > 0 {
			if err := t.write(ctx, &t.pending[0]); err != nil {
				t.o.Log.Warn("write the audit trail of pulls", "error", err, "requests", len(t.pending[0].requests))
				return
			}
			t.pending = t.pending[1:]
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// collect empties all parts into batches, and lets those go on who wait for room.
func (t *Trail) collect() {
	var all []record
	total := gap{counts: map[counted]int64{}}
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		held := p.held
		p.held, p.spare = p.spare[:0], nil
		total.add(p)
		p.mu.Unlock()
		for _, r := range held {
			all = append(all, record{Request: r, count: 1})
		}
		clear(held) // what it points to
		if cap(held) <= largeRoom || len(held) > cap(held)/8 {
			p.mu.Lock()
			p.spare = held[:0]
			p.mu.Unlock()
		}
	}
	freed := make(chan struct{})
	close(*t.freed.Swap(&freed))
	slices.SortStableFunc(all, func(a, b record) int { return cmp.Compare(a.At, b.At) })
	all = append(all, total.records()...)
	t.o.Metrics.Held(len(all))
	for some := range slices.Chunk(all, batchSize) {
		t.pending = append(t.pending, batch{t.o.DB.ID(), some})
	}
}

// gap is what could only be counted.
type gap struct {
	counts       map[counted]int64
	since, until int64
}

func (g *gap) add(p *part) {
	if p.counts == nil {
		return
	}
	for key, n := range p.counts {
		g.counts[key] += n
	}
	if g.since == 0 || p.since < g.since {
		g.since = p.since
	}
	g.until = max(g.until, p.until)
	p.counts, p.since, p.until = nil, 0, 0
}

// records are one that says from when to when, and one for each kind of request, repository and account.
func (g *gap) records() []record {
	if len(g.counts) == 0 {
		return nil
	}
	out := []record{{Request: event.Request{At: g.since, Kind: event.Gap, Actor: event.Actor{Kind: event.Server}}, until: g.until}}
	keys := slices.SortedFunc(maps.Keys(g.counts), func(a, b counted) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.principal, b.principal), cmp.Compare(a.kind, b.kind))
	})
	for _, key := range keys {
		n := g.counts[key]
		out[0].count += n
		out = append(out, record{
			Request: event.Request{At: g.since, Kind: event.PullsCounted, Actor: event.Actor{ID: key.principal}, Path: key.path, Reason: key.kind},
			until:   g.until, count: n,
		})
	}
	return out
}

// write stores a batch with its indexes.
func (t *Trail) write(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	groups, principals := t.index(b)
	first, last := b.span()
	var made map[addressKey]int64
	err := t.o.DB.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		var err error
		if made, err = t.addresses.resolve(ctx, q, t.o.DB.ID, b.requests); err != nil {
			return fmt.Errorf("addresses: %w", err)
		}
		var payload bytes.Buffer
		if err := encode(&payload, b.requests); err != nil {
			return err
		}
		n, err := q.InsertPullBatch(ctx, query.InsertPullBatchParams{
			ID: b.id, Replica: int64(t.o.DB.Replica()), FirstAt: first, LastAt: last, Events: int64(len(b.requests)), Payload: payload.Bytes(),
		})
		if err != nil || n == 0 { // it was written, although that was in doubt
			return err
		}
		for _, id := range groups {
			if err := q.InsertPullBatchGroup(ctx, query.InsertPullBatchGroupParams{GroupID: id, BatchID: b.id}); err != nil {
				return err
			}
		}
		for _, id := range principals {
			if err := q.InsertPullBatchPrincipal(ctx, query.InsertPullBatchPrincipalParams{PrincipalID: id, BatchID: b.id}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.addresses.remember(made)
	t.o.Metrics.Flushed(len(b.requests), t.o.Now().Sub(time.UnixMicro(first)))
	return nil
}

// index finds the groups and accounts of a batch.
func (t *Trail) index(b *batch) (groups, principals []int64) {
	byName, byID := map[string]int64{}, map[int64]bool{}
	for i := range b.requests {
		r := &b.requests[i]
		name, _, _ := strings.Cut(r.Path, "/")
		id, known := byName[name]
		if !known {
			if id = 0; name != "" {
				id = t.o.Group(name)
			}
			byName[name] = id
		}
		r.group = id
		byID[r.Actor.ID] = true
	}
	delete(byID, 0)
	principals = slices.Sorted(maps.Keys(byID))
	groups = slices.Compact(slices.Sorted(maps.Values(byName)))
	return slices.DeleteFunc(groups, func(id int64) bool { return id == 0 }), principals
}

func (b *batch) span() (first, last int64) {
	first = b.requests[0].At
	for i := range b.requests {
		first, last = min(first, b.requests[i].At), max(last, b.requests[i].At, b.requests[i].until)
	}
	return first, last
}

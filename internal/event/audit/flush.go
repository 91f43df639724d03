package audit

import (
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
	id   int64
	runs [][]record
}

// all are the records of a batch.
func (b *batch) all(yield func(*record) bool) {
	for _, run := range b.runs {
		for i := range run {
			if !yield(&run[i]) {
				return
			}
		}
	}
}

func (b *batch) len() (n int) {
	for _, run := range b.runs {
		n += len(run)
	}
	return n
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
				t.o.Log.Warn("write the audit trail of pulls", "error", err, "requests", t.pending[0].len())
				return
			}
			t.pending = t.pending[1:]
		}
		t.reuse()
		if ctx.Err() != nil {
			return
		}
	}
}

// collect empties all parts into batches, and lets those go on who wait for room.
func (t *Trail) collect() {
	total := gap{counts: map[counted]int64{}}
	held := 0
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		t.taken[i] = p.held
		p.held, p.spare = p.spare[:0], nil
		total.add(p)
		p.mu.Unlock()
		held += len(t.taken[i])
	}
	freed := make(chan struct{})
	close(*t.freed.Swap(&freed))
	t.o.Metrics.Held(held)
	var b batch
	room := batchSize
	for _, run := range append(slices.Clone(t.taken), total.records()) {
		for len(run) > 0 {
			n := min(room, len(run))
			b.runs, run, room = append(b.runs, run[:n]), run[n:], room-n
			if room == 0 {
				b.id = t.o.DB.ID()
				t.pending, b, room = append(t.pending, b), batch{}, batchSize
			}
		}
	}
	if len(b.runs) > 0 {
		b.id = t.o.DB.ID()
		t.pending = append(t.pending, b)
	}
}

// reuse gives the parts the room back whose requests were written, unless they hardly use it.
func (t *Trail) reuse() {
	for i, held := range t.taken {
		clear(held) // what it points to
		if t.taken[i] = nil; cap(held) > largeRoom && len(held) < cap(held)/8 {
			continue
		}
		p := &t.parts[i]
		p.mu.Lock()
		p.spare = held[:0]
		p.mu.Unlock()
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
	i := t.index(b)
	var made map[addressKey]int64
	err := t.o.DB.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		var err error
		if made, err = t.addresses.resolve(ctx, q, t.o.DB.ID, b); err != nil {
			return fmt.Errorf("addresses: %w", err)
		}
		payload, err := t.encoder.encode(b)
		if err != nil {
			return err
		}
		n, err := q.InsertPullBatch(ctx, query.InsertPullBatchParams{
			ID: b.id, Replica: int64(t.o.DB.Replica()), FirstAt: i.first, LastAt: i.last, Events: int64(i.n), Payload: payload,
		})
		if err != nil || n == 0 { // it was written, although that was in doubt
			return err
		}
		return i.insert(ctx, q, b.id)
	})
	if err != nil {
		return err
	}
	t.addresses.remember(made)
	t.o.Metrics.Flushed(i.n, t.o.Now().Sub(time.UnixMicro(i.first)))
	return nil
}

// index is what a batch is found by.
type index struct {
	n                  int
	first, last        int64
	groups, principals []int64
}

// index also gives each record the id of its group.
func (t *Trail) index(b *batch) index {
	byName, byID := map[string]int64{"": 0}, map[int64]bool{}
	out := index{first: b.runs[0][0].At}
	name, group, principal := "", int64(0), int64(0) // of the record before, which is often like the next
	for r := range b.all {
		out.n++
		out.first, out.last = min(out.first, r.At), max(out.last, r.At, r.until)
		if n, _, _ := strings.Cut(r.Path, "/"); n != name {
			var known bool
			if group, known = byName[n]; !known {
				group = t.o.Group(n)
				byName[n] = group
			}
			name = n
		}
		r.group = group
		if r.Actor.ID != principal {
			principal = r.Actor.ID
			byID[principal] = true
		}
	}
	delete(byID, 0)
	out.principals = slices.Sorted(maps.Keys(byID))
	out.groups = slices.DeleteFunc(slices.Compact(slices.Sorted(maps.Values(byName))), func(id int64) bool { return id == 0 })
	return out
}

func (i *index) insert(ctx context.Context, q *query.Queries, batch int64) error {
	for _, id := range i.groups {
		if err := q.InsertPullBatchGroup(ctx, query.InsertPullBatchGroupParams{GroupID: id, BatchID: batch}); err != nil {
			return err
		}
	}
	for _, id := range i.principals {
		if err := q.InsertPullBatchPrincipal(ctx, query.InsertPullBatchPrincipalParams{PrincipalID: id, BatchID: batch}); err != nil {
			return err
		}
	}
	return nil
}

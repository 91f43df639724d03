package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

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
			if !t.isFull() {
				continue // the last flush has taken that page
			}
		}
		t.flush(ctx)
	}
}

// isFull reports whether a part has a full page.
func (t *Trail) isFull() (full bool) {
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		for _, pages := range p.full {
			full = full || len(pages) > 0
		}
		p.mu.Unlock()
	}
	return full
}

// flush writes everything gathered so far. What cannot be written stays for the next flush, and no more is taken before it went. What
// comes meanwhile waits for the next one, too: under load there would be no end of small batches.
func (t *Trail) flush(ctx context.Context) {
	if t.drain(ctx) {
		t.collect()
		t.drain(ctx)
	}
}

// drain writes what is taken; false when it has to be tried again.
func (t *Trail) drain(ctx context.Context) bool {
	for ; len(t.pending) > 0; t.pending = t.pending[1:] {
		b := &t.pending[0]
		if err := t.write(ctx, b); err != nil {
			t.o.Log.Warn("write the audit trail of pulls", "error", err, "requests", b.len())
			return false
		}
		t.reuse(b.pages)
	}
	return true
}

// collect empties all parts into batches, and lets those go on who wait for room.
func (t *Trail) collect() {
	total := gap{counts: map[counted]int64{}}
	var taken [len(classes)][]*page
	held := 0
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		for class := range classes {
			taken[class], p.full[class] = append(taken[class], p.full[class]...), nil
			if p.pages[class] != nil {
				taken[class], p.pages[class] = append(taken[class], p.pages[class]), nil
			}
		}
		held, p.n, p.bytes = held+p.n, 0, 0
		total.add(p)
		p.mu.Unlock()
	}
	freed := make(chan struct{})
	close(*t.freed.Swap(&freed))
	t.o.Metrics.Held(held)
	for class, counted := range total.pages() {
		t.gather(class, append(taken[class], counted...))
	}
}

// gather makes batches of pages. What has come since a batch was full, before the flusher got to it, is part of it.
func (t *Trail) gather(class int, pages []*page) {
	b := batch{class: classes[class]}
	size, n := 0, 0
	for i, p := range pages {
		b.pages, size, n = append(b.pages, p), size+len(p.buf), n+p.n
		if last := i == len(pages)-1; last || n+pages[i+1].n > 2*batchSize || size >= batchBytes {
			b.id = t.o.DB.ID()
			t.pending, b, size, n = append(t.pending, b), batch{class: classes[class]}, 0, 0
		}
	}
}

// reuse gives the parts the pages back that were written, two to each.
func (t *Trail) reuse(pages []*page) {
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		for len(p.spare) < len(classes) && len(pages) > 0 {
			pages[0].empty()
			p.spare, pages = append(p.spare, pages[0]), pages[1:]
		}
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

// pages are, by class, one record that says from when to when, and one for each kind of request, repository and account.
func (g *gap) pages() (out [len(classes)][]*page) {
	keys := slices.SortedFunc(maps.Keys(g.counts), func(a, b counted) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.principal, b.principal), cmp.Compare(a.kind, b.kind))
	})
	var sums [len(classes)]int64
	for _, key := range keys {
		sums[classOf(key.kind)] += g.counts[key]
	}
	add := func(class int, r record) {
		last := len(out[class]) - 1
		if last < 0 || out[class][last].n == batchSize {
			out[class], last = append(out[class], &page{}), last+1
		}
		r.At, r.until = g.since, g.until
		out[class][last].add(&r)
	}
	for class, n := range sums {
		if n > 0 {
			add(class, record{Request: event.Request{Kind: event.Gap, Actor: event.Actor{Kind: event.Server}}, count: n})
		}
	}
	for _, key := range keys {
		add(classOf(key.kind), record{
			Request: event.Request{Kind: event.PullsCounted, Actor: event.Actor{ID: key.principal}, Path: key.path, Reason: key.kind}, count: g.counts[key],
		})
	}
	return out
}

// write stores a batch with its indexes.
func (t *Trail) write(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	i := t.index(b)
	unsent := int64(0)
	if t.o.HandOn {
		unsent = 1
	}
	var addresses map[addressKey]int64
	err := t.o.DB.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		var err error
		if addresses, err = t.addresses.resolve(ctx, q, t.o.DB.ID, b); err != nil {
			return fmt.Errorf("addresses: %w", err)
		}
		n, err := q.InsertPullBatch(ctx, query.InsertPullBatchParams{
			ID: b.id, Replica: int64(t.o.DB.Replica()), FirstAt: i.first, LastAt: i.last, Events: int64(i.n), Payload: b.encode(i.groups, addresses),
			Class: b.class, Unsent: unsent,
		})
		if err != nil || n == 0 { // it was written, although that was in doubt
			return err
		}
		return i.insert(ctx, q, b.id)
	})
	if err != nil {
		return err
	}
	t.addresses.remember(addresses)
	t.o.Metrics.Flushed(i.n, t.o.Now().Sub(time.UnixMicro(i.first)))
	return nil
}

// index is what a batch is found by.
type index struct {
	n           int
	first, last int64
	groups      map[string]int64 // ids by name, 0 of those that there are not
	principals  map[int64]struct{}
}

func (t *Trail) index(b *batch) index {
	out := index{first: b.pages[0].first, groups: map[string]int64{}, principals: map[int64]struct{}{}}
	for _, p := range b.pages {
		out.n, out.first, out.last = out.n+p.n, min(out.first, p.first), max(out.last, p.last)
		for _, name := range p.groups {
			if _, known := out.groups[name]; !known {
				out.groups[name] = t.o.Group(name)
			}
		}
		maps.Copy(out.principals, p.accounts)
	}
	return out
}

func (i *index) insert(ctx context.Context, q *query.Queries, batch int64) error {
	for _, id := range slices.Compact(slices.Sorted(maps.Values(i.groups))) {
		if id == 0 {
			continue
		}
		if err := q.InsertPullBatchGroup(ctx, query.InsertPullBatchGroupParams{GroupID: id, BatchID: batch}); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(i.principals)) {
		if err := q.InsertPullBatchPrincipal(ctx, query.InsertPullBatchPrincipalParams{PrincipalID: id, BatchID: batch}); err != nil {
			return err
		}
	}
	return nil
}

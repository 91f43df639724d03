package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// faults of an upstream, as natures of an origin. A limit says for how long it holds: longer than the measurement where a warm tag
// is asked for, a second where the question is how soon the first cold pull works after it.
var (
	warmFaults = []string{"fault=down", "fault=hang", "fault=429&after=30", "fault=503"}
	coldFaults = []string{"fault=down", "fault=429&after=1", "fault=503"}
)

// broken is an upstream with our server before it, both new: what one fault has taught the server must not help it with the next.
func (b *bench) broken(ctx context.Context, freshness string) (*origin, *target, error) {
	if err := b.plant(b.small()); err != nil {
		return nil, nil, err
	}
	o, err := b.newOrigin(ctx)
	if err != nil {
		return nil, nil, err
	}
	folder, err := b.newFolder()
	if err != nil {
		return nil, nil, err
	}
	t, err := b.keep(b.weirProxy(o, freshness).start(ctx, folder))
	return o, t, err
}

// timedGet asks for the image's manifest by tag and returns how long the answer took, in milliseconds, and its status.
func timedGet(ctx context.Context, p puller, i image) (float64, int, error) {
	began := time.Now()
	err := p.get(ctx, http.MethodGet, "/manifests/"+i.tags[0], i.manifest, nil)
	took := milliseconds(time.Since(began))
	if st, ok := errors.AsType[*statusError](err); ok {
		return took, st.status, nil
	}
	return took, http.StatusOK, err
}

// warmFault measures a cached, stale tag while its upstream is in trouble.
func warmFault(ctx context.Context, b *bench) (section, error) {
	s := section{title: "A stale tag in the cache while the upstream is in trouble", columns: []string{"upstream", "first ms", "later p50 ms", "later highest ms", "upstream requests"}}
	var first, later float64
	for _, fault := range warmFaults {
		f, rest, got, err := b.warmUnder(ctx, fault)
		if err != nil {
			return s, fmt.Errorf("%s: %w", fault, err)
		}
		highest := slices.Max(rest)
		s.lines = append(s.lines, []string{fault, fmt.Sprintf("%.1f", f), fmt.Sprintf("%.1f", median(rest)), fmt.Sprintf("%.1f", highest), fmt.Sprint(got.requests)})
		first, later = max(first, f), max(later, highest)
	}
	s.goals = append(s.goals,
		goal{what: "warm tag, upstream down, hanging, 429 or 503: first answer", unit: " ms", got: first, limit: 500},
		goal{what: "warm tag, upstream in trouble: every later answer", unit: " ms", got: later, limit: 20})
	return s, nil
}

// warmUnder asks for a stale tag under a fault: once, and then for as long as it takes the server to try the upstream again.
func (b *bench) warmUnder(ctx context.Context, fault string) (first float64, rest []float64, got asked, err error) {
	o, t, err := b.broken(ctx, "1us")
	if err != nil {
		return 0, nil, got, err
	}
	defer b.drop(o.target)
	defer b.drop(t)
	p := puller{newClient(), t.base("small"), ""}
	defer p.client.CloseIdleConnections()
	if _, err := p.image(ctx, b.small().images[0]); err != nil {
		return 0, nil, got, err
	}
	if _, _, err := timedGet(ctx, p, b.small().images[0]); err != nil {
		return 0, nil, got, err
	}
	if err := o.behave(ctx, fault); err != nil {
		return 0, nil, got, err
	}
	tries := 1 + 80
	switch {
	case b.short:
		tries = 1 + 3
	case fault == "fault=hang":
		tries += 160 // the server gives a request up after ten seconds, and tries again
	}
	for i := range tries {
		took, status, err := timedGet(ctx, p, b.small().images[0])
		if err != nil || status != http.StatusOK {
			return 0, nil, got, fmt.Errorf("answer %d of a cached tag: status %d, %w", i, status, err)
		}
		if i == 0 {
			first = took
		} else {
			rest = append(rest, took)
		}
		time.Sleep(50 * time.Millisecond) // the pace of the clients
	}
	if got, err = o.counters(ctx); err != nil {
		return 0, nil, got, err
	}
	return first, rest, got, o.behave(ctx, "") // else the server waits for it at its end
}

// coldFault measures pulls of what the cache does not have, while the upstream is in trouble and as soon as it is back.
func coldFault(ctx context.Context, b *bench) (section, error) {
	s := section{title: "A cold pull while the upstream is in trouble, and after", columns: []string{"upstream", "status", "slowest answer ms", "whole pull works after ms"}}
	var slowest, back float64
	for _, fault := range coldFaults {
		status, slow, works, err := b.coldUnder(ctx, fault)
		if err != nil {
			return s, fmt.Errorf("%s: %w", fault, err)
		}
		s.lines = append(s.lines, []string{fault, fmt.Sprint(status), fmt.Sprintf("%.1f", slow), fmt.Sprintf("%.0f", works)})
		slowest, back = max(slowest, slow), max(back, works)
	}
	s.goals = append(s.goals,
		goal{what: "cold pull, upstream down or limiting: 502, 503 or 429 within", unit: " s", got: slowest / 1000, limit: 2},
		goal{what: "cold pull after the upstream is back: works within", unit: " s", got: back / 1000, limit: 1})
	return s, nil
}

// coldUnder asks ten times for what only the upstream has, lets the upstream come back and pulls until that works.
func (b *bench) coldUnder(ctx context.Context, fault string) (status int, slowest, works float64, err error) {
	o, t, err := b.broken(ctx, "24h")
	if err != nil {
		return 0, 0, 0, err
	}
	defer b.drop(o.target)
	defer b.drop(t)
	p := puller{newClient(), t.base("small"), ""}
	defer p.client.CloseIdleConnections()
	if err := o.behave(ctx, fault); err != nil {
		return 0, 0, 0, err
	}
	const limited = time.Second // the wait that a limit asks for: until then the upstream is not back
	tries := 10
	if b.short {
		tries = 2
	}
	for range tries {
		took, got, err := timedGet(ctx, p, b.small().images[0])
		if err != nil {
			return 0, 0, 0, err
		}
		if !slices.Contains([]int{502, 503, 429}, got) {
			return 0, 0, 0, fmt.Errorf("status %d: not a word on the upstream's trouble", got)
		}
		status, slowest = got, max(slowest, took)
		time.Sleep(200 * time.Millisecond) // the pace of the clients
	}
	time.Sleep(limited)
	if err := o.behave(ctx, ""); err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	for {
		_, err := p.image(ctx, b.small().images[0])
		if err == nil {
			return status, slowest, milliseconds(time.Since(began)), nil
		}
		if time.Since(began) > time.Minute {
			return 0, 0, 0, fmt.Errorf("a minute after the upstream is back: %w", err)
		}
		time.Sleep(10 * time.Millisecond) // the pace of the client
	}
}

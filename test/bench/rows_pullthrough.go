package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// farUpstream is an upstream as one on the internet: every answer takes 50 ms, all of them share 100 MB/s.
const farUpstream = "latency=50ms&bandwidth=100000000"

// proxy is a way to an upstream's content.
type proxy struct {
	name  string
	start func(ctx context.Context, folder string) (*target, error) // nil: straight to the upstream
}

func (b *bench) weirProxy(o *origin, freshness string) proxy {
	return proxy{"weir", func(ctx context.Context, folder string) (*target, error) {
		t, err := startWeir(ctx, b.weir, folder, o.url, freshness)
		if err != nil {
			return nil, err
		}
		return t.at(cachePrefix, nil), nil
	}}
}

func (b *bench) proxies(o *origin) []proxy {
	out := []proxy{{name: "direct"}, b.weirProxy(o, "24h")}
	binary := findDistribution()
	if binary == "" {
		b.note("without distribution (a binary named registry, see test/tools.sh): %v", errMissing)
		return out
	}
	return append(out, proxy{"distribution", func(ctx context.Context, folder string) (*target, error) {
		return startDistribution(ctx, binary, folder, o.url)
	}})
}

// coldPulls makes a subject of a proxy: clients that pull an image at once, through an empty store.
func (b *bench) coldPulls(p proxy, o *origin, r repository, clients int) subject {
	return subject{p.name, nil, func(ctx context.Context) (sample, error) {
		t := o.target
		if p.start != nil {
			folder, err := b.newFolder()
			if err != nil {
				return sample{}, err
			}
			if t, err = b.keep(p.start(ctx, folder)); err != nil {
				return sample{}, err
			}
			defer b.drop(t)
		}
		if _, err := o.counters(ctx); err != nil {
			return sample{}, err
		}
		writtenBefore := t.written()
		before, err := t.cpu()
		if err != nil {
			return sample{}, err
		}
		profiled := b.record(ctx, t.process, p.name, 3)
		size := float64(r.images[0].size())
		all := make([]pulled, clients)
		err = parallel(ctx, clients, clients, func() (func(context.Context, int) error, func(), error) {
			client := newClient()
			return func(ctx context.Context, i int) (err error) {
				all[i], err = puller{client, t.base(r.name), ""}.image(ctx, r.images[0])
				return err
			}, client.CloseIdleConnections, nil
		})
		after, errAfter := t.cpu()
		got, errAsked := o.counters(ctx)
		if err := errors.Join(err, errAfter, errAsked, <-profiled); err != nil {
			return sample{}, err
		}
		var firsts []float64
		s := sample{cpu: milliseconds(after - before), rss: t.peak(), asked: float64(got.requests), fetched: float64(got.bytes) / size}
		for _, one := range all {
			s.seconds = max(s.seconds, one.seconds)
			firsts = append(firsts, one.firstBig)
		}
		s.p50, s.p99 = median(firsts), slices.Max(firsts)
		s.written = (t.written() - writtenBefore) / (size / 1e6)
		return s, nil
	}}
}

var pullColumns = []string{
	"clients", "way", "s", "x direct", "first big byte ms", "upstream requests", "upstream bytes/image", "CPU s", "peak MB", "written/image",
}

func (s *section) pull(clients int, name string, one, direct sample) {
	s.lines = append(s.lines, []string{
		fmt.Sprint(clients), name, fmt.Sprintf("%.2f", one.seconds), fmt.Sprintf("%.2f", one.seconds/direct.seconds), fmt.Sprintf("%.0f", one.p50),
		fmt.Sprintf("%.0f", one.asked), fmt.Sprintf("%.3f", one.fetched), fmt.Sprintf("%.2f", one.cpu/1000), fmt.Sprintf("%.0f", one.rss),
		fmt.Sprintf("%.3f", one.written),
	})
}

// far starts an upstream on the internet that has an image.
func (b *bench) far(ctx context.Context, r repository) (*origin, error) {
	if err := b.plant(r); err != nil {
		return nil, err
	}
	o, err := b.newOrigin(ctx)
	if err != nil {
		return nil, err
	}
	if err := once(ctx, o.process, append(requests("GET", o.target, "", r, byDigest), everyBlob(o.target, r)...)); err != nil { // into its memory
		return nil, err
	}
	return o, o.behave(ctx, farUpstream)
}

func everyBlob(t *target, r repository) (out []request) {
	for n := range r.images[0].blobs {
		out = append(out, requests("GET", t, "", r, blobAt(n))...)
	}
	return out
}

// cold measures a first pull of 210 MB, by one client.
func cold(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Cold pull of an image of 210 MB, upstream at 50 ms and 100 MB/s", columns: pullColumns}
	o, err := b.far(ctx, b.medium())
	if err != nil {
		return s, err
	}
	defer b.drop(o.target)
	var subjects []subject
	for _, p := range b.proxies(o) {
		subjects = append(subjects, b.coldPulls(p, o, b.medium(), 1))
	}
	got, err := b.compare(ctx, min(b.rounds, 3), subjects)
	if err != nil {
		return s, err
	}
	for _, one := range subjects {
		s.pull(1, one.name, got[one.name], got["direct"])
	}
	ours, direct := got["weir"], got["direct"]
	s.goals = append(s.goals,
		worst("cold pull: time", "direct", got, func(s sample) float64 { return s.seconds }, 1.05),
		goal{what: "cold pull: upstream requests", got: ours.asked, limit: direct.asked, count: true},
		goal{what: "cold pull: bytes written / image", got: ours.written, limit: b.writtenOnce(), count: true})
	return s, nil
}

// writtenOnce is the limit of what is written for an image that is written once: its bytes, and two megabytes of rows. With little data
// that would be close; there it is enough to tell once from twice.
func (b *bench) writtenOnce() float64 {
	if b.short {
		return 1.5
	}
	return 1 + 2<<20/float64(b.medium().images[0].size())
}

// herd measures 20 clients that ask for the same cold image at once.
func herd(ctx context.Context, b *bench) (section, error) {
	s := section{title: "20 clients at once, the same cold image of 210 MB, upstream at 50 ms and 100 MB/s", columns: pullColumns}
	o, err := b.far(ctx, b.medium())
	if err != nil {
		return s, err
	}
	defer b.drop(o.target)
	const clients = 20
	subjects := []subject{b.coldPulls(proxy{name: "direct"}, o, b.medium(), 1), b.coldPulls(b.weirProxy(o, "24h"), o, b.medium(), clients)}
	got, err := b.compare(ctx, min(b.rounds, 3), subjects)
	if err != nil {
		return s, err
	}
	s.pull(1, "direct", got["direct"], got["direct"])
	s.pull(clients, "weir", got["weir"], got["direct"])
	s.goals = append(s.goals,
		worst("herd of 20: time against one client", "direct", got, func(s sample) float64 { return s.seconds }, 1.15),
		goal{what: "herd of 20: upstream bytes / image", got: got["weir"].fetched, limit: 1.001, count: true},
		goal{what: "herd of 20: upstream requests", got: got["weir"].asked, limit: got["direct"].asked})
	return s, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// receiver is a server that takes pushes, started anew on an empty folder for each measurement.
type receiver struct {
	name  string
	start func(ctx context.Context, folder string) (*target, error)
}

// receivers returns those that can be started here.
func (b *bench) receivers(sinks ...string) []receiver {
	var out []receiver
	for _, role := range sinks {
		out = append(out, receiver{role, func(ctx context.Context, folder string) (*target, error) {
			t, _, err := startFloor(ctx, folder, role, folder)
			return t, err
		}})
	}
	out = append(out, receiver{"weir", func(ctx context.Context, folder string) (*target, error) {
		return startWeir(ctx, b.weir, folder, "", "24h")
	}})
	binary := findDistribution()
	if binary == "" {
		b.note("without distribution (a binary named registry, see test/tools.sh): %v", errMissing)
		return out
	}
	return append(out, receiver{"distribution", func(ctx context.Context, folder string) (*target, error) {
		return startDistribution(ctx, binary, folder, "")
	}})
}

// pushes makes a subject of a receiver: a number of images pushed, some at a time, to an empty server.
func (b *bench) pushes(r receiver, images []repository, atOnce int, h how) subject {
	var size int64
	for _, one := range images {
		size += one.images[0].size()
	}
	return subject{r.name, nil, func(ctx context.Context) (sample, error) {
		folder, err := b.newFolder()
		if err != nil {
			return sample{}, err
		}
		t, err := b.keep(r.start(ctx, folder))
		if err != nil {
			return sample{}, err
		}
		defer b.drop(t)
		login := make([]string, len(images))
		for i, one := range images {
			if login[i], err = t.authorization(ctx, one.name, "pull,push"); err != nil {
				return sample{}, err
			}
		}
		client := newClient()
		defer client.CloseIdleConnections()
		writtenBefore := t.written()
		before, err := t.cpu()
		if err != nil {
			return sample{}, err
		}
		recorded := b.record(ctx, t.process, r.name+" "+string(h), 1)
		latencies := make([]float64, len(images))
		began := time.Now()
		err = parallel(ctx, atOnce, len(images), func() (func(context.Context, int) error, func(), error) {
			return func(ctx context.Context, i int) error {
				began := time.Now()
				defer func() { latencies[i] = milliseconds(time.Since(began)) }()
				return pusher{client, t.base(images[i].name), login[i], h}.image(ctx, images[i].images[0])
			}, func() {}, nil
		})
		took := time.Since(began)
		after, errAfter := t.cpu()
		if err := errors.Join(err, errAfter, <-recorded); err != nil {
			return sample{}, err
		}
		n := float64(len(images))
		return sample{
			rate: n / took.Seconds(), seconds: took.Seconds(), cpu: milliseconds(after-before) / n, cpuGB: (after - before).Seconds() / (float64(size) / 1e9),
			p50: median(latencies), p99: slices.Max(latencies), rss: t.peak(), mbps: float64(size) / 1e6 / took.Seconds(),
			written: (t.written() - writtenBefore) / (float64(size) / 1e6),
		}, nil
	}}
}

var pushColumns = []string{"push", "server", "images/s", "median s", "best s", "p50 ms", "CPU ms/image", "CPU s/GB", "peak MB", "written/pushed"}

// pushSmall measures small images, eight at a time.
func pushSmall(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Push of images of 3 layers of 100 KB, 8 at a time", columns: pushColumns}
	count := 60
	if b.short {
		count = 4
	}
	var images []repository
	for i := range count {
		images = append(images, small("push/"+strconv.Itoa(i)))
	}
	var subjects []subject
	for _, r := range b.receivers("sink", "sink+fsync") {
		subjects = append(subjects, b.pushes(r, images, 8, mono))
	}
	got, best, err := b.comparePushes(ctx, subjects)
	if err != nil {
		return s, err
	}
	s.pushes("small", subjects, got, best)
	s.goals = append(s.goals, least("push of small images, 8 at a time: rate", "sink+fsync", got, func(s sample) float64 { return s.rate }, 0.8))
	return s, nil
}

// pushMedium measures an image of 210 MB, sent in three ways.
func pushMedium(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Push of an image of 210 MB, 3 blobs at a time", columns: pushColumns}
	var peak, written float64
	for _, h := range []how{mono, stream, chunked} {
		var subjects []subject
		for _, r := range b.receivers("sink+fsync") {
			subjects = append(subjects, b.pushes(r, []repository{b.medium()}, 1, h))
		}
		got, best, err := b.comparePushes(ctx, subjects)
		if err != nil {
			return s, err
		}
		s.pushes(string(h), subjects, got, best)
		peak, written = max(peak, got["weir"].rss), max(written, got["weir"].written)
		s.goals = append(s.goals, worst("push of 210 MB, "+string(h)+": best time", "sink+fsync", best, func(s sample) float64 { return s.seconds }, 1.2))
	}
	s.goals = append(s.goals,
		goal{what: "push of 210 MB: bytes written / pushed", got: written, limit: b.writtenOnce(), count: true},
		goal{what: "push of 210 MB: peak memory", unit: " MB", got: peak, limit: 60})
	return s, nil
}

// comparePushes returns medians and, because a disk's moods come on top, the best times.
func (b *bench) comparePushes(ctx context.Context, subjects []subject) (got, best map[string]sample, err error) {
	best = map[string]sample{}
	for i, s := range subjects {
		subjects[i].run = func(ctx context.Context) (sample, error) {
			one, err := s.run(ctx)
			if b, ok := best[s.name]; err == nil && (!ok || one.seconds < b.seconds) {
				best[s.name] = one
			}
			return one, err
		}
	}
	got, err = b.compare(ctx, b.rounds, subjects)
	return got, maps.Clone(best), err
}

func (s *section) pushes(what string, subjects []subject, got, best map[string]sample) {
	for _, one := range subjects {
		g := got[one.name]
		s.lines = append(s.lines, []string{
			what, one.name, fmt.Sprintf("%.1f", g.rate), fmt.Sprintf("%.3f", g.seconds), fmt.Sprintf("%.3f", best[one.name].seconds),
			fmt.Sprintf("%.1f", g.p50), fmt.Sprintf("%.2f", g.cpu), fmt.Sprintf("%.2f", g.cpuGB), fmt.Sprintf("%.0f", g.rss), fmt.Sprintf("%.3f", g.written),
		})
	}
}

// pushTags measures 10,000 manifests with a tag each into one repository, four at a time.
func pushTags(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Push of 10,000 tags into one repository, 4 at a time", columns: []string{"server", "tags/s", "first tenth/s", "last tenth/s", "CPU ms/tag"}}
	t, err := b.server(ctx)
	if err != nil {
		return s, err
	}
	ours, err := b.seed(ctx, t, b.tagged())
	if err != nil {
		return s, err
	}
	s.pace("weir", ours)
	s.goals = append(s.goals, goal{
		what: "push of 10,000 tags: rate of the last tenth", against: "the first tenth", got: ours.last / ours.first, limit: 0.9, atLeast: true,
		measured: fmt.Sprintf("%.0f/s", ours.last),
	})
	other := goal{what: "push of 10,000 tags: rate", against: "distribution", limit: 3, atLeast: true, missing: true}
	if _, theirs, err := b.seededDistribution(ctx, b.tagged()); err != nil {
		b.note("without distribution: %v", err)
	} else {
		s.pace("distribution", theirs)
		other.missing, other.got, other.measured = false, ours.rate/theirs.rate, fmt.Sprintf("%.0f/s", ours.rate)
	}
	s.goals = append(s.goals, other)
	return s, nil
}

func (s *section) pace(name string, p seeding) {
	s.lines = append(s.lines, []string{
		name, fmt.Sprintf("%.0f", p.rate), fmt.Sprintf("%.0f", p.first), fmt.Sprintf("%.0f", p.last), fmt.Sprintf("%.2f", p.cpu),
	})
}

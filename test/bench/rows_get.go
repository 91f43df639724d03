package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const connections = 16

// manifests measures GET and HEAD of manifests by tag and by digest in the repository of 1,000 tags.
func manifests(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Manifests, repository of 1,000 tags, 16 connections", columns: readColumns}
	readers, err := b.readers(ctx, b.many(), which{nginx: true, cache: true, distribution: true})
	if err != nil {
		return s, err
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, by := range []struct {
			name string
			sel  selection
		}{{"by tag", byTag}, {"by digest", byDigest}} {
			what := method + " " + by.name
			got, err := b.compareReads(ctx, readers, method, b.many(), by.sel, connections)
			if err != nil {
				return s, err
			}
			s.reads(what, readers, got)
			s.goals = append(s.goals,
				worst(what+": CPU", "gomem", got, func(s sample) float64 { return s.cpu }, 2),
				least(what+": rate", "distribution", got, func(s sample) float64 { return s.rate }, 5))
		}
	}
	return s, nil
}

// tenThousand measures the growth from one tag to 10,000.
func tenThousand(ctx context.Context, b *bench) (section, error) {
	s := section{title: "GET by tag: a repository of 10,000 tags beside one of a single tag, 16 connections", columns: readColumns}
	var subjects []subject
	for _, r := range []repository{b.single(), b.tagged()} {
		readers, err := b.ours(ctx, r, false)
		if err != nil {
			return s, err
		}
		for i := range readers {
			readers[i].name += fmt.Sprintf(", %d tags", len(r.images))
		}
		more, err := b.reads(ctx, readers, http.MethodGet, r, byTag, connections)
		if err != nil {
			return s, err
		}
		subjects = append(subjects, more...)
	}
	got, err := b.compare(ctx, b.rounds, subjects)
	if err != nil {
		return s, err
	}
	for _, one := range subjects {
		s.read("GET by tag", one.name, got[one.name], got)
	}
	for _, kind := range []string{"weir hosted", "weir hosted, token"} {
		many, single := got[fmt.Sprintf("%s, %d tags", kind, len(b.tagged().images))], got[kind+", 1 tags"]
		s.goals = append(s.goals, goal{
			what: "GET by tag of 10,000: CPU, " + strings.TrimPrefix(kind, "weir "), against: "one tag", got: many.cpu / single.cpu, limit: 1.15,
			measured: fmt.Sprintf("%.4f ms", many.cpu),
		})
	}
	return s, nil
}

// smallBlobs measures GET of configurations (600 B) and of layers of 100 KB.
func smallBlobs(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Small blobs, 16 connections", columns: readColumns}
	readers, err := b.readers(ctx, b.many(), which{nginx: true, cache: true, distribution: true})
	if err != nil {
		return s, err
	}
	for position, what := range []string{"600 B", "100 KB"} {
		for _, r := range readers {
			if strings.Contains(r.name, "cached") { // the cache must have them first
				if err := once(ctx, r.t.process, requests(http.MethodGet, r.t, r.token, b.many(), blobAt(position))); err != nil {
					return s, err
				}
			}
		}
		got, err := b.compareReads(ctx, readers, http.MethodGet, b.many(), blobAt(position), connections)
		if err != nil {
			return s, err
		}
		s.reads("blob of "+what, readers, got)
		s.goals = append(s.goals, worst("blob of "+what+": CPU", "nginx", got, func(s sample) float64 { return s.cpu }, 3))
	}
	return s, nil
}

// largeBlob measures GET of a blob of 100 MB.
func largeBlob(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Blob of 100 MB", columns: readColumns}
	readers, err := b.readers(ctx, b.medium(), which{nginx: true, cache: true, distribution: true})
	if err != nil {
		return s, err
	}
	last := blobAt(len(b.medium().images[0].blobs) - 1)
	for _, c := range []int{1, 4} {
		got, err := b.compareReads(ctx, readers, http.MethodGet, b.medium(), last, c)
		if err != nil {
			return s, err
		}
		what := fmt.Sprintf("100 MB, %d at a time", c)
		s.reads(what, readers, got)
		s.goals = append(s.goals, least(what+": MB/s", "nginx", got, func(s sample) float64 { return s.mbps }, 0.95))
	}
	return s, nil
}

// tagPages measures pages of a hundred tags out of 10,000.
func tagPages(ctx context.Context, b *bench) (section, error) {
	s := section{title: "tags/list?n=100 of 10,000, one connection", columns: readColumns}
	r := b.tagged()
	readers, err := b.ours(ctx, r, false)
	if err != nil {
		return s, err
	}
	if t, _, err := b.seededDistribution(ctx, r); err != nil {
		b.note("without distribution: %v", err)
	} else {
		readers = append(readers, reader{name: "distribution", t: t})
	}
	var subjects []subject
	for _, reader := range readers {
		var pages []request
		for first := 99; first+100 < len(r.images); first += 100 {
			url := reader.t.base(r.name) + "/tags/list?n=100&last=" + r.images[first].tags[0]
			if err := rightPage(ctx, url, reader.token, r.images[first+1:first+101]); err != nil {
				return s, err
			}
			page := newRequest(http.MethodGet, url, reader.token, content{})
			page.size = -1
			pages = append(pages, page)
		}
		l := load{1, b.each, pages}
		subjects = append(subjects, subject{reader.name, reader.t, func(ctx context.Context) (sample, error) { return l.run(ctx, reader.t.process) }})
	}
	got, err := b.compare(ctx, b.rounds, subjects)
	if err != nil {
		return s, err
	}
	s.reads("tags/list?n=100", readers, got)
	for _, kind := range []string{"weir hosted", "weir hosted, token"} {
		s.goals = append(s.goals, goal{
			what: "tags/list?n=100 of 10,000: CPU, " + strings.TrimPrefix(kind, "weir "), unit: " ms", got: got[kind].cpu, limit: 0.3,
		})
	}
	return s, nil
}

// rightPage checks that a page holds the tags of the images.
func rightPage(ctx context.Context, url, token string, images []image) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var page struct{ Tags []string }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		return fmt.Errorf("%s: %s: %w", url, resp.Status, err)
	}
	for i, image := range images {
		if len(page.Tags) != len(images) || page.Tags[i] != image.tags[0] {
			return fmt.Errorf("%s: %d tags, not those from %s on", url, len(page.Tags), images[0].tags[0])
		}
	}
	return nil
}

// reads makes subjects of readers; each has sent every request once by then.
func (b *bench) reads(ctx context.Context, readers []reader, method string, r repository, sel selection, c int) ([]subject, error) {
	var subjects []subject
	for _, reader := range readers {
		l := load{c, b.each, requests(method, reader.t, reader.token, r, sel)}
		if err := once(ctx, reader.t.process, l.requests); err != nil {
			return nil, fmt.Errorf("%s: %w", reader.name, err)
		}
		subjects = append(subjects, subject{reader.name, reader.t, func(ctx context.Context) (sample, error) { return l.run(ctx, reader.t.process) }})
	}
	return subjects, nil
}

func (b *bench) compareReads(ctx context.Context, readers []reader, method string, r repository, sel selection, c int) (map[string]sample, error) {
	subjects, err := b.reads(ctx, readers, method, r, sel, c)
	if err != nil {
		return nil, err
	}
	return b.compare(ctx, b.rounds, subjects)
}

var readColumns = []string{"request", "server", "req/s", "MB/s", "p50 ms", "p99 ms", "CPU ms", "x gomem", "x nginx"}

func (s *section) reads(what string, readers []reader, got map[string]sample) {
	for _, r := range readers {
		s.read(what, r.name, got[r.name], got)
	}
}

func (s *section) read(what, name string, one sample, got map[string]sample) {
	over := func(floor string) string {
		if f, ok := got[floor]; ok && f.cpu > 0 {
			return fmt.Sprintf("%.2f", one.cpu/f.cpu)
		}
		return ""
	}
	s.lines = append(s.lines, []string{
		what, name, fmt.Sprintf("%.0f", one.rate), fmt.Sprintf("%.0f", one.mbps), fmt.Sprintf("%.2f", one.p50), fmt.Sprintf("%.2f", one.p99),
		fmt.Sprintf("%.4f", one.cpu), over("gomem"), over("nginx"),
	})
}

// worst is the goal that none of our servers has more than limit times the floor's figure, least that none has less.
func worst(what, floor string, got map[string]sample, figure func(sample) float64, limit float64) goal {
	return extreme(goal{what: what, against: floor, limit: limit}, got, figure)
}

func least(what, floor string, got map[string]sample, figure func(sample) float64, limit float64) goal {
	return extreme(goal{what: what, against: floor, limit: limit, atLeast: true}, got, figure)
}

func extreme(g goal, got map[string]sample, figure func(sample) float64) goal {
	floor, ok := got[g.against]
	if !ok || figure(floor) == 0 {
		g.missing = true
		return g
	}
	var names []string
	for name := range got {
		if strings.HasPrefix(name, "weir") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		less := figure(got[a]) < figure(got[b])
		if less == g.atLeast {
			return -1
		}
		return 1
	})
	g.got = figure(got[names[0]]) / figure(floor)
	g.measured = fmt.Sprintf("%.4g (%s)", figure(got[names[0]]), strings.TrimPrefix(names[0], "weir "))
	return g
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// seeding is how a server was given a repository.
type seeding struct {
	rate, first, last float64 // images a second: all, the first tenth, the last tenth
	cpu               float64 // milliseconds for each image
	err               error
}

// plant puts a repository into the tree that nginx, memory and, through the upstream, caches answer from.
func (b *bench) plant(r repository) error {
	if b.written[r.name] {
		return nil
	}
	b.written[r.name] = true
	return writeTree(b.tree, r)
}

// seedLimit bounds the push of a repository, so that a disk with other things to do does not take the time of all rows.
const seedLimit = 100 * time.Second

// seed pushes a repository to a server, once: a push that has failed is not tried again by the rows that follow.
func (b *bench) seed(ctx context.Context, t *target, r repository) (seeding, error) {
	key := t.name + " " + t.prefix + r.name
	s, ok := b.seeded[key]
	if !ok {
		s = new(seeding)
		ctx, cancel := context.WithTimeoutCause(ctx, seedLimit, fmt.Errorf("%s has not taken %s in %v", t.name, r.name, seedLimit))
		defer cancel()
		s.err = s.push(ctx, t, r)
		b.seeded[key] = s
	}
	return *s, s.err
}

// push does so as a client would: shared blobs first, then four images at a time.
func (s *seeding) push(ctx context.Context, t *target, r repository) error {
	login, err := t.authorization(ctx, r.name, "pull,push")
	if err != nil {
		return err
	}
	client := newClient()
	defer client.CloseIdleConnections()
	p := pusher{client, t.base(r.name), login, mono}
	if err := p.image(ctx, r.images[0]); err != nil {
		return err
	}
	held := map[string]bool{}
	for _, c := range r.images[0].blobs {
		held[c.digest] = true
	}
	ended := make([]time.Time, len(r.images))
	before, err := t.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	err = parallel(ctx, 4, len(r.images), func() (func(context.Context, int) error, func(), error) {
		return func(ctx context.Context, n int) error {
			i := image{tags: r.images[n].tags, manifest: r.images[n].manifest}
			for _, c := range r.images[n].blobs {
				if !held[c.digest] {
					i.blobs = append(i.blobs, c)
				}
			}
			err := p.image(ctx, i)
			ended[n] = time.Now()
			return err
		}, func() {}, nil
	})
	if err != nil {
		return err
	}
	after, err := t.cpu()
	*s = paces(began, ended)
	s.cpu = milliseconds(after-before) / float64(len(ended))
	return err
}

func paces(began time.Time, ended []time.Time) seeding {
	slices.SortFunc(ended, time.Time.Compare)
	n := len(ended)
	tenth := max(1, n/10)
	first, last := ended[tenth-1], ended[n-1]
	return seeding{
		rate:  float64(n) / last.Sub(began).Seconds(),
		first: float64(tenth) / first.Sub(began).Seconds(),
		last:  float64(tenth) / last.Sub(ended[n-1-min(tenth, n-1)]).Seconds(),
	}
}

// reader is a server that holds a repository, as a certain client sees it.
type reader struct {
	name  string
	t     *target
	token string // an Authorization header
}

// which servers a comparison of reads takes in.
type which struct{ nginx, cache, distribution bool }

// readers returns the servers that answer reads of a repository, each with the content in place.
func (b *bench) readers(ctx context.Context, r repository, w which) ([]reader, error) {
	if err := b.plant(r); err != nil {
		return nil, err
	}
	memory, err := b.memory(ctx)
	if err != nil {
		return nil, err
	}
	out := []reader{{name: "gomem", t: memory}}
	if w.nginx {
		if t, err := b.nginx(ctx); err != nil {
			b.note("without nginx: %v", err)
		} else {
			out = append(out, reader{name: "nginx", t: t})
		}
	}
	if w.distribution {
		if t, _, err := b.seededDistribution(ctx, r); err != nil {
			b.note("without distribution: %v", err)
		} else {
			out = append(out, reader{name: "distribution", t: t})
		}
	}
	ours, err := b.ours(ctx, r, w.cache)
	return append(out, ours...), err
}

// seededDistribution is distribution with a repository. Whoever compares goes on without it if it cannot be had.
func (b *bench) seededDistribution(ctx context.Context, r repository) (*target, seeding, error) {
	t, err := b.distribution(ctx)
	if err != nil {
		return nil, seeding{}, err
	}
	s, err := b.seed(ctx, t, r)
	return t, s, err
}

// ours is our server as an anonymous client and one with a token see it, as a host and, if asked, as a cache.
func (b *bench) ours(ctx context.Context, r repository, cache bool) ([]reader, error) {
	t, err := b.server(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := b.seed(ctx, t, r); err != nil {
		return nil, err
	}
	names := map[string]*target{"hosted": t}
	if cache {
		names["cached"] = t.at(cachePrefix, t.login)
		if err := once(ctx, t.process, requests(http.MethodGet, names["cached"], "", r, byTag)); err != nil {
			return nil, err
		}
	}
	var out []reader
	for _, kind := range []string{"hosted", "cached"} {
		t, ok := names[kind]
		if !ok {
			continue
		}
		token, err := t.authorization(ctx, r.name, "pull")
		if err != nil {
			return nil, err
		}
		out = append(out, reader{"weir " + kind, t, ""}, reader{"weir " + kind + ", token", t, token})
	}
	return out, nil
}

// selection says what of a repository is asked for.
type selection func(image) (paths []string, contents []content)

func byTag(i image) (paths []string, contents []content) {
	for _, tag := range i.tags {
		paths, contents = append(paths, "/manifests/"+tag), append(contents, i.manifest)
	}
	return paths, contents
}

func byDigest(i image) ([]string, []content) {
	return []string{"/manifests/" + i.manifest.digest}, []content{i.manifest}
}

// blobAt selects the blob at a position of each image, 0 being the configuration.
func blobAt(position int) selection {
	return func(i image) ([]string, []content) {
		c := i.blobs[position]
		return []string{"/blobs/" + c.digest}, []content{c}
	}
}

// requests are ready-made requests for what a selection takes from a repository.
func requests(method string, t *target, token string, r repository, s selection) (out []request) {
	for _, i := range r.images {
		paths, contents := s(i)
		for n, path := range paths {
			out = append(out, newRequest(method, t.base(r.name)+path, token, contents[n]))
		}
	}
	return out
}

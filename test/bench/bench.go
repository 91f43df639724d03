package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type options struct {
	rows                          []string
	weir, dir, profiles, document string
	rounds                        int
	each, limit                   time.Duration
	short                         bool
	command                       string // that runs this, for the report
}

// bench is one run: its folder, the servers that rows share, and what has been found so far.
type bench struct {
	options
	folder  string
	tree    string // files for nginx and memory
	running []*process
	shared  map[string]*target
	seeded  map[string]*seeding
	written map[string]bool // repositories in the tree
	folders int

	small, medium, many, tagged, single func() repository

	row   string
	peaks map[string]float64 // row → highest memory of our server, MB
	notes []string           // what was left out, and why
}

func newBench(o options) (*bench, error) {
	for _, err := range []error{absolute(&o.weir), absolute(&o.profiles)} {
		if err != nil {
			return nil, err
		}
	}
	folder, err := os.MkdirTemp(o.dir, "weir-bench-")
	if err != nil {
		return nil, err
	}
	scale := func(full, short int) int {
		if o.short {
			return short
		}
		return full
	}
	b := &bench{
		options: o, folder: folder, tree: filepath.Join(folder, "tree"), peaks: map[string]float64{},
		shared: map[string]*target{}, seeded: map[string]*seeding{}, written: map[string]bool{},
		small:  sync.OnceValue(func() repository { return small("small") }),
		medium: sync.OnceValue(func() repository { return medium(scale(1, 20)) }),
		many:   sync.OnceValue(func() repository { return many(scale(200, 6)) }),
		tagged: sync.OnceValue(func() repository { return tagged(scale(10_000, 200)) }),
		single: sync.OnceValue(func() repository { return tagged(1) }),
	}
	if o.short {
		b.rounds, b.each = 1, 20*time.Millisecond
	}
	return b, os.Mkdir(b.tree, 0o755)
}

func absolute(path *string) (err error) {
	if *path != "" {
		*path, err = filepath.Abs(*path)
	}
	return err
}

// close stops every server and removes everything that was written.
func (b *bench) close() error {
	for _, p := range slices.Backward(b.running) {
		p.stop()
	}
	return os.RemoveAll(b.folder)
}

// newFolder makes a folder for a server.
func (b *bench) newFolder() (string, error) {
	b.folders++
	dir := filepath.Join(b.folder, strconv.Itoa(b.folders))
	return dir, os.Mkdir(dir, 0o755)
}

// keep remembers a server, to be stopped at the end of the run.
func (b *bench) keep(t *target, err error) (*target, error) {
	if err == nil {
		b.running = append(b.running, t.process)
	}
	return t, err
}

// drop stops a server that served one measurement, notes its memory and removes its folder.
func (b *bench) drop(t *target) {
	if t == nil {
		return
	}
	b.notePeak(t.process)
	t.stop()
	b.running = slices.DeleteFunc(b.running, func(p *process) bool { return p == t.process })
	if t.folder != b.tree {
		_ = os.RemoveAll(t.folder) // close tries again
	}
}

func (b *bench) notePeak(p *process) {
	if p.name == "weir" {
		b.peaks[b.row] = max(b.peaks[b.row], p.peak())
	}
}

// share starts a server that rows share, at its first use.
func (b *bench) share(name string, start func(folder string) (*target, error)) (*target, error) {
	if t, ok := b.shared[name]; ok {
		return t, nil
	}
	folder, err := b.newFolder()
	if err != nil {
		return nil, err
	}
	t, err := b.keep(start(folder))
	if err == nil {
		b.shared[name] = t
	}
	return t, err
}

// errMissing tells that a program to compare with is not installed.
var errMissing = errors.New("not installed")

func (b *bench) memory(ctx context.Context) (*target, error) {
	return b.share("gomem", func(folder string) (*target, error) {
		t, _, err := startFloor(ctx, folder, "memory", b.tree)
		return t, err
	})
}

func (b *bench) server(ctx context.Context) (*target, error) {
	origin, err := b.memory(ctx)
	if err != nil {
		return nil, err
	}
	return b.share("weir", func(folder string) (*target, error) {
		return startWeir(ctx, b.weir, folder, origin.url, "24h")
	})
}

func (b *bench) nginx(ctx context.Context) (*target, error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, fmt.Errorf("nginx: %w", errMissing)
		}
	}
	return b.share("nginx", func(folder string) (*target, error) { return startNginx(ctx, binary, folder, b.tree) })
}

func (b *bench) distribution(ctx context.Context) (*target, error) {
	binary := findDistribution()
	if binary == "" {
		return nil, fmt.Errorf("distribution (a binary named registry, see test/tools.sh): %w", errMissing)
	}
	return b.share("distribution", func(folder string) (*target, error) {
		return startDistribution(ctx, binary, folder, "")
	})
}

// note is printed at once and stands in the report.
func (b *bench) note(format string, args ...any) {
	text := b.row + ": " + fmt.Sprintf(format, args...)
	if !slices.Contains(b.notes, text) {
		b.notes = append(b.notes, text)
		fmt.Fprintln(os.Stderr, "NOTE "+text)
	}
}

// subject is one of several that are compared.
type subject struct {
	name string
	on   *target
	run  func(ctx context.Context) (sample, error)
}

// compare lets the subjects take turns, each round beginning with another one, and returns the median of each figure.
func (b *bench) compare(ctx context.Context, rounds int, subjects []subject) (map[string]sample, error) {
	all := map[string][]sample{}
	for round := range rounds {
		for i := range subjects {
			s := subjects[(i+round)%len(subjects)]
			got, err := s.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			all[s.name] = append(all[s.name], got)
		}
	}
	out := map[string]sample{}
	for name, samples := range all {
		out[name] = medians(samples)
	}
	return out, b.profile(ctx, subjects)
}

func (s *sample) fields() []*float64 {
	return []*float64{&s.rate, &s.cpu, &s.p50, &s.p99, &s.mbps, &s.cpuGB, &s.seconds, &s.rss, &s.written, &s.asked, &s.fetched}
}

func medians(samples []sample) (out sample) {
	for i, field := range out.fields() {
		var values []float64
		for _, s := range samples {
			values = append(values, *s.fields()[i])
		}
		*field = median(values)
	}
	return out
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// profile writes a CPU profile of our server for each subject that is it, apart from what is measured.
func (b *bench) profile(ctx context.Context, subjects []subject) error {
	if b.profiles == "" {
		return nil
	}
	for _, s := range subjects {
		if s.on == nil || s.on.ops == "" {
			continue // not ours, or new for each measurement: those record themselves
		}
		const seconds = 3
		done := b.record(ctx, s.on.process, s.name, seconds)
		for until := time.Now().Add(seconds * time.Second); time.Now().Before(until); {
			if _, err := s.run(ctx); err != nil {
				return errors.Join(err, <-done)
			}
		}
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// record begins a CPU profile of our server and returns where its end is told.
func (b *bench) record(ctx context.Context, p *process, name string, seconds int) <-chan error {
	done := make(chan error, 1)
	if b.profiles == "" || p.ops == "" {
		done <- nil
		return done
	}
	file := filepath.Join(b.profiles, strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(b.row+"-"+name)+".pprof")
	go func() {
		err := os.MkdirAll(b.profiles, 0o755)
		if err == nil {
			err = fetch(ctx, p.ops+"/debug/pprof/profile?seconds="+strconv.Itoa(seconds), file)
		}
		done <- err
	}()
	return done
}

// fetch writes what a URL answers into a file.
func fetch(ctx context.Context, url, file string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s, %w", url, resp.Status, err)
	}
	return os.WriteFile(file, body, 0o644)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/growth"
)

// starts makes a subject of starts of the server on a store: time to the first answer, and memory when it has settled.
func (b *bench) starts(name string, store func() (folder string, err error)) subject {
	return subject{name, nil, func(ctx context.Context) (sample, error) {
		folder, err := store()
		if err != nil {
			return sample{}, err
		}
		began := time.Now()
		p, err := launchWeir(ctx, b.weir, folder)
		if err != nil {
			return sample{}, err
		}
		seconds := time.Since(began).Seconds()
		defer p.stop()
		defer b.notePeak(p)
		time.Sleep(time.Second) // what a start leaves to be done is done by then
		return sample{seconds: seconds, p50: p.resident(), rss: p.peak()}, nil
	}}
}

// start measures a server that starts: on nothing, and on a store of 100,000 manifests.
func start(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Start", columns: []string{"store", "first answer s", "memory MB", "highest MB"}}
	const empty, large = "empty", "100,000 manifests"
	subjects := []subject{b.starts(empty, b.newFolder)}
	grown, err := b.grown(ctx)
	switch {
	case err == nil:
		subjects = append(subjects, b.starts(large, func() (string, error) { return grown, nil }))
	case errors.Is(err, errSlow):
		b.note("without the store of 100,000 manifests: %v", err)
	default:
		return s, err
	}
	got, err := b.compare(ctx, min(b.rounds, 3), subjects)
	if err != nil {
		return s, err
	}
	for _, one := range subjects {
		w := got[one.name]
		s.lines = append(s.lines, []string{one.name, fmt.Sprintf("%.2f", w.seconds), fmt.Sprintf("%.0f", w.p50), fmt.Sprintf("%.0f", w.rss)})
		s.goals = append(s.goals, goal{what: "start, " + one.name + ": first answer", unit: " s", got: w.seconds, limit: 1})
	}
	s.goals = append(s.goals, goal{what: "start, " + empty + ": memory a second later", unit: " MB", got: got[empty].p50, limit: 40})
	return s, nil
}

var errSlow = errors.New("it was not made in two and a half minutes")

// grown makes a store of 100,000 manifests, in which the server has been once: a first start makes keys and the administrator.
func (b *bench) grown(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 150*time.Second, errSlow)
	defer cancel()
	folder, err := b.newFolder()
	if err != nil {
		return "", err
	}
	data := filepath.Join(folder, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return "", err
	}
	db, err := meta.Open(ctx, meta.Options{Engine: meta.SQLite, Path: filepath.Join(data, "weir.db")})
	if err != nil {
		return "", err
	}
	// With those in indexes, and signatures, they are 100,000 manifests.
	o := growth.Options{Artifacts: 71_500, Layers: 2, Seed: 1, Now: time.Now(), Progress: func(int, int) {}}
	if b.short {
		o.Artifacts = 100
	}
	_, err = growth.Generate(ctx, db, o)
	if err := errors.Join(err, db.Close()); err != nil {
		return "", errors.Join(err, context.Cause(ctx))
	}
	p, err := launchWeir(ctx, b.weir, folder)
	p.stop()
	return folder, err
}

// memoryPeaks reports the highest memory of our server in the rows before it.
func memoryPeaks(_ context.Context, b *bench) (section, error) {
	s := section{title: "Highest memory of the server in each row", columns: []string{"row", "highest MB"}}
	var highest float64
	var where string
	for _, r := range allRows() {
		peak, ok := b.peaks[r.name]
		if !ok {
			continue
		}
		s.lines = append(s.lines, []string{r.name, fmt.Sprintf("%.0f", peak)})
		if peak > highest {
			highest, where = peak, r.name
		}
	}
	if highest > 0 {
		s.goals = append(s.goals, goal{what: "peak memory in every row above (" + where + ")", unit: " MB", got: highest, limit: 100})
	}
	return s, nil
}

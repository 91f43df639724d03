package main

import (
	"context"
	"fmt"
	"time"
)

// start measures a new server: time to its first answer, and memory when it has settled.
func start(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Start with an empty store", columns: []string{"server", "first answer s", "memory MB", "highest MB"}}
	one := subject{"weir", nil, func(ctx context.Context) (sample, error) {
		folder, err := b.newFolder()
		if err != nil {
			return sample{}, err
		}
		began := time.Now()
		p, err := launchWeir(ctx, b.weir, folder)
		if err != nil {
			return sample{}, err
		}
		seconds := time.Since(began).Seconds()
		t, _ := b.keep(&target{process: p, folder: folder}, nil)
		defer b.drop(t)
		time.Sleep(time.Second) // what a start leaves to be done is done by then
		return sample{seconds: seconds, p50: t.resident(), rss: t.peak()}, nil
	}}
	got, err := b.compare(ctx, b.rounds, []subject{one})
	if err != nil {
		return s, err
	}
	w := got["weir"]
	s.lines = append(s.lines, []string{"weir", fmt.Sprintf("%.2f", w.seconds), fmt.Sprintf("%.0f", w.p50), fmt.Sprintf("%.0f", w.rss)})
	s.goals = append(s.goals,
		goal{what: "memory after start", unit: " MB", got: w.p50, limit: 40},
		goal{what: "start with an empty store", unit: " s", got: w.seconds, limit: 1})
	return s, nil
}

// memory reports the highest memory of our server in the rows before it.
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

package main

import (
	"context"
	"fmt"
	"net/http"
)

// audited measures what the audit trail of pulls costs: two servers of the same binary, one with it and one without, each answering
// the same GETs of cached manifests by tag in turn.
func audited(ctx context.Context, b *bench) (section, error) {
	s := section{title: "Audit of pulls on and off: GET of cached manifests by tag, 16 connections", columns: readColumns}
	origin, err := b.memory(ctx)
	if err != nil {
		return s, err
	}
	if err := b.plant(b.many()); err != nil {
		return s, err
	}
	var readers []reader
	for _, on := range []string{"true", "false"} {
		t, err := b.share("weir, audit "+on, func(folder string) (*target, error) {
			return startWeir(ctx, b.weir, folder, origin.url, "24h", "WEIR_AUDIT_PULLS="+on)
		})
		if err != nil {
			return s, err
		}
		readers = append(readers, reader{map[string]string{"true": "audit on", "false": "audit off"}[on], t.at(cachePrefix, t.login), ""})
	}
	subjects, err := b.reads(ctx, readers, http.MethodGet, b.many(), byTag, connections)
	if err != nil {
		return s, err
	}
	got, err := b.compare(ctx, b.rounds, subjects)
	if err != nil {
		return s, err
	}
	s.reads("GET by tag", readers, got)
	on, off := got["audit on"], got["audit off"]
	s.goals = append(s.goals,
		goal{what: "audit on: rate", against: "audit off", got: on.rate / off.rate, limit: .95, atLeast: true, measured: fmt.Sprintf("%.0f a second", on.rate)},
		goal{what: "audit on: CPU", against: "audit off", got: on.cpu / off.cpu, limit: 1.05, measured: fmt.Sprintf("%.4f ms", on.cpu)})
	return s, nil
}

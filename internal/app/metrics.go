package app

import (
	"time"

	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/telemetry"
)

// upstreamMetrics puts the upstream's name before what registry/upstream reports.
type upstreamMetrics struct {
	name string
	to   *telemetry.Upstream
}

// newUpstreamMetrics is for a new connection, which knows of no trouble.
func newUpstreamMetrics(name string, to *telemetry.Upstream) upstream.Metrics {
	to.Breaker(name, false)
	return upstreamMetrics{name, to}
}

func (m upstreamMetrics) Request(kind upstream.Kind, method string, status int, took time.Duration) {
	m.to.Request(m.name, method, status, took)
	if kind != upstream.KindToken {
		return
	}
	outcome := "error"
	switch {
	case status >= 200 && status < 300:
		outcome = "ok"
	case status == 401 || status == 403:
		outcome = "denied"
	}
	m.to.Token(m.name, outcome)
}

func (m upstreamMetrics) Budget(_, remaining int) { m.to.Budget(m.name, remaining) }

func (m upstreamMetrics) Breaker(_ string, open bool) { m.to.Breaker(m.name, open) }

// cacheMetrics is what registry/cache reports to.
type cacheMetrics struct{ *telemetry.Cache }

// collectorMetrics splits what the collector reports between the families of store and cache, and tells the budget.
type collectorMetrics struct {
	to     *telemetry.Metrics
	budget *budget
}

func (m collectorMetrics) Collected(kind string, n, bytes int64) {
	m.to.Store.Collected(kind, n, bytes)
}
func (m collectorMetrics) Evicted(bytes int64) { m.to.Cache.Evicted(bytes) }
func (m collectorMetrics) Usage(bytes, _ int64) {
	m.budget.measured(bytes)
	m.to.Cache.Usage(bytes, m.budget.limit)
}

package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Store is rows, bytes and their collection.
type Store struct {
	query      *prometheus.HistogramVec
	collected  *prometheus.CounterVec
	freed      prometheus.Counter
	rows       atomic.Pointer[Rows]
	operations *bound
}

func newStore(m *Metrics) *Store {
	s := &Store{
		query:      m.histogram("weir_store_query_duration_seconds", "Time of a database transaction, its wait included: write, snapshot or telemetry.", queryBuckets, "operation"),
		collected:  m.counter("weir_gc_collected_total", "Content collected: blob, manifest or link.", "kind"),
		freed:      m.counter("weir_gc_freed_bytes_total", "Bytes freed by the collector.").WithLabelValues(),
		operations: newBound(50),
	}
	of := func(value func(Rows) float64) func() float64 {
		return func() float64 {
			if rows := s.rows.Load(); rows != nil {
				return value(*rows)
			}
			return 0
		}
	}
	m.gaugeFunc("weir_store_change_lag_seconds", "Age of the change feed as this replica sees it.",
		of(func(r Rows) float64 { return r.Behind().Seconds() }))
	m.gaugeFunc("weir_store_writes_in_flight", "Database transactions that write, or wait for their turn to.",
		of(func(r Rows) float64 { return float64(r.Writing()) }))
	return s
}

// Query records one database transaction by its fixed name.
func (s *Store) Query(operation string, took time.Duration) {
	s.query.WithLabelValues(s.operations.of(operation)).Observe(took.Seconds())
}

// Rows is the database; *meta.DB is one.
type Rows interface {
	Behind() time.Duration
	Writing() int64
}

// Watch makes rows what the gauges read when they are scraped.
func (s *Store) Watch(rows Rows) { s.rows.Store(&rows) }

// Collected counts collected content and the bytes it freed.
func (s *Store) Collected(kind string, n, bytes int64) {
	s.collected.WithLabelValues(oneOf(kind, "blob", "manifest", "link")).Add(float64(max(0, n)))
	s.freed.Add(float64(max(0, bytes)))
}

// Work is the jobs that run later. It implements work.Metrics.
type Work struct {
	jobs  *prometheus.CounterVec
	took  *prometheus.HistogramVec
	kinds *bound
}

func newWork(m *Metrics) *Work {
	return &Work{
		jobs:  m.counter("weir_jobs_total", "Runs of background jobs, by outcome: done, failed, released (shutdown) or lost (the lease ran out).", "kind", "outcome"),
		took:  m.histogram("weir_job_duration_seconds", "Time of one run of a background job.", requestBuckets, "kind"),
		kinds: newBound(50),
	}
}

// JobDone counts one run.
func (w *Work) JobDone(kind, outcome string, took time.Duration) {
	kind = w.kinds.of(kind)
	w.jobs.WithLabelValues(kind, oneOf(outcome, "done", "failed", "released", "lost")).Inc()
	w.took.WithLabelValues(kind).Observe(took.Seconds())
}

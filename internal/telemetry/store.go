package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Store is rows, bytes and their collection.
type Store struct {
	query      *prometheus.HistogramVec
	queue      prometheus.Gauge
	batch      prometheus.Observer
	behind     prometheus.Gauge
	blobBytes  *prometheus.CounterVec
	candidates *prometheus.GaugeVec
	collected  *prometheus.CounterVec
	freed      prometheus.Counter
	dropped    *prometheus.CounterVec
	operations *bound
}

func newStore(m *Metrics) *Store {
	return &Store{
		query:      m.histogram("weir_store_query_duration_seconds", "Time of a database operation; for a write, the whole transaction with its wait.", queryBuckets, "operation"),
		queue:      m.gauge("weir_store_write_queue", "Writes waiting for the database's writer (SQLite).").WithLabelValues(),
		batch:      m.histogram("weir_store_write_batch", "Writes committed together (SQLite).", batchBuckets).WithLabelValues(),
		behind:     m.gauge("weir_store_change_lag_seconds", "Age of the change feed as this replica sees it.").WithLabelValues(),
		blobBytes:  m.counter("weir_store_blob_bytes_total", "Bytes moved between the server and the blob store: read or write.", "direction"),
		candidates: m.gauge("weir_gc_candidates", "Content that waits for the collector's decision: blob, manifest or link.", "kind"),
		collected:  m.counter("weir_gc_collected_total", "Content collected: blob, manifest or link.", "kind"),
		freed:      m.counter("weir_gc_freed_bytes_total", "Bytes freed by the collector.").WithLabelValues(),
		dropped:    m.counter("weir_store_dropped_total", "Batched bookkeeping dropped because its buffer was full: pull or token.", "kind"),
		operations: newBound(300),
	}
}

// Query records one database operation by its fixed name.
func (s *Store) Query(operation string, took time.Duration) {
	s.query.WithLabelValues(s.operations.of(operation)).Observe(took.Seconds())
}

// WriteQueue sets the number of waiting writes.
func (s *Store) WriteQueue(n int) { s.queue.Set(float64(n)) }

// WriteBatch records how many writes one commit carried.
func (s *Store) WriteBatch(n int) { s.batch.Observe(float64(n)) }

// Behind sets the age of the change feed.
func (s *Store) Behind(d time.Duration) { s.behind.Set(d.Seconds()) }

// BlobBytes counts bytes read from or written to the blob store.
func (s *Store) BlobBytes(direction string, n int64) {
	s.blobBytes.WithLabelValues(oneOf(direction, "read", "write")).Add(float64(max(0, n)))
}

// Candidates sets how much waits for the collector.
func (s *Store) Candidates(kind string, n int64) {
	s.candidates.WithLabelValues(knownContent(kind)).Set(float64(n))
}

// Collected counts collected content and the bytes it freed.
func (s *Store) Collected(kind string, n, bytes int64) {
	s.collected.WithLabelValues(knownContent(kind)).Add(float64(max(0, n)))
	s.freed.Add(float64(max(0, bytes)))
}

// Dropped counts bookkeeping that was dropped.
func (s *Store) Dropped(kind string, n int) {
	s.dropped.WithLabelValues(oneOf(kind, "pull", "token")).Add(float64(max(0, n)))
}

func knownContent(kind string) string { return oneOf(kind, "blob", "manifest", "link") }

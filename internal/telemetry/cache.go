package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Cache is what caching of upstreams saves and costs. It implements cache.Metrics, and the cache's half of gc.Metrics.
type Cache struct {
	answers     *prometheus.CounterVec
	checks      *prometheus.CounterVec
	fills       *prometheus.CounterVec
	fillBytes   *prometheus.CounterVec
	fillTime    *prometheus.HistogramVec
	resumes     *prometheus.CounterVec
	inFlight    *prometheus.GaugeVec
	passthrough *prometheus.CounterVec
	evicted     prometheus.Counter
	bytes       prometheus.Gauge
	budget      prometheus.Gauge
	upstreams   *bound
	answered    remembered[[3]string, prometheus.Counter]
}

func newCache(m *Metrics, upstreams *bound) *Cache {
	return &Cache{
		answers:     m.counter("weir_cache_answers_total", "Questions answered for one upstream. status is hit, stale, revalidated, miss, joined or pass for content, else absent, denied, unknown or forbidden; kind is manifest, blob, tags or referrers.", "upstream", "kind", "status"),
		checks:      m.counter("weir_cache_checks_total", "Checks of stale references with the upstream: confirmed, moved, absent, denied or unknown.", "upstream", "result"),
		fills:       m.counter("weir_cache_fills_total", "Transfers from an upstream into the store, by how they ended: stored, wrong (other bytes than named), failed, parked (until the next start) or detached (not kept).", "upstream", "result"),
		fillBytes:   m.counter("weir_cache_fill_bytes_total", "Bytes read from an upstream by transfers that have ended.", "upstream"),
		fillTime:    m.histogram("weir_cache_fill_duration_seconds", "Time of a transfer from an upstream, its wait for a place included.", requestBuckets, "upstream"),
		resumes:     m.counter("weir_cache_fill_resumes_total", "Times a broken transfer was taken up again where it stopped.", "upstream"),
		inFlight:    m.gauge("weir_cache_fills_in_flight", "Transfers from an upstream that are going on.", "upstream"),
		passthrough: m.counter("weir_cache_passthrough_total", "Content passed on without being kept: range (far ahead of the transfer), full (the device), budget (of the cache) or store (trouble).", "upstream", "reason"),
		evicted:     m.counter("weir_cache_evicted_bytes_total", "Bytes of cached content evicted.").WithLabelValues(),
		bytes:       m.gauge("weir_cache_bytes", "Bytes of cached content in the store.").WithLabelValues(),
		budget:      m.gauge("weir_cache_budget_bytes", "Bytes of cached content allowed; 0 is no limit.").WithLabelValues(),
		upstreams:   upstreams,
	}
}

// Answered counts one answer.
func (c *Cache) Answered(upstream, kind, status string) {
	status = oneOf(status, "hit", "stale", "revalidated", "miss", "joined", "pass", "absent", "denied", "unknown", "forbidden")
	labels := [3]string{c.upstreams.of(upstream), oneOf(kind, "manifest", "blob", "tags", "referrers"), status}
	c.answered.of(labels, func(l [3]string) prometheus.Counter { return c.answers.WithLabelValues(l[:]...) }).Inc()
}

// Checked counts one check of a stale reference.
func (c *Cache) Checked(upstream, result string) {
	c.checks.WithLabelValues(c.upstreams.of(upstream), oneOf(result, "confirmed", "moved", "absent", "denied", "unknown")).Inc()
}

// FillStarted counts a transfer that begins; FillEnded must follow.
func (c *Cache) FillStarted(upstream string) {
	c.inFlight.WithLabelValues(c.upstreams.of(upstream)).Inc()
}

// FillEnded counts a transfer that ended.
func (c *Cache) FillEnded(upstream, result string, bytes int64, resumes int, took time.Duration) {
	upstream = c.upstreams.of(upstream)
	c.inFlight.WithLabelValues(upstream).Dec()
	c.fills.WithLabelValues(upstream, oneOf(result, "stored", "wrong", "failed", "parked", "detached")).Inc()
	c.fillBytes.WithLabelValues(upstream).Add(float64(max(0, bytes)))
	c.resumes.WithLabelValues(upstream).Add(float64(max(0, resumes)))
	c.fillTime.WithLabelValues(upstream).Observe(took.Seconds())
}

// Passed counts content that was not kept.
func (c *Cache) Passed(upstream, reason string) {
	c.passthrough.WithLabelValues(c.upstreams.of(upstream), oneOf(reason, "range", "full", "budget", "store")).Inc()
}

// Evicted counts bytes evicted.
func (c *Cache) Evicted(bytes int64) { c.evicted.Add(float64(max(0, bytes))) }

// Usage sets the bytes kept and allowed.
func (c *Cache) Usage(bytes, budget int64) {
	c.bytes.Set(float64(bytes))
	c.budget.Set(float64(budget))
}

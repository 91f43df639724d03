package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Cache is what caching of upstreams saves and costs. The upstream label is "<group>/<upstream>".
type Cache struct {
	requests    *prometheus.CounterVec
	served      *prometheus.CounterVec
	fills       *prometheus.CounterVec
	fillBytes   *prometheus.CounterVec
	inFlight    *prometheus.GaugeVec
	waiting     prometheus.Gauge
	passthrough *prometheus.CounterVec
	evicted     prometheus.Counter
	bytes       prometheus.Gauge
	budget      prometheus.Gauge
	upstreams   *bound
}

func newCache(m *Metrics, upstreams *bound) *Cache {
	return &Cache{
		requests:    m.counter("weir_cache_requests_total", "Questions a cache answered: hit, stale, revalidated, miss, joined, pass, negative or error. kind is manifest, blob, tags or referrers.", "upstream", "kind", "status"),
		served:      m.counter("weir_cache_served_bytes_total", "Bytes of cached or filled content handed to clients.", "upstream", "status"),
		fills:       m.counter("weir_cache_fills_total", "Transfers from an upstream into the store, by how they ended: ok, upstream, corrupt, storage or cancelled.", "upstream", "outcome"),
		fillBytes:   m.counter("weir_cache_fill_bytes_total", "Bytes read from an upstream into the store.", "upstream"),
		inFlight:    m.gauge("weir_cache_fills_in_flight", "Transfers from an upstream that are going on.", "upstream"),
		waiting:     m.gauge("weir_cache_fills_waiting", "Transfers that wait for a free place under the limits.").WithLabelValues(),
		passthrough: m.counter("weir_cache_passthrough_total", "Answers passed on without being kept: range, disk_full, budget or other.", "upstream", "reason"),
		evicted:     m.counter("weir_cache_evicted_bytes_total", "Bytes of cached content evicted to stay within the budget.").WithLabelValues(),
		bytes:       m.gauge("weir_cache_bytes", "Bytes of cached content in the store.").WithLabelValues(),
		budget:      m.gauge("weir_cache_budget_bytes", "Bytes of cached content allowed; 0 is no limit.").WithLabelValues(),
		upstreams:   upstreams,
	}
}

// Request counts one question of a kind (manifest, blob, tags, referrers) and how the cache answered it.
func (c *Cache) Request(upstream, kind, status string) {
	c.requests.WithLabelValues(c.upstreams.of(upstream), oneOf(kind, "manifest", "blob", "tags", "referrers"), cacheStatus(status)).Inc()
}

// Served counts bytes handed to a client.
func (c *Cache) Served(upstream, status string, bytes int64) {
	c.served.WithLabelValues(c.upstreams.of(upstream), cacheStatus(status)).Add(float64(max(0, bytes)))
}

// FillStarted counts a transfer that begins; FillEnded must follow.
func (c *Cache) FillStarted(upstream string) {
	c.inFlight.WithLabelValues(c.upstreams.of(upstream)).Inc()
}

// FillEnded counts a transfer that ended with outcome ok, upstream, corrupt, storage or cancelled.
func (c *Cache) FillEnded(upstream, outcome string) {
	upstream = c.upstreams.of(upstream)
	c.inFlight.WithLabelValues(upstream).Dec()
	c.fills.WithLabelValues(upstream, oneOf(outcome, "ok", "upstream", "corrupt", "storage", "cancelled")).Inc()
}

// FillBytes counts bytes read from an upstream.
func (c *Cache) FillBytes(upstream string, bytes int64) {
	c.fillBytes.WithLabelValues(c.upstreams.of(upstream)).Add(float64(max(0, bytes)))
}

// FillWaiting adds delta, 1 or -1, to the transfers that wait for a place.
func (c *Cache) FillWaiting(delta int) { c.waiting.Add(float64(delta)) }

// Passthrough counts an answer that was not kept, with the reason range, disk_full or budget.
func (c *Cache) Passthrough(upstream, reason string) {
	c.passthrough.WithLabelValues(c.upstreams.of(upstream), oneOf(reason, "range", "disk_full", "budget")).Inc()
}

// Evicted counts bytes evicted.
func (c *Cache) Evicted(bytes int64) { c.evicted.Add(float64(max(0, bytes))) }

// Usage sets the bytes kept and allowed.
func (c *Cache) Usage(bytes, budget int64) {
	c.bytes.Set(float64(bytes))
	c.budget.Set(float64(budget))
}

func cacheStatus(s string) string {
	return oneOf(s, "hit", "stale", "revalidated", "miss", "joined", "pass", "negative", "error")
}

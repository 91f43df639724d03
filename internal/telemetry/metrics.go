package telemetry

import (
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is every metric family of the server, by area. All methods of the areas are safe for concurrent use.
type Metrics struct {
	HTTP     *HTTP
	Cache    *Cache
	Upstream *Upstream
	Store    *Store
	Work     *Work
	Access   *Access
	Audit    *Audit

	registry *prometheus.Registry
	families []Family
}

// Family is one metric family, for the reference page.
type Family struct {
	Name   string
	Type   string // counter, gauge, histogram
	Help   string
	Labels []string
}

// NewMetrics returns the metrics of a process, together with those of the Go runtime.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gauge("weir_build_info", "Always 1; the label says which version runs.", "version").WithLabelValues(version).Set(1)
	upstreams := newBound(maxUpstreams)
	m.HTTP = newHTTP(m)
	m.Cache = newCache(m, upstreams)
	m.Upstream = newUpstream(m, upstreams)
	m.Store = newStore(m)
	m.Work = newWork(m)
	m.Access = newAccess(m)
	m.Audit = newAudit(m)
	return m
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), MaxRequestsInFlight: 4,
	})
}

// Families lists the families of this package in the order of their areas.
func (m *Metrics) Families() []Family { return append([]Family(nil), m.families...) }

func (m *Metrics) add(c prometheus.Collector, f Family) {
	m.registry.MustRegister(c)
	m.families = append(m.families, f)
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.add(c, Family{name, "counter", help, labels})
	return c
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.add(g, Family{name, "gauge", help, labels})
	return g
}

func (m *Metrics) gaugeFunc(name, help string, value func() float64) {
	m.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value), Family{name, "gauge", help, nil})
}

// Buckets of the histograms, for scrapers without native histograms. Durations in seconds.
var (
	requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120, 600}
	queryBuckets   = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5}
)

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
	m.add(h, Family{name, "histogram", help, labels})
	return h
}

// other replaces a label value that would be one too many.
const other = "other"

// maxUpstreams caps the upstream label; configuration bounds it already, but not what was configured over time.
const maxUpstreams = 1000

// bound lets the first max values of a label through and calls the rest "other".
type bound struct {
	mu   sync.Mutex
	seen map[string]struct{}
	max  int
}

func newBound(limit int) *bound { return &bound{seen: map[string]struct{}{}, max: limit} }

func (b *bound) of(value string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.seen[value]; ok {
		return value
	}
	if len(b.seen) >= b.max {
		return other
	}
	b.seen[value] = struct{}{}
	return value
}

// remembered keeps what was made of a key. Looking a series up by its labels takes several times as long as counting, and what
// every request counts is the same few series. Keys must be bounded, as labels are.
type remembered[K comparable, V any] struct {
	mu   sync.RWMutex
	made map[K]V
}

func (r *remembered[K, V]) of(key K, fresh func(K) V) V {
	r.mu.RLock()
	v, ok := r.made[key]
	r.mu.RUnlock()
	if ok {
		return v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.made == nil {
		r.made = map[K]V{}
	}
	v = fresh(key) // the same series, should somebody else have been faster
	r.made[key] = v
	return v
}

// oneOf returns value if it is in the list, else "other".
func oneOf(value string, list ...string) string {
	for _, v := range list {
		if v == value {
			return v
		}
	}
	return other
}

// statusClass is "2xx" … "5xx", or "none" when there was no answer.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}

package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Upstream is the traffic to upstreams. The upstream label is "<group>/<upstream>".
type Upstream struct {
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	budget    *prometheus.GaugeVec
	breaker   *prometheus.GaugeVec
	tokens    *prometheus.CounterVec
	upstreams *bound
}

func newUpstream(m *Metrics, upstreams *bound) *Upstream {
	return &Upstream{
		requests:  m.counter("weir_upstream_requests_total", "Requests sent to an upstream, by class of its answer; none is no answer at all.", "upstream", "method", "status"),
		duration:  m.histogram("weir_upstream_request_duration_seconds", "Time until the response headers of an upstream.", requestBuckets, "upstream"),
		budget:    m.gauge("weir_upstream_budget_remaining", "Requests left in the rate limit that the upstream last announced.", "upstream"),
		breaker:   m.gauge("weir_upstream_breaker_open", "1 since requests to a host of the upstream are refused, because it has stopped answering; 0 since it answered again.", "upstream"),
		tokens:    m.counter("weir_upstream_token_requests_total", "Tokens asked of the upstream's realm, by outcome: ok, denied or error.", "upstream", "outcome"),
		upstreams: upstreams,
	}
}

// Request counts one request; status 0 is no answer.
func (u *Upstream) Request(upstream, method string, status int, took time.Duration) {
	upstream = u.upstreams.of(upstream)
	u.requests.WithLabelValues(upstream, knownMethod(method), statusClass(status)).Inc()
	u.duration.WithLabelValues(upstream).Observe(took.Seconds())
}

// Budget sets what is left of the announced rate limit.
func (u *Upstream) Budget(upstream string, remaining int) {
	u.budget.WithLabelValues(u.upstreams.of(upstream)).Set(float64(remaining))
}

// Breaker sets whether the circuit breaker is open.
func (u *Upstream) Breaker(upstream string, open bool) {
	value := 0.0
	if open {
		value = 1
	}
	u.breaker.WithLabelValues(u.upstreams.of(upstream)).Set(value)
}

// Token counts a token acquisition: ok, denied or error.
func (u *Upstream) Token(upstream, outcome string) {
	u.tokens.WithLabelValues(u.upstreams.of(upstream), oneOf(outcome, "ok", "denied", "error")).Inc()
}

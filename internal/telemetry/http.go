package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HTTP is what clients see of the server.
type HTTP struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	inFlight prometheus.Gauge
	routes   *bound
	series   remembered[answer, series]
}

// answer is the labels of a request; series is what it counts in.
type answer struct {
	route, method string
	status        int
}

type series struct {
	requests prometheus.Counter
	duration prometheus.Observer
	bytes    prometheus.Counter
}

func newHTTP(m *Metrics) *HTTP {
	return &HTTP{
		requests: m.counter("weir_http_requests_total", "Requests answered.", "route", "method", "status"),
		duration: m.histogram("weir_http_request_duration_seconds", "Time from a request's headers to the last byte of its answer.", requestBuckets, "route", "method"),
		bytes:    m.counter("weir_http_response_bytes_total", "Bytes of response bodies sent.", "route"),
		inFlight: m.gauge("weir_http_requests_in_flight", "Requests being answered.").WithLabelValues(),
		routes:   newBound(200),
	}
}

// Request counts one finished request. route is the name of the handler, never the path.
func (h *HTTP) Request(route, method string, status int, took time.Duration, bytes int64) {
	if http.StatusText(status) == "" && status != 499 {
		status = 0
	}
	counted := h.series.of(answer{h.routes.of(route), knownMethod(method), status}, h.labelled)
	counted.requests.Inc()
	counted.duration.Observe(took.Seconds())
	counted.bytes.Add(float64(max(0, bytes)))
}

func (h *HTTP) labelled(a answer) series {
	status := other
	if a.status != 0 {
		status = strconv.Itoa(a.status)
	}
	return series{
		requests: h.requests.WithLabelValues(a.route, a.method, status),
		duration: h.duration.WithLabelValues(a.route, a.method),
		bytes:    h.bytes.WithLabelValues(a.route),
	}
}

// InFlight adds delta, 1 or -1, to the requests being answered.
func (h *HTTP) InFlight(delta int) { h.inFlight.Add(float64(delta)) }

func knownMethod(method string) string {
	return oneOf(method, "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")
}

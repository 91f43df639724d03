package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Audit is the trail of pulls, refusals and logins.
type Audit struct {
	flushed prometheus.Counter
	counted prometheus.Counter
	held    prometheus.Gauge
	lag     prometheus.Gauge
	sent    prometheus.Counter
}

func newAudit(m *Metrics) *Audit {
	return &Audit{
		flushed: m.counter("weir_audit_flushed_total", "Requests written to the audit trail of pulls, one by one.").WithLabelValues(),
		counted: m.counter("weir_audit_counted_total", "Requests that the audit trail only counts, by repository and account, because the database was too slow: each such time has a gap event.").WithLabelValues(),
		held:    m.gauge("weir_audit_held", "Requests that the last flush of the audit trail took out of memory.").WithLabelValues(),
		lag:     m.gauge("weir_audit_lag_seconds", "Age of the oldest request in the batch of the audit trail that was written last.").WithLabelValues(),
		sent:    m.counter("weir_audit_sent_total", "Events that the sink of the audit trail got.").WithLabelValues(),
	}
}

// Flushed is n requests that were written, the oldest of them lag ago.
func (a *Audit) Flushed(n int, lag time.Duration) {
	a.flushed.Add(float64(n))
	a.lag.Set(max(0, lag).Seconds()) // a clock that was set back between makes it negative
}

// Counted is n requests that are counted only.
func (a *Audit) Counted(n int64) { a.counted.Add(float64(n)) }

// Held is how many requests a flush took out of memory.
func (a *Audit) Held(n int) { a.held.Set(float64(n)) }

// Sent is n events that the sink got.
func (a *Audit) Sent(n int) { a.sent.Add(float64(n)) }

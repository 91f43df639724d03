package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Access is logins and refusals.
type Access struct {
	logins *prometheus.CounterVec
	denied *prometheus.CounterVec
	login  remembered[[2]string, prometheus.Counter]
}

func newAccess(m *Metrics) *Access {
	return &Access{
		logins: m.counter("weir_access_logins_total", "Credentials checked, by method (password, token, bearer, workload) and outcome (ok, refused, limited, foreign).", "method", "outcome"),
		denied: m.counter("weir_access_denied_total", "Requests refused for want of a grant, by action.", "action"),
	}
}

// Login counts one credential that was checked.
func (a *Access) Login(method, outcome string) {
	labels := [2]string{oneOf(method, "password", "token", "bearer", "workload"), oneOf(outcome, "ok", "refused", "limited", "foreign")}
	a.login.of(labels, func(l [2]string) prometheus.Counter { return a.logins.WithLabelValues(l[:]...) }).Inc()
}

// Denied counts one refusal.
func (a *Access) Denied(action string) {
	a.denied.WithLabelValues(oneOf(action, "pull", "push", "delete", "list", "configure", "own", "administer")).Inc()
}

// Package ops is the operators' listener: metrics, health, readiness and profiles. It answers without login, so package app
// gives it an address of its own that clients cannot reach.
package ops

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
)

// Check is one dependency that the server needs to do its work. Run returns nil when it is well, and must obey ctx.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// Options configure New.
type Options struct {
	Metrics http.Handler
	Checks  []Check
	Timeout time.Duration // of each check; 0 = 2 seconds
}

// Handler answers /metrics, /healthz, /readyz and /debug/pprof/.
type Handler struct {
	mux     *http.ServeMux
	checks  []Check
	running []chan struct{} // for each check, full while it runs: one that hangs must not pile up with every probe
	timeout time.Duration

	mu       sync.Mutex
	draining bool
}

// New returns a Handler.
func New(o Options) *Handler {
	h := &Handler{mux: http.NewServeMux(), checks: o.Checks, timeout: o.Timeout}
	if h.timeout <= 0 {
		h.timeout = 2 * time.Second
	}
	for range h.checks {
		h.running = append(h.running, make(chan struct{}, 1))
	}
	if o.Metrics != nil {
		h.mux.Handle("GET /metrics", o.Metrics)
	}
	h.mux.HandleFunc("GET /healthz", alive)
	h.mux.HandleFunc("GET /readyz", h.ready)
	h.mux.HandleFunc("/debug/pprof/", pprof.Index)
	h.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	h.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	h.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	h.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Drain makes /readyz fail from now on, so that a load balancer sends no more clients while the server finishes.
func (h *Handler) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// alive says that the process runs and answers: nothing that restarting it would not cure belongs here.
func alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ok"}` + "\n"))
}

// report is the body of /readyz.
type report struct {
	Status string            `json:"status"` // ok, failing, draining
	Checks map[string]string `json:"checks"` // name → "ok" or the error
}

func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	draining := h.draining
	h.mu.Unlock()
	rep := report{Status: "ok", Checks: h.run(r.Context())}
	for _, result := range rep.Checks {
		if result != "ok" {
			rep.Status = "failing"
		}
	}
	if draining {
		rep.Status = "draining"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if rep.Status != "ok" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(rep) // a prober that left does not need it
}

// run runs the checks side by side and waits for each at most the timeout, even for one that does not obey its context.
func (h *Handler) run(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	results := make([]chan error, len(h.checks))
	for i := range h.checks {
		results[i] = make(chan error, 1)
		select {
		case h.running[i] <- struct{}{}:
			go func() {
				defer func() { <-h.running[i] }()
				results[i] <- h.checks[i].Run(ctx)
			}()
		case <-ctx.Done():
		}
	}
	out := make(map[string]string, len(h.checks))
	for i, c := range h.checks {
		out[c.Name] = "ok"
		select {
		case err := <-results[i]:
			if err != nil {
				out[c.Name] = err.Error()
			}
		case <-ctx.Done():
			out[c.Name] = "no answer in time"
		}
	}
	return out
}

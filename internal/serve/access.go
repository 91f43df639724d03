package serve

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Observer counts requests. Package telemetry implements it.
type Observer interface {
	// Started is called when a request begins, Finished once when it ends, however it ends.
	Started(door string)
	Finished(Observation)
}

// Observation is one finished request. All strings are from small fixed sets and fit for metric labels.
type Observation struct {
	Door         string
	Operation    string // "manifest_get", …; empty when the door does not say
	Method       string // of the nine HTTP knows, else "other"
	Status       int    // 499 when the client left first
	Code         oci.Code
	Sent         int64 // bytes of response bodies
	Received     int64 // bytes of request bodies
	Duration     time.Duration
	UpstreamTime time.Duration
	Cache        registry.CacheStatus
}

type noObserver struct{}

func (noObserver) Started(string)       {}
func (noObserver) Finished(Observation) {}

// line writes the access line and tells the observer. The query string and the Authorization header must never get here.
func (f *Front) line(r *http.Request, w *responseWriter, door string, info *Info, t registry.TraceValues, took time.Duration) {
	info.mu.Lock()
	defer info.mu.Unlock()
	status := w.status
	if status == 0 {
		status = statusClosed
		if !w.aborted {
			status = http.StatusOK // net/http sends it for a handler that wrote nothing
		}
	}
	o := Observation{
		Door: door, Operation: info.operation, Method: methodLabel(r.Method), Status: status, Code: oci.ErrorCode(info.err),
		Sent: w.sent, Received: w.received, Duration: took, UpstreamTime: t.UpstreamTime, Cache: t.Cache,
	}
	f.observer.Finished(o)
	level := slog.LevelInfo
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	if !f.log.Enabled(r.Context(), level) {
		return
	}
	f.log.LogAttrs(r.Context(), level, "request", attributes(r, w, info, t, o)...)
}

func attributes(r *http.Request, w *responseWriter, info *Info, t registry.TraceValues, o Observation) []slog.Attr {
	a := make([]slog.Attr, 0, 24)
	a = append(a, slog.String("id", info.ID), slog.String("door", o.Door), slog.String("method", r.Method),
		slog.String("host", info.Host), slog.String("path", r.URL.Path), slog.Int("status", o.Status), slog.Int64("bytes", w.sent),
		slog.Duration("duration", o.Duration))
	if info.Client.IsValid() {
		a = append(a, slog.String("client", info.Client.String()))
	}
	for _, s := range [...]struct{ name, value string }{
		{"principal", info.principal}, {"operation", info.operation}, {"group", t.Group}, {"registry", t.Registry},
		{"repository", t.Repository}, {"reference", info.reference}, {"member", t.Member}, {"cache", string(t.Cache)},
		{"decision", t.DecisionID}, {"code", string(o.Code)}, {"user_agent", r.UserAgent()},
	} {
		if s.value != "" {
			a = append(a, slog.String(s.name, s.value))
		}
	}
	if w.received > 0 {
		a = append(a, slog.Int64("received", w.received))
	}
	if t.UpstreamTime > 0 {
		a = append(a, slog.Duration("upstream_time", t.UpstreamTime))
	}
	if w.aborted {
		a = append(a, slog.Bool("aborted", true))
	}
	if info.err != nil {
		a = append(a, slog.String("error", info.err.Error()))
	}
	return a
}

func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return "other"
}

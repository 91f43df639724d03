package serve

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Observer counts requests; *telemetry.HTTP is one.
type Observer interface {
	// InFlight adds delta, 1 or -1, to the requests being answered.
	InFlight(delta int)
	// Request counts a finished request. route is from a small fixed set: the door, and the operation if the door named
	// one; status is 499 when the client left first; bytes are those of the response body.
	Request(route, method string, status int, took time.Duration, bytes int64)
}

type noObserver struct{}

func (noObserver) InFlight(int)                                      {}
func (noObserver) Request(string, string, int, time.Duration, int64) {}

// line writes the access line and tells the observer. The query string and the Authorization header must never get here.
func (f *Front) line(r *http.Request, w *responseWriter, door string, info *Info, t registry.TraceValues, start, end time.Time) {
	info.mu.Lock()
	defer info.mu.Unlock()
	status := w.result()
	route := door
	if info.operation != "" {
		route += "." + info.operation
	}
	took := end.Sub(start)
	f.observer.Request(route, r.Method, status, took, w.sent)
	f.observer.InFlight(-1)
	level := slog.LevelInfo
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	handler := f.log.Handler()
	if !handler.Enabled(r.Context(), level) {
		return
	}
	// Past the Logger, which would look up who calls it on every line.
	room, ok := f.fields.Get().(*fields)
	if !ok {
		room = new(fields)
	}
	defer f.fields.Put(room)
	record := slog.NewRecord(end, level, "request", 0)
	// A group without a name, whose fields stand in the line itself: the record would copy them.
	record.AddAttrs(slog.Attr{Value: slog.GroupValue(attributes(room[:0], r, w, info, t, route, status, took)...)})
	_ = handler.Handle(r.Context(), record) // as the Logger: a log that cannot be written must not stop requests
}

// fields is room for those of one line.
type fields [24]slog.Attr

// attributes appends the fields of the line to a. docs/reference/log.md describes each.
func attributes(a []slog.Attr, r *http.Request, w *responseWriter, info *Info, t registry.TraceValues, route string, status int, took time.Duration) []slog.Attr {
	a = append(a, slog.String("id", info.ID), slog.String("route", route), slog.String("method", r.Method),
		slog.String("host", info.Host), slog.String("path", r.URL.Path), slog.Int("status", status), slog.Int64("bytes", w.sent),
		slog.Float64("duration_ms", milliseconds(took)))
	for _, s := range [...]struct{ name, value string }{
		{"client", info.Address}, {"principal", info.principal}, {"group", cmp.Or(t.Group, info.group)}, {"registry", t.Registry},
		{"repository", t.Repository}, {"reference", info.reference}, {"member", t.Member}, {"cache", string(t.Cache)}, {"reason", t.Reason},
		{"decision", t.DecisionID}, {"code", string(oci.ErrorCode(info.err))}, {"user_agent", r.UserAgent()},
	} {
		if s.value != "" {
			a = append(a, slog.String(s.name, s.value))
		}
	}
	if w.received > 0 {
		a = append(a, slog.Int64("received", w.received))
	}
	if t.UpstreamTime > 0 {
		a = append(a, slog.Float64("upstream_ms", milliseconds(t.UpstreamTime)))
	}
	if w.aborted {
		a = append(a, slog.Bool("aborted", true))
	}
	if info.err != nil {
		a = append(a, slog.String("error", info.err.Error()))
	}
	return a
}

// milliseconds is d to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Package serve is the HTTP edge of Weir: error-returning handlers with one place that writes errors, one access line per
// request, request ids, trusted proxies, progress deadlines, and listeners with certificate reload and a staged shutdown.
//
// The doors in its child packages (distribution, token, signin, api, ops) are mounted through a Front; package app starts a
// Server. Everything here is safe for concurrent use.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

// Handler answers a request, or says why it could not: the error goes to the client through WriteError. An error after
// the first byte of the response cuts the connection, so that no client takes a part for the whole.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Options configure a Front.
type Options struct {
	Log            *slog.Logger   // access lines and details of internal errors; nil discards them
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-* and X-Request-Id headers count
	Progress       time.Duration  // how long a client may take to send or accept the next part of a body; default 1 minute
	Observer       Observer       // metrics; nil for none
	Recorder       Recorder       // the audit trail; nil for none
}

// Front wraps the handlers of every door.
type Front struct {
	log      *slog.Logger
	trusted  []netip.Prefix
	progress time.Duration
	observer Observer
	recorder Recorder
	buffers  bufferPool
	fields   sync.Pool // of *fields
}

// NewFront returns a Front.
func NewFront(o Options) *Front {
	f := &Front{log: o.Log, trusted: o.TrustedProxies, progress: o.Progress, observer: o.Observer, recorder: o.Recorder}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.progress <= 0 {
		f.progress = time.Minute
	}
	if f.observer == nil {
		f.observer = noObserver{}
	}
	return f
}

// Handle makes h an http.Handler. door names the door in access lines and metrics: "distribution", "token", "api", ….
func (f *Front) Handle(door string, h Handler) http.Handler {
	return f.Wrap(door, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		FromContext(r.Context()).fail(err)
		rw, ok := w.(*responseWriter)
		if ok && rw.status != 0 || r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
		WriteError(w, r, err)
	}))
}

// Wrap gives a handler that writes its own errors the rest of what a Front does.
func (f *Front) Wrap(door string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &exchange{}
		info, rw := &x.info, &x.writer
		c, _ := r.Context().Value(connectionKey{}).(*connection)
		f.identify(info, r, c)
		f.response(rw, w, r, c, start)
		rw.tls = r.TLS != nil
		x.Context = r.Context()
		r = r.WithContext(x)
		r.Body = f.body(r.Body, rw)
		SetHeader(rw, "X-Request-Id", info.ID)
		f.observer.InFlight(1)
		defer func() {
			end := time.Now()
			rw.finish(end)
			trace := x.trace.Values()
			f.line(r, rw, door, info, trace, start, end)
			f.record(r, rw, door, info, trace, end)
			if r.Close {
				rw.linger()
			}
		}()
		f.serve(rw, r, h, info)
	})
}

// exchange is what a Front keeps of one request, together because every request needs all of it. It is the request's context, too.
type exchange struct {
	context.Context
	info   Info
	trace  registry.Trace
	writer responseWriter
}

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if _, ok := key.(infoKey); ok {
		return &x.info
	}
	if v := x.trace.Value(key); v != nil {
		return v
	}
	return x.Context.Value(key)
}

// serve runs h and turns a panic into a 500, or into a cut connection when the response has begun.
func (f *Front) serve(w *responseWriter, r *http.Request, h http.Handler, info *Info) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		w.aborted = true
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(http.ErrAbortHandler)
		}
		err := fmt.Errorf("panic: %v", p)
		info.fail(err)
		f.log.Error("panic", "id", info.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if w.status != 0 {
			panic(http.ErrAbortHandler)
		}
		w.aborted = false
		WriteError(w, r, err)
	}()
	h.ServeHTTP(w, r)
}

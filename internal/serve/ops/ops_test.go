package ops

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestReadyReportsEachCheck(t *testing.T) {
	var broken atomic.Bool
	h := New(Options{Checks: []Check{
		{"database", func(context.Context) error {
			if broken.Load() {
				return errors.New("connection refused")
			}
			return nil
		}},
		{"storage", func(context.Context) error { return nil }},
	}})
	if w := get(h, "/readyz"); w.Code != 200 || w.Body.String() != `{"status":"ok","checks":{"database":"ok","storage":"ok"}}`+"\n" {
		t.Error(w.Code, w.Body)
	}
	broken.Store(true)
	if w := get(h, "/readyz"); w.Code != 503 || w.Body.String() != `{"status":"failing","checks":{"database":"connection refused","storage":"ok"}}`+"\n" {
		t.Error(w.Code, w.Body)
	}
	if w := get(h, "/healthz"); w.Code != 200 {
		t.Error("a failing dependency is no reason to restart")
	}
	broken.Store(false)
	h.Drain()
	if w := get(h, "/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), `"status":"draining"`) {
		t.Error(w.Code, w.Body)
	}
}

// A check that hangs and ignores its context neither holds up the answer nor piles up.
func TestHangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int32
		release := make(chan struct{})
		h := New(Options{Checks: []Check{{"storage", func(context.Context) error { started.Add(1); <-release; return nil }}}})
		for range 3 {
			if w := get(h, "/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "no answer in time") {
				t.Error(w.Code, w.Body)
			}
		}
		if n := started.Load(); n != 1 {
			t.Errorf("started %d times", n)
		}
		close(release)
		synctest.Wait()
		if w := get(h, "/readyz"); w.Code != 200 {
			t.Error(w.Code, w.Body)
		}
	})
}

func TestPages(t *testing.T) {
	h := New(Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("weir_up 1\n")) })})
	for path, want := range map[string]string{"/metrics": "weir_up 1", "/healthz": "ok", "/readyz": "ok", "/debug/pprof/": "goroutine", "/debug/pprof/heap?debug=1": "heap profile"} {
		if w := get(h, path); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/", "/v2/", "/token"} {
		if w := get(h, path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/telemetry"
)

// hits is a server with one image, hosted and cached, and a token to pull it with. It has everything that a real one has but the
// listener; its log goes nowhere.
type hits struct {
	*server
	handler  http.Handler
	token    string
	manifest []byte
	blob     []byte
}

func newHits(tb testing.TB) *hits {
	tb.Helper()
	h := &hits{blob: bytes.Repeat([]byte("x"), 600)}
	h.manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[]}`,
		oci.MediaTypeImageManifest, oci.DigestOf(oci.SHA256, h.blob), len(h.blob))
	c := config.Default()
	c.Data = tb.TempDir()
	c.Database.Path = filepath.Join(c.Data, "weir.db")
	c.Storage.Path = filepath.Join(c.Data, "blobs")
	c.Keys.KeysetFile = filepath.Join(c.Data, "keyset.json")
	c.Upstream.AllowPrivateNetworks = true
	log, err := telemetry.NewLogger(io.Discard, telemetry.LogOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	h.server = &server{config: c, log: log, metrics: telemetry.NewMetrics("test")}
	tb.Cleanup(func() {
		if err := h.close(); err != nil {
			tb.Error(err)
		}
	})
	ctx := tb.Context()
	if err := h.open(ctx); err != nil {
		tb.Fatal(err)
	}
	admin, err := h.prepare(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	h.token, _, err = h.dir.CreateToken(ctx, access.Actor{}, admin.Admin, "test", time.Time{}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	front, err := h.front()
	if err != nil {
		tb.Fatal(err)
	}
	h.handler = h.server.handler(front, false)
	h.define(ctx, tb)
	h.send(tb, http.MethodPost, "/v2/acme/app/blobs/uploads/?digest="+string(oci.DigestOf(oci.SHA256, h.blob)), h.blob)
	h.send(tb, http.MethodPut, "/v2/acme/app/manifests/1.0", h.manifest)
	return h
}

// define makes the group acme: hosted repositories, and the registry hub in front of an upstream that has the same image.
func (h *hits) define(ctx context.Context, tb testing.TB) {
	tb.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, kind := h.manifest, oci.MediaTypeImageManifest
		if strings.Contains(r.URL.Path, "/blobs/") {
			body, kind = h.blob, oci.MediaTypeOctets
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Docker-Content-Digest", string(oci.DigestOf(oci.SHA256, body)))
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	}))
	tb.Cleanup(upstream.Close)
	yes := true
	_, err := h.planner.Apply(ctx, desired.Document{Groups: []desired.Group{{
		Name: "acme", Upstreams: []desired.Upstream{{Name: "there", URL: upstream.URL}},
		Registries: []desired.Registry{{Name: "hub", AnonymousPull: &yes, Members: []desired.Member{{Upstream: "there"}}}},
	}}}, plan.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	if err := h.live.rebuild(ctx); err != nil {
		tb.Fatal(err)
	}
}

func (h *hits) request(method, path string, body []byte) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:5000"+path, bytes.NewReader(body))
	r.Body = http.NoBody
	if body != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	r.RemoteAddr = "127.0.0.1:4711"
	r.Header.Set("User-Agent", "containerd/2.1.0")
	r.Header.Set("Accept", oci.MediaTypeImageManifest)
	r.Header.Set("Content-Type", oci.MediaTypeImageManifest)
	return r
}

func (h *hits) send(tb testing.TB, method, path string, body []byte) {
	tb.Helper()
	r := h.request(method, path, body)
	r.Header.Set("Authorization", "Bearer "+h.token)
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code >= 300 {
		tb.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

// sink is a connection that takes everything.
type sink struct {
	header http.Header
	status int
	bytes  int64
}

func (s *sink) Header() http.Header                { return s.header }
func (s *sink) WriteHeader(status int)             { s.status = status }
func (s *sink) SetWriteDeadline(_ time.Time) error { return nil }
func (s *sink) SetReadDeadline(_ time.Time) error  { return nil }
func (s *sink) Write(p []byte) (int, error) {
	s.bytes += int64(len(p))
	return len(p), nil
}

func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(io.Discard, r)
	s.bytes += n
	return n, err
}

func (h *hits) cases() []struct {
	name, method, path string
	login              bool
} {
	manifest, blob := string(oci.DigestOf(oci.SHA256, h.manifest)), string(oci.DigestOf(oci.SHA256, h.blob))
	return []struct {
		name, method, path string
		login              bool
	}{
		{"hosted-tag", http.MethodGet, "/v2/acme/app/manifests/1.0", true},
		{"hosted-head", http.MethodHead, "/v2/acme/app/manifests/1.0", true},
		{"hosted-digest", http.MethodGet, "/v2/acme/app/manifests/" + manifest, true},
		{"hosted-blob", http.MethodGet, "/v2/acme/app/blobs/" + blob, true},
		{"cached-tag", http.MethodGet, "/v2/acme/hub/app/manifests/1.0", false},
		{"cached-digest", http.MethodGet, "/v2/acme/hub/app/manifests/" + manifest, false},
		{"cached-blob", http.MethodGet, "/v2/acme/hub/app/blobs/" + blob, false},
	}
}

// TestHitAllocations: what a hit allocates is a good part of what it costs beyond the HTTP server. The bounds leave a little room, for
// pools that the race detector empties at will.
func TestHitAllocations(t *testing.T) {
	const manifest, blob = 22, 30
	h := newHits(t)
	for _, c := range h.cases() {
		t.Run(c.name, func(t *testing.T) {
			r := h.request(c.method, c.path, nil)
			if c.login {
				r.Header.Set("Authorization", "Bearer "+h.token)
			}
			most := float64(manifest)
			if strings.HasSuffix(c.name, "blob") {
				most = blob
			}
			least := math.Inf(1) // of several measurements: the server's background work allocates too
			for range 100 {
				least = min(least, testing.AllocsPerRun(10, func() {
					s := &sink{header: http.Header{}}
					if h.handler.ServeHTTP(s, r); s.status != http.StatusOK {
						t.Fatal(s.status)
					}
				}))
				if least <= most {
					return
				}
			}
			t.Errorf("%v allocations, want at most %v", least, most)
		})
	}
}

func BenchmarkHit(b *testing.B) {
	h := newHits(b)
	for _, c := range h.cases() {
		b.Run(c.name, func(b *testing.B) {
			r := h.request(c.method, c.path, nil)
			if c.login {
				r.Header.Set("Authorization", "Bearer "+h.token)
			}
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				s := &sink{header: http.Header{}}
				h.handler.ServeHTTP(s, r)
				if s.status != http.StatusOK {
					b.Fatal(s.status)
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what this process has used: on a busy machine it says more than the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

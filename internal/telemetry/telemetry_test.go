package telemetry

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the reference page")

const page = "../../docs/reference/metrics.md"

// The reference page comes from the code. `go test ./internal/telemetry -run Reference -update` writes it.
func TestReferencePage(t *testing.T) {
	got := reference()
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the page is out of step with the code; run with -update:\n%s", diff)
	}
}

func reference() string {
	var b strings.Builder
	b.WriteString(`<!-- Made from internal/telemetry; change it there, then run make generate. -->
# Metrics

` + "`GET /metrics` on the operators' listener (`ops.listen`)" + ` answers in Prometheus' text format; histograms are native ones too.
Labels are bounded: an upstream is ` + "`<group>/<upstream>`" + `, and beyond 1000 of them the rest is counted as ` + "`other`" + `. The usual ` +
		"`go_*` and `process_*`" + ` families are there as well.

| metric | type | labels | meaning |
|---|---|---|---|
`)
	for _, f := range NewMetrics("test").Families() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, strings.Join(f.Labels, ", "), f.Help)
	}
	return b.String()
}

type rows struct{}

func (rows) Behind() time.Duration { return 3 * time.Second }
func (rows) Writing() int64        { return 2 }

func TestScrape(t *testing.T) {
	m := NewMetrics("1.2.3")
	m.HTTP.InFlight(1)
	m.HTTP.Request("manifest", "GET", 200, time.Millisecond, 10)
	m.HTTP.Request("manifest", "BREW", 799, time.Millisecond, -1)
	m.Cache.Answered("acme/hub", "blob", "hit")
	m.Cache.FillStarted("acme/hub")
	m.Cache.FillEnded("acme/hub", "stored", 7, 2, time.Second)
	m.Upstream.Request("acme/hub", "GET", 0, time.Second)
	m.Upstream.Breaker("acme/hub", true)
	m.Store.Collected("blob", 2, 100)
	m.Store.Watch(rows{})
	m.Work.JobDone("gc", "done", time.Second)
	m.Access.Login("password", "refused")

	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`weir_build_info{version="1.2.3"} 1`,
		`weir_http_requests_total{method="GET",route="manifest",status="200"} 1`,
		`weir_http_requests_total{method="other",route="manifest",status="other"} 1`,
		`weir_cache_answers_total{kind="blob",status="hit",upstream="acme/hub"} 1`,
		`weir_cache_fill_bytes_total{upstream="acme/hub"} 7`,
		`weir_cache_fill_resumes_total{upstream="acme/hub"} 2`,
		`weir_jobs_total{kind="gc",outcome="done"} 1`,
		`weir_store_change_lag_seconds 3`,
		`weir_store_writes_in_flight 2`,
		`weir_cache_fills_in_flight{upstream="acme/hub"} 0`,
		`weir_upstream_requests_total{method="GET",status="none",upstream="acme/hub"} 1`,
		`weir_upstream_breaker_open{upstream="acme/hub"} 1`,
		`weir_gc_freed_bytes_total 100`,
		`weir_access_logins_total{method="password",outcome="refused"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("missing %s", want)
		}
	}
}

func TestUpstreamLabelIsCapped(t *testing.T) {
	m := NewMetrics("test")
	for i := range maxUpstreams + 50 {
		m.Upstream.Token(fmt.Sprintf("g/u%d", i), "ok")
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_upstream_token_requests_total" && len(f.GetMetric()) != maxUpstreams+1 {
			t.Errorf("%d series", len(f.GetMetric()))
		}
	}
}

func TestLogger(t *testing.T) {
	var buf bytes.Buffer
	log, err := NewLogger(&buf, LogOptions{Level: "warn", Environment: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud", "n", 1, "after", 1500*time.Millisecond)
	if got := buf.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud","environment":"lab","n":1,"after":"1.5s"`) {
		t.Error(got)
	}
	if _, err := NewLogger(&buf, LogOptions{Level: "shout"}); err == nil {
		t.Error("level accepted")
	}
	if _, err := NewLogger(&buf, LogOptions{Format: "xml"}); err == nil {
		t.Error("format accepted")
	}
}

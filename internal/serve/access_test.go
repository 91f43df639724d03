package serve

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// TestAccessLineIsDocumented compares a line that has every field with docs/reference/log.md.
func TestAccessLineIsDocumented(t *testing.T) {
	out, log := newLogged()
	f := NewFront(Options{Log: log})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v2/acme/hub/app/manifests/1", nil)
	r.Header.Set("User-Agent", "test")
	info := &Info{ID: "id", Client: netip.MustParseAddr("192.0.2.1"), Address: "192.0.2.1", Host: "weir.test"}
	info.SetPrincipal("ann")
	info.SetOperation("manifest")
	info.SetReference("1")
	info.fail(oci.NewError(oci.CodeDenied, "no").WithCause(errors.New("cause")))
	start := time.Now()
	w := &responseWriter{}
	f.response(w, httptest.NewRecorder(), r, nil, start)
	w.status, w.sent, w.received, w.aborted = 403, 1, 2, true
	f.line(r, w, "distribution", info, registry.TraceValues{
		Group: "acme", Registry: "hub", Repository: "app", Member: "far", Cache: registry.CacheMiss, DecisionID: "d", Reason: "r", UpstreamTime: 1500 * time.Microsecond,
	}, start, start.Add(2*time.Millisecond+300*time.Nanosecond))
	line := out.lines(t)[0]
	if line["duration_ms"] != 2.0 || line["upstream_ms"] != 1.5 {
		t.Errorf("%v ms, %v ms at the upstream", line["duration_ms"], line["upstream_ms"])
	}
	for _, common := range []string{"time", "level", "msg"} {
		delete(line, common)
	}
	page, err := os.ReadFile("../../docs/reference/log.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	if got := slices.Sorted(maps.Keys(line)); !slices.Equal(got, documented) {
		t.Errorf("the line has  %v\nthe page has %v", got, documented)
	}
}

package stack_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestObserved does one of everything, and finds it in the access lines and in what Prometheus scrapes.
func TestObserved(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	operators := l.Addr().String()
	_ = l.Close()
	s := stack.Start(t, stack.Options{Configure: func(c *config.Config) { c.Ops.Listen = operators }})
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	image := registrytest.RandomImage(1, 1, 1000)
	u.Put("library/app", []string{"1", "latest"}, image)
	s.Apply(t, fmt.Sprintf(`groups:
- name: acme
  upstreams: [{name: far, url: %q, freshness: {classes: [{pattern: "*:latest", for: always}]}}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]`, u.URL()))

	layer := image.Layers()[0]
	pull := func(what, status string) {
		t.Helper()
		a := s.Do(t, "GET", "acme/hub/library/app/"+what).Want(t, 200)
		line := s.Log.Request(t, a.Header.Get("Weir-Decision"))
		_, reference, _ := strings.Cut(what, "/")
		for key, want := range map[string]any{
			"id": a.Header.Get("X-Request-Id"), "principal": "anonymous", "group": "acme", "registry": "hub", "repository": "library/app",
			"reference": reference, "member": "far", "cache": status, "bytes": float64(len(a.Body)), "status": 200.0,
		} {
			if line[key] != want {
				t.Errorf("%s, %s: %s is %v, want %v", what, status, key, line[key], want)
			}
		}
		asked, _ := line["upstream_ms"].(float64)
		whole, _ := line["duration_ms"].(float64)
		if whole <= 0 || asked > whole || (asked > 0) == (status == "hit") {
			t.Errorf("%s, %s: %v of %v ms spent on the upstream", what, status, asked, whole)
		}
	}
	pull("manifests/1", "miss")
	pull("manifests/1", "hit")
	pull("blobs/"+string(layer.Digest), "miss")
	s.Do(t, "GET", "acme/hub/library/app/blobs/"+string(layer.Digest)).Want(t, 200)
	pull("manifests/latest", "miss")
	u.Fail(registrytest.Rule{Fault: registrytest.Status(502)})
	pull("manifests/latest", "stale")

	s.As(t, "admin").Push(t, "acme/app", []string{"1"}, image)
	line := s.Log.Find(t, "the access line of the push", func(line stack.Line) bool {
		return line["route"] == "distribution.manifest" && line["method"] == "PUT" && line["reference"] == "1"
	})
	if line["principal"] != "admin" || line["repository"] != "app" || line["received"] != float64(len(image.Manifest.Payload)) || line["status"] != 201.0 {
		t.Errorf("the access line of the push: %v", line)
	}

	s.As(t, "admin").Do(t, "GET", "/api/v1/groups/acme/upstreams").Want(t, 200)
	line = s.Log.Find(t, "the access line of the API", func(line stack.Line) bool { return line["path"] == "/api/v1/groups/acme/upstreams" })
	if line["principal"] != "admin" || line["group"] != "acme" {
		t.Errorf("the access line of the API: %v", line)
	}

	scraped := stack.Remote{URL: "http://" + operators}.Do(t, "GET", "/metrics").Want(t, 200).Body
	for _, want := range []string{
		`weir_http_requests_total\{method="GET",route="distribution.manifest",status="200"\} 4`,
		`weir_http_requests_total\{method="PUT",route="distribution.manifest",status="201"\} 2`,
		`weir_http_response_bytes_total\{route="distribution.blob"\} 2000`,
		`weir_cache_answers_total\{kind="manifest",status="miss",upstream="acme/far"\} 2`,
		`weir_cache_answers_total\{kind="manifest",status="hit",upstream="acme/far"\} 1`,
		`weir_cache_answers_total\{kind="manifest",status="stale",upstream="acme/far"\} 1`,
		`weir_cache_checks_total\{result="unknown",upstream="acme/far"\} 1`,
		`weir_cache_fills_total\{result="stored",upstream="acme/far"\} 1`,
		`weir_cache_fill_bytes_total\{upstream="acme/far"\} 1000`,
		`weir_upstream_requests_total\{method="GET",status="2xx",upstream="acme/far"\} 3`,
		`weir_upstream_requests_total\{method="HEAD",status="5xx",upstream="acme/far"\} 1`,
		`weir_upstream_breaker_open\{upstream="acme/far"\} 0`,
		`weir_store_query_duration_seconds_count\{operation="write"\} [1-9]\d*`,
		`weir_store_change_lag_seconds \d`,
		`weir_store_writes_in_flight \d`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).Match(scraped) {
			t.Errorf("not scraped: %s", want)
		}
	}
	for _, secret := range []string{string(layer.Digest), "library/app", operators} {
		if strings.Contains(string(scraped), secret) {
			t.Errorf("%s is a label", secret)
		}
	}
	if t.Failed() {
		t.Logf("%s", regexp.MustCompile(`(?m)^(#|go_|process_|weir_\w+_bucket).*\n`).ReplaceAll(scraped, nil))
	}
}

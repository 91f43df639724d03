package api_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// The page has every operation and schema, needs nothing but itself, and its links lead somewhere.
func TestDocs(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	r := w.send(t, "nobody", "GET", "/docs", "")
	if r.status != http.StatusOK || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %s", r.status, r.header.Get("Content-Type"))
	}
	policy := r.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	for _, o := range w.api.Operations() {
		if !strings.Contains(r.body, `id="`+o.OperationID+`"`) {
			t.Errorf("operation %s is missing", o.OperationID)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`id="([^"]+)"`).FindAllStringSubmatch(r.body, -1) {
		if ids[m[1]] {
			t.Errorf("id %s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(href|src)="([^"]*)"`).FindAllStringSubmatch(r.body, -1) {
		anchor, within := strings.CutPrefix(m[2], "#")
		if within && !ids[anchor] || !within && m[2] != "/api/v1/openapi.json" {
			t.Errorf("%s leads nowhere", m[0])
		}
	}
	if strings.Contains(r.body, "<script") || strings.Contains(r.body, "ZgotmplZ") {
		t.Error("the page has a script, or something that the template refused")
	}
	for _, part := range []string{`curl -u`, `-X PATCH`, "at most 1024 characters", "1 to 1000; default 100", `href="#schema-Upstream"`, "If-Match"} {
		if !strings.Contains(r.body, part) {
			t.Errorf("no %s", part)
		}
	}
	if r := w.send(t, "nobody", "HEAD", "/docs", ""); r.status != http.StatusOK || r.body != "" {
		t.Errorf("HEAD: %d with %d bytes", r.status, len(r.body))
	}
	if r := w.wantAs(t, "nobody", "GET", "/nothing", "", 404, "/api/v1/docs"); !strings.Contains(r.header.Get("Link"), "service-doc") {
		t.Errorf("Link: %s", r.header.Get("Link"))
	}
}

package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// The document says of every operation how it fails, of every conditional read that it may answer 304, and what answers look like.
func TestAnswersAreDescribed(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for _, o := range w.api.Operations() {
		if slices.Contains(otherDoor, o.OperationID) {
			continue
		}
		failure := o.Responses["default"]
		if failure == nil || failure.Content["application/problem+json"] == nil || !strings.HasSuffix(failure.Content["application/problem+json"].Schema.Ref, "/ErrorModel") {
			t.Errorf("%s does not say how it fails", o.OperationID)
		}
		conditional := false
		for _, p := range o.Parameters {
			conditional = conditional || o.Method == "GET" && p.Name == "If-None-Match"
		}
		if (o.Responses["304"] != nil) != conditional {
			t.Errorf("%s takes If-None-Match: %t, and has 304: %t", o.OperationID, conditional, o.Responses["304"] != nil)
		}
		for status, r := range o.Responses {
			if status != "304" && status != "204" && status != "202" && len(r.Content) == 0 {
				t.Errorf("%s does not say what its %s looks like", o.OperationID, status)
			}
			for kind, m := range r.Content {
				if m.Schema == nil {
					t.Errorf("%s does not say what %s of its %s looks like", o.OperationID, kind, status)
				}
			}
		}
	}
}

// A body of another kind than an operation takes is refused, whatever it holds.
func TestMediaTypes(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for _, c := range []struct {
		method, path, kind string
		status             int
	}{
		{"PATCH", "/groups/acme", "application/json-patch+json", 415}, {"PATCH", "/groups/acme/upstreams/one", "application/json-patch+json", 415},
		{"PATCH", "/groups/acme", "application/merge-patch+json", 200}, {"PATCH", "/groups/acme", "application/json; charset=utf-8", 200},
		{"PUT", "/groups/acme", "application/merge-patch+json", 415}, {"PUT", "/groups/acme", "text/plain", 415}, {"PUT", "/groups/acme", ";", 415},
	} {
		a := w.send(t, "owner", c.method, c.path, `{"enabled": true}`, "Content-Type", c.kind)
		if c.path == "/groups/acme/upstreams/one" {
			a = w.send(t, "owner", c.method, c.path, `[{"op": "remove", "path": "/timeout"}]`, "Content-Type", c.kind)
		}
		if a.status != c.status || c.status == 415 && (!strings.Contains(a.body, "application/json") || !strings.Contains(a.body, `"location":"header.Content-Type"`)) {
			t.Errorf("%s %s as %q: %d %s", c.method, c.path, c.kind, a.status, a.body)
		}
		if c.status == 415 && c.method == "PATCH" && a.header.Get("Accept-Patch") != "application/json, application/merge-patch+json" {
			t.Error("Accept-Patch:", a.header.Get("Accept-Patch"))
		}
	}
}

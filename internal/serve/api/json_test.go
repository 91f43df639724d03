package api_test

import (
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// Of two values of a field one would be lost without a word.
func TestRepeatedFields(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for _, c := range []struct{ method, path, body, field string }{
		{"PUT", "/groups/acme/upstreams/new", `{"url": "https://a.test", "url": "https://b.test"}`, "url"},
		{"PUT", "/groups/acme/upstreams/new", `{"url": "https://a.test", "freshness": {"default": "1h", "default": "2h"}}`, "freshness.default"},
		{"PUT", "/groups/acme/upstreams/new", `{"url": "https://a.test", "rules": [{"deny": "a"}, {"deny": "b", "deny": "c"}]}`, "rules[1].deny"},
		{"PATCH", "/groups/acme/upstreams/two", `{"timeout": "1s", "timeout": "2s"}`, "timeout"},
		{"PUT", "/groups/acme/robots/bot", `{"enabled": true, "enabled": false}`, "enabled"},
		{"POST", "/apply", `{"groups": [], "groups": []}`, "groups"},
	} {
		w.wantAs(t, "admin", c.method, c.path, c.body, 400, "the field "+c.field+" stands there twice")
	}
	w.wantAs(t, "admin", "GET", "/groups/acme/upstreams/new", "", 404)
	w.wantAs(t, "admin", "PUT", "/groups/acme/upstreams/new", `{"url": "https://a.test", "rules": [{"deny": "a"}, {"deny": "b"}]}`, 201)
}

// What does not fit is told without what was sent, which may be a secret.
func TestProblemsDoNotEcho(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	const marker = "98765432123456789"
	for _, c := range []struct{ method, path, body string }{
		{"PUT", "/groups/acme/credentials/new", `{"username": "x", "password": ` + marker + `}`},
		{"PUT", "/groups/acme/upstreams/new", `{"url": "https://a.test", "concurrency": ` + marker + `999}`},
		{"PUT", "/groups/acme/upstreams/new", `{"url": "https://a.test", "concurrency": 1` + marker + `e300}`},
		{"PUT", "/groups/acme/credentials/new", `{"username": ` + marker + `x`},
		{"POST", "/groups/acme/robots/bot/tokens", `{"name": "x", "expires_at": "` + marker + `"}`},
		{"PUT", "/groups/acme/robots/bot", `{"enabled": "` + marker + `"}`},
		{"GET", "/groups?limit=" + marker + "x", ""},
		{"GET", "/groups?sort=" + marker, ""},
	} {
		r := w.send(t, "admin", c.method, c.path, c.body)
		if r.status < 400 || r.status >= 500 || strings.Contains(r.body, marker) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, r.status, r.body)
		}
	}
}

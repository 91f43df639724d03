package api_test

import (
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// A dry run of a deletion says who would lose what, does what the deletion would do, and changes nothing.
func TestDeletionsAreTried(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		w.want(t, "PUT", "/groups/acme/roles/publisher", `{"actions": ["pull"]}`, 201)
		w.want(t, "PUT", "/groups/acme/robots/bot", `{"grants": [{"path": "team", "role": "publisher"}, {"role": "reader"}]}`, 201)
		w.want(t, "PUT", "/groups/acme/trust-rules/ci", aRule, 201)
		w.want(t, "PUT", "/groups/acme/grants/stranger/team", `{"role": "publisher"}`, 201)
		w.wantAs(t, "admin", "PUT", "/grants/stranger", `{"role": "reader"}`, 200)
		for _, c := range []struct {
			path   string
			status int
			parts  []string
		}{
			{"/groups/acme/robots/bot", 200, []string{`"kind":"robot"`, `"old":"reader, publisher:team"`, "its tokens end"}},
			{"/groups/acme/trust-rules/ci", 200, []string{`"kind":"trust_rule"`, "its tokens end"}},
			{"/groups/acme/roles/publisher", 409, []string{"acme/bot", "stranger"}},
			{"/groups/acme/grants/stranger/team", 200, []string{`"kind":"grant","name":"stranger team"`}},
			{"/grants/stranger", 200, []string{`"kind":"grant","name":"stranger"`, `"old":"reader"`}},
			{"/grants/admin", 409, []string{"administrator"}},
			{"/users/stranger", 200, []string{`"kind":"user","name":"stranger"`, `"name":"stranger team"`, `"old":"publisher"`}},
			{"/users/admin", 409, []string{"administrator"}},
		} {
			before := w.wantAs(t, "admin", "GET", c.path, "", 200)
			w.wantAs(t, "admin", "DELETE", c.path+"?dry_run=true", "", c.status, c.parts...)
			if after := w.wantAs(t, "admin", "GET", c.path, "", 200); after.body != before.body {
				t.Errorf("trying to delete %s has changed it: %s", c.path, after.body)
			}
			for _, etag := range []string{`"other"`, before.header.Get("ETag")} {
				want := 412
				if etag != `"other"` {
					want = c.status
				}
				if r := w.send(t, "admin", "DELETE", c.path+"?dry_run=true", "", "If-Match", etag); r.status != want {
					t.Errorf("%s with ETag %s: %d, want %d: %s", c.path, etag, r.status, want, r.body)
				}
			}
		}
		// In this order each is free to go.
		for _, path := range []string{"/users/stranger", "/groups/acme/robots/bot", "/groups/acme/trust-rules/ci", "/groups/acme/roles/publisher"} {
			tag := w.wantAs(t, "admin", "GET", path, "", 200).header.Get("ETag")
			if r := w.send(t, "admin", "DELETE", path, "", "If-Match", tag); r.status != 204 {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
			w.wantAs(t, "admin", "GET", path, "", 404)
		}
	})
}

// Conditions on users and grants of the instance hold in the transaction of the change: of two changes with one ETag one is made.
func TestOneOfTwoChanges(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		w.wantAs(t, "admin", "PUT", "/grants/reader", `{"role": "reader"}`, 200)
		for _, c := range []struct{ path, method, body string }{
			{"/users/reader", "PATCH", `{"enabled": false}`}, {"/grants/reader", "PUT", `{"role": "developer"}`},
		} {
			tag := w.wantAs(t, "admin", "GET", c.path, "", 200).header.Get("ETag")
			answers := make(chan int)
			for range 4 {
				go func() { answers <- w.send(t, "admin", c.method, c.path, c.body, "If-Match", tag).status }()
			}
			made := 0
			for range 4 {
				switch status := <-answers; {
				case status == 200:
					made++
				case status != 412:
					t.Errorf("%s %s: %d", c.method, c.path, status)
				}
			}
			if made != 1 {
				t.Errorf("%s %s: %d of 4 were made", c.method, c.path, made)
			}
		}
		if r := w.send(t, "admin", "PUT", "/grants/reader", `{"role": "owner"}`, "If-None-Match", "*"); r.status != 412 || !strings.Contains(r.body, "exists") {
			t.Error(r.status, r.body)
		}
	})
}

package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/work"
)

// listed reads a list from page to page and returns what its items have as a field.
func (w *world) listed(t *testing.T, path, field string) (names []string) {
	t.Helper()
	for range 50 {
		r := w.wantAs(t, "admin", "GET", path, "", 200)
		var page struct{ Items []map[string]any }
		if err := json.Unmarshal([]byte(r.body), &page); err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			names = append(names, fmt.Sprint(item[field]))
		}
		address, more := strings.CutSuffix(strings.TrimPrefix(r.header.Get("Link"), "</api/v1"), `>; rel="next"`)
		if !more {
			return names
		}
		path = address
	}
	t.Fatalf("%s does not end", path)
	return nil
}

// TestFilters asks every list of definitions for some of what it has.
func TestFilters(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	const acme = "/groups/acme/"
	w.wantAs(t, "owner", "PATCH", acme+"upstreams/three", `{"enabled": false, "hosts": ["registry-1.docker.io"]}`, 200)
	w.wantAs(t, "owner", "PUT", acme+"robots/ci", `{}`, 201)
	w.wantAs(t, "owner", "PUT", acme+"robots/old", `{"enabled": false, "grants": [{"role": "developer", "path": "old"}]}`, 201)
	w.wantAs(t, "owner", "PUT", acme+"trust-rules/gitlab", aRule, 201)
	w.wantAs(t, "admin", "PATCH", "/users/stranger", `{"enabled": false}`, 200)
	w.wantAs(t, "admin", "PUT", "/groups/dark", `{"enabled": false}`, 201)
	for path, want := range map[string]string{
		"upstreams?credential=ci": "one", "upstreams?host=two.test": "two", "upstreams?host=docker.io": "three", "upstreams?host=none.test": "",
		"upstreams?enabled=false": "three", "upstreams?enabled=true&name=o&limit=1": "one own two", "upstreams?sort=-name&enabled=true": "two own one",
		"registries?upstream=two": "all some", "registries?upstream=three": "some", "registries?anonymous_pull=true": "some", "registries?anonymous_pull=false": "all",
		"registries?enabled=false": "", "credentials?host=one.test": "ci", "credentials?host=three.test": "",
		"robots?enabled=false": "old", "robots?enabled=true": "ci", "trust-rules?issuer=https://ci.test": "gitlab", "trust-rules?issuer=https://x.test": "", "trust-rules?enabled=false": "",
		"roles?action=own": "owner", "roles?action=push&name=er": "developer maintainer owner", "roles?action=administer": "",
	} {
		if got := strings.Join(w.listed(t, acme+path, "name"), " "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string][2]string{
		acme + "hosted?anonymous_pull=true": {"prefix", "own"}, acme + "hosted?anonymous_pull=false": {"prefix", ""},
		acme + "host-bindings?registry=some": {"host", "some.acme.test"}, acme + "host-bindings?registry=all": {"host", ""}, acme + "host-bindings?mirror=true": {"host", ""},
		acme + "host-bindings?mirror=false": {"host", "some.acme.test"},
		acme + "grants?role=developer":      {"account", "acme/old developer"}, acme + "grants?kind=robot": {"account", "acme/old"},
		acme + "grants?role=developer&kind=user": {"account", "developer"}, "/grants?role=admin": {"account", "admin"}, "/grants?kind=robot": {"account", ""},
		"/roles?action=administer": {"name", "admin"}, "/users?enabled=false": {"name", "stranger"}, "/groups?enabled=false": {"name", "dark"}, "/groups?name=ac": {"name", "acme"},
		"/groups?enabled=true&name=dark": {"name", ""},
	} {
		if got := strings.Join(w.listed(t, path, want[0]), " "); got != want[1] {
			t.Errorf("%s: %q, want %q", path, got, want[1])
		}
	}
	for path, parameter := range map[string]string{
		"upstreams?credential=none": "credential", "registries?upstream=none": "upstream", "host-bindings?registry=none": "registry", "grants?role=none": "role",
		"upstreams?enabled=maybe": "enabled", "roles?action=fly": "action", "grants?kind=cat": "kind",
	} {
		w.wantAs(t, "admin", "GET", acme+path, "", 422, `"location":"query.`+parameter+`"`)
	}
}

// TestTokensByState: a token logs in, or its time is over, or it was revoked.
func TestTokensByState(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "owner", "PUT", "/groups/acme/robots/ci", `{"grants": [{"role": "developer"}]}`, 201)
	for path, user := range map[string]string{"/tokens": "admin", "/groups/acme/robots/ci/tokens": "owner"} {
		ids := map[string]string{}
		for _, name := range []string{"active", "expired", "revoked"} {
			var made struct{ ID string }
			r := w.wantAs(t, user, "POST", path, `{"name": "`+name+`"}`, 201)
			if err := json.Unmarshal([]byte(r.body), &made); err != nil {
				t.Fatal(err)
			}
			ids[name] = made.ID
		}
		err := w.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error { // none can be made whose time is over
			_, err := tx.Conn().ExecContext(ctx, "UPDATE tokens SET expires_at = 1 WHERE id = "+ids["expired"])
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		w.wantAs(t, user, "DELETE", path+"/"+ids["revoked"], "", 204)
		for state, want := range map[string][]string{"active": {"active"}, "expired": {"expired"}, "revoked": {"revoked"}, "": {"active", "expired", "revoked"}} {
			query := "?limit=1"
			if state != "" {
				query += "&state=" + state
			}
			if got := w.listed(t, path+query, "name"); !slices.Equal(got, want) {
				t.Errorf("%s%s: %q, want %q", path, query, got, want)
			}
		}
		w.wantAs(t, user, "GET", path+"?state=lost", "", 422)
	}
}

// TestJobsByKind follows pages of some of the jobs to their end.
func TestJobsByKind(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	err := w.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		for i := range 5 {
			for _, kind := range []string{"dig", "toil"} {
				if err := work.Enqueue(ctx, tx, work.Job{Kind: kind, Key: fmt.Sprint(i)}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"?kind=toil&limit=2": "0 1 2 3 4 coal", "?kind=dig&limit=5": "0 1 2 3 4", "?kind=none": "", "?state=failed": "", "?state=waiting&kind=toil": "0 1 2 3 4 coal", "?limit=1": "0 1 2 3 4 0 1 2 3 4 coal",
	} {
		if got := strings.Join(w.listed(t, "/jobs"+query, "key"), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	w.wantAs(t, "admin", "GET", "/jobs?state=lost", "", 422)
}

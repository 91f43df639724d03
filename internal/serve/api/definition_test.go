package api_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// A definition is created, read, replaced, patched and deleted by its name.
func TestUpstreamLife(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		const path = "/groups/acme/upstreams/quay"
		w.want(t, "GET", path, "", 404, "no such upstream")
		w.want(t, "PUT", path, `{"url": "https://QUAY.test/", "timeout": "5s"}`, 201, `"url":"https://quay.test"`, `"timeout":"5s"`, `"default":"24h"`)
		first := w.want(t, "GET", path, "", 200)
		w.want(t, "PATCH", path, `{"on_unknown": "stop"}`, 200, `"timeout":"5s"`, `"on_unknown":"stop"`)
		w.want(t, "PATCH", path, `{"timeout": null}`, 200, `"on_unknown":"stop"`)
		if r := w.want(t, "PUT", path, `{"url": "https://quay.test"}`, 200, `"on_unknown":"continue"`); strings.Contains(r.body, "timeout") {
			t.Errorf("what is left out stays: %s", r.body)
		}
		w.want(t, "PUT", path+"?dry_run=true", `{"url": "https://other.test"}`, 200, `"applied":false`, "another place or login")
		now := w.want(t, "GET", path, "", 200, "https://quay.test")
		if first.header.Get("ETag") == now.header.Get("ETag") || now.header.Get("ETag") == "" {
			t.Errorf("ETags %q, then %q", first.header.Get("ETag"), now.header.Get("ETag"))
		}
		if r := w.send(t, "owner", "GET", path, "", "If-None-Match", now.header.Get("ETag")); r.status != http.StatusNotModified || r.body != "" || r.header.Get("ETag") == "" {
			t.Errorf("%d %q, want 304", r.status, r.body)
		}
		for _, c := range []struct{ method, name, value string }{
			{"PUT", "If-Match", first.header.Get("ETag")}, {"PATCH", "If-Match", `"x"`}, {"DELETE", "If-Match", first.header.Get("ETag")}, {"PUT", "If-None-Match", "*"},
		} {
			if r := w.send(t, "owner", c.method, path, `{"url": "https://lost.test"}`, c.name, c.value); r.status != http.StatusPreconditionFailed {
				t.Errorf("%s with %s: %s is %d, want 412", c.method, c.name, c.value, r.status)
			}
		}
		w.want(t, "DELETE", path+"?dry_run=true", "", 200, `"action":"remove"`)
		if r := w.send(t, "owner", "DELETE", path, "", "If-Match", now.header.Get("ETag")); r.status != http.StatusNoContent || r.body != "" {
			t.Errorf("%d %s", r.status, r.body)
		}
		w.want(t, "DELETE", path, "", 404)
	})
}

// Problems name the part of the request that they are about, and what to do.
func TestProblems(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for _, c := range []struct {
		method, path, in string
		status           int
		parts            []string
	}{
		{"PUT", "/upstreams/x", `{"url": "https://r.test/v2"}`, 422, []string{`"location":"body.url"`, "leave out /v2"}},
		{"PUT", "/upstreams/x", `{"url": "https://one.test", "credential": "ci"}`, 422, []string{`"location":"body"`, "upstream one", "use that one"}},
		{"PUT", "/upstreams/x", `{"url": "https://three.test:444", "credential": "ci"}`, 422, []string{"three.test:444", "add the host"}},
		{"PUT", "/upstreams/x", `{"url": "https://r.test", "rules": [{"allow": "a"}, {}]}`, 422, []string{`"location":"body.rules[1]"`}},
		{"PUT", "/upstreams/Bad", `{"url": "https://r.test"}`, 422, []string{`"location":"path"`, "lower-case"}},
		{"PUT", "/upstreams/x", `{"url": "https://r.test", "name": "y"}`, 422, []string{`"location":"body.name"`}},
		{"PUT", "/upstreams/x", `{"uri": "https://r.test"}`, 422, []string{`"location":"body.uri"`}},
		{"PATCH", "/upstreams/one", `{"freshness": {"default": 7}}`, 422, []string{`"location":"body.freshness.default"`}},
		{"PATCH", "/upstreams/one", `{"name": "uno"}`, 422, []string{`"location":"body.name"`}},
		{"PATCH", "/upstreams/one", `[]`, 422, []string{`"location":"body"`}},
		{"PATCH", "/upstreams/one", `{`, 400, []string{"JSON"}},
		{"PUT", "/upstreams/one/rules", `{"items": [{"allow": "a", "upstream": "two"}]}`, 422, []string{`"location":"body.items[0].upstream"`}},
		{"PUT", "/upstreams/one/freshness", `{"classes": [{"pattern": "x", "for": "soon"}]}`, 422, []string{`"location":"body.classes[0].for"`}},
		{"PUT", "/registries/five", `{"members": [{"upstream": "none"}]}`, 422, []string{`"location":"body.members[0].upstream"`, "no upstream"}},
		{"PUT", "/registries/all/members/none", `{}`, 422, []string{"no upstream"}},
		{"PUT", "/credentials/new", `{"username": "x"}`, 422, []string{`"location":"body.password"`, "needs its secret"}},
		{"DELETE", "/credentials/ci", "", 409, []string{"one"}},
		{"DELETE", "/registries/some", "", 409, []string{"some.acme.test"}},
		{"PUT", "/host-bindings/b.test", `{"registry": "none"}`, 422, []string{`"location":"body.registry"`}},
		{"PUT", "/hosted/all%2Fx", `{}`, 422, []string{`"location":"path"`, "registry of the group"}},
		{"GET", "/upstreams?sort=age", "", 422, []string{`"location":"query.sort"`}},
		{"GET", "/upstreams?after=x", "", 422, []string{`"location":"query.after"`}},
		{"GET", "/upstreams?limit=1001", "", 422, []string{`"location":"query.limit"`}},
	} {
		r := w.want(t, c.method, "/groups/acme"+c.path, c.in, c.status, c.parts...)
		if r.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: a problem of type %s", c.method, c.path, r.header.Get("Content-Type"))
		}
	}
}

func TestMembers(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		const members = "/groups/acme/registries/all/members"
		order := func(want string) response {
			t.Helper()
			r := w.want(t, "GET", members, "", 200)
			var got []string
			for _, part := range strings.Split(r.body, `"upstream":"`)[1:] {
				name, _, _ := strings.Cut(part, `"`)
				got = append(got, name)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("order %v, want %s", got, want)
			}
			return r
		}
		order("own one two")
		w.want(t, "PUT", members+"/three", `{"position": 1}`, 201, `"position":1`)
		order("three own one two")
		w.want(t, "PATCH", members+"/three", `{"position": 3}`, 200, `"position":3`)
		order("own one three two")
		w.want(t, "PATCH", members+"/own", `{"position": 5}`, 422, `"location":"body.position"`, "1 to 4")
		w.want(t, "PUT", members+"/none", `{}`, 422, `"location":"path.upstream"`)
		w.want(t, "PATCH", members+"/two", `{"claims": ["acme/*"]}`, 422, `"location":"body.claims[0]"`)
		w.want(t, "PUT", "/groups/acme/upstreams/five", `{"url": "https://five.test"}`, 201)
		w.want(t, "PUT", members+"/five", `{}`, 422, `"location":"path.upstream"`, "the limit is 4")
		w.want(t, "PATCH", members+"/own", `{"position": 4, "enabled": false}`, 200, `"position":4`, `"claims":["acme/*"]`)
		before := order("one three two own")
		// A new order as a whole; claims and being off survive it.
		w.want(t, "PUT", members, `{"items": [{"upstream": "own"}, {"upstream": "two"}, {"upstream": "one"}]}`, 200, `{"position":1,"upstream":"own","enabled":false,"claims":["acme/*"]}`)
		w.want(t, "PUT", members, `{"items": [{"upstream": "own", "position": 2}, {"upstream": "two"}]}`, 422, `"location":"body.items[0].position"`, "its place in the list is 1")
		again := w.want(t, "GET", members, "", 200, `"position":3`)
		w.want(t, "PUT", members, again.body, 200, `"position":3`) // what is read can be sent
		if r := w.send(t, "owner", "PUT", members, `{"items": []}`, "If-Match", before.header.Get("ETag")); r.status != 412 {
			t.Errorf("an order that is lost: %d", r.status)
		}
		w.want(t, "PUT", members, `{"items": [{"upstream": "own"}, {"upstream": "own"}]}`, 422, `"location":"body.items[1].upstream"`)
		order("own two one")
		w.want(t, "GET", "/groups/acme/registries/all/rules", "", 200, `"deny":"*:latest"`)
		w.want(t, "DELETE", members+"/two", "", 204)
		order("own one")
		w.want(t, "GET", "/groups/acme/registries/all/rules", "", 200, `{"items":[]}`)
		w.want(t, "DELETE", members+"/two", "", 404)
		w.want(t, "PATCH", members+"/two", `{}`, 404)
		w.want(t, "GET", "/groups/acme/registries/none/members/two", "", 404)
	})
}

// Deleting closes gaps, keeps what others use, and says what stands in the way.
func TestDeletions(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		w.want(t, "DELETE", "/groups/acme/upstreams/two", "", 204)
		w.want(t, "GET", "/groups/acme/registries/all", "", 200, `"members":[{"upstream":"own"`, `{"upstream":"one","enabled":true}]`)
		w.want(t, "GET", "/groups/acme/registries/some", "", 200, `"members":[{"upstream":"three","enabled":true}]`)
		w.reset(t)
		w.want(t, "DELETE", "/groups/acme/registries/all", "", 204)
		w.want(t, "GET", "/groups/acme/upstreams", "", 200, `"name":"one"`, `"name":"two"`, `"name":"own"`)
		w.reset(t)
		w.want(t, "DELETE", "/groups/acme/registries/all?with_exclusive_upstreams=true&dry_run=true", "", 200, "- upstream one", "- upstream own")
		w.want(t, "DELETE", "/groups/acme/registries/all?with_exclusive_upstreams=true", "", 204)
		if r := w.want(t, "GET", "/groups/acme/upstreams", "", 200, `"name":"two"`, `"name":"three"`); strings.Contains(r.body, `"name":"one"`) {
			t.Errorf("exclusive upstreams are still there: %s", r.body)
		}
		w.want(t, "GET", "/groups/acme/credentials/ci/usage", "", 200, `"upstreams":[]`)
		w.want(t, "DELETE", "/groups/acme/credentials/ci", "", 204)
		w.want(t, "DELETE", "/groups/acme?dry_run=true", "", 200, "- the group", "- registry some")
		w.want(t, "DELETE", "/groups/acme", "", 204)
		w.wantAs(t, "admin", "GET", "/groups/acme", "", 404)
		w.reset(t)
	})
}

// While a group's virtual registries are turned off, everything about them says so.
func TestTurnedOff(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "maintainer", "PATCH", "/groups/acme", `{"enabled": false}`, 403, "role owner")
	w.want(t, "PATCH", "/groups/acme", `{"enabled": false}`, 200, `"enabled":false`)
	for _, path := range []string{"/upstreams", "/upstreams/one", "/upstreams/one/rules", "/registries", "/registries/all/members/one", "/host-bindings"} {
		w.want(t, "GET", "/groups/acme"+path, "", 409, "turned off", "PATCH")
	}
	w.want(t, "PUT", "/groups/acme/upstreams/new", `{"url": "https://new.test"}`, 409)
	w.want(t, "DELETE", "/groups/acme/registries/all", "", 409)
	w.want(t, "GET", "/groups/acme/credentials/ci", "", 200)
	w.want(t, "GET", "/groups/acme/hosted/own", "", 200)
	w.want(t, "PUT", "/groups/acme", `{}`, 200, `"enabled":true`)
	w.want(t, "GET", "/groups/acme/upstreams/one", "", 200)
}

// Secrets are written and never read; who is no owner can bring none to another place.
func TestCredentials(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	const path = "/groups/acme/credentials/ci"
	first := w.wantAs(t, "reader", "GET", path, "", 200, `"hosts":["one.test","two.test"]`)
	w.want(t, "PUT", path, `{"username": "ci", "hosts": ["one.test", "two.test"]}`, 200)
	same := w.want(t, "GET", path, "", 200)
	if first.header.Get("ETag") != same.header.Get("ETag") {
		t.Error("a change without a secret has changed it")
	}
	w.want(t, "PATCH", path, `{"password": "s3cret-new"}`, 200)
	if r := w.want(t, "GET", path, "", 200); r.header.Get("ETag") == first.header.Get("ETag") || r.body != first.body {
		t.Errorf("a new secret shows in the ETag alone: %s, was %s", r.body, first.body)
	}
	w.want(t, "PATCH", path, `{"password": null}`, 422, `"location":"body.password"`)
	w.wantAs(t, "maintainer", "PATCH", path, `{"hosts": ["evil.test"]}`, 403, "owner")
	w.want(t, "GET", path+"/usage", "", 200, `{"name":"one","url":"https://one.test","registries":["all"]}`, `"hosts":["one.test","two.test"]`)

	for in, status := range map[string]int{
		`{"url": "https://evil.test", "credential": "open"}`:                            403,
		`{"url": "http://two.test", "credential": "ci"}`:                                403,
		`{"url": "https://two.test", "credential": "ci", "realm_hosts": ["evil.test"]}`: 403,
		`{"url": "https://two.test", "credential": "ci", "ca": ` + certificate(t) + `}`: 403,
		`{"url": "https://two.test", "credential": "ci"}`:                               201,
	} {
		w.wantAs(t, "maintainer", "PUT", "/groups/acme/upstreams/new", in, status)
	}
	w.wantAs(t, "maintainer", "PATCH", "/groups/acme/upstreams/one", `{"timeout": "3s"}`, 200)
	w.wantAs(t, "maintainer", "PATCH", "/groups/acme/upstreams/one", `{"url": "http://one.test"}`, 403, `"location":"body.credential"`)
	w.want(t, "PUT", "/groups/acme/upstreams/owned", `{"url": "https://owned.test", "credential": "open"}`, 201)
	w.wantAs(t, "maintainer", "PUT", "/groups/acme/upstreams/owned2", `{"url": "https://owned.test/team", "credential": "open"}`, 201)
}

// certificate is one in PEM form, as a JSON string.
func certificate(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	text, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A change leaves its event, with who made it, and without secrets; a secret that was replaced stays usable for a while.
func TestEvents(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		owner, err := w.dir.Account(t.Context(), "owner")
		if err != nil {
			t.Fatal(err)
		}
		count := func(kind, part string) (n int) {
			t.Helper()
			err := db.ReadConn().QueryRowContext(t.Context(), "SELECT count(*) FROM events WHERE actor_id = $1 AND kind = $2 AND subject LIKE '%' || $3 || '%' AND detail NOT LIKE '%s3cret%'",
				owner.ID, kind, part).Scan(&n)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		w.want(t, "PATCH", "/groups/acme/credentials/ci", `{"password": "s3cret-new"}`, 200)
		w.want(t, "PATCH", "/groups/acme/credentials/ci?dry_run=true", `{"password": "s3cret-dry"}`, 200, "secret", "changed")
		w.want(t, "PUT", "/groups/acme/upstreams/new", `{"url": "https://new.test"}`, 201)
		w.want(t, "DELETE", "/groups/acme/upstreams/new", "", 204)
		w.want(t, "PUT", "/groups/acme/upstreams/bad", `{"url": "no"}`, 422)
		for kind, want := range map[string]int{"definition.changed credential ci": 1, "definition.added upstream new": 1, "definition.removed upstream new": 1, "definition.added upstream bad": 0} {
			kind, part, _ := strings.Cut(kind, " ")
			if n := count(kind, part); n != want {
				t.Errorf("%d events %s %s, want %d", n, kind, part, want)
			}
		}
		g, err := db.Group(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		c := g.Credentials[0]
		if c.Name != "ci" || c.Version != 2 || c.Previous.Version != 1 || len(c.Previous.Secret) == 0 || !c.Previous.Until.After(time.Now()) {
			t.Errorf("the secret before is not kept: version %d, previous %d until %v", c.Version, c.Previous.Version, c.Previous.Until)
		}
		w.want(t, "PATCH", "/groups/acme/credentials/ci", `{"username": "other", "password": "s3cret-other"}`, 200)
		if g, err = db.Group(t.Context(), "acme"); err != nil || len(g.Credentials[0].Previous.Secret) != 0 {
			t.Errorf("the secret of another login is kept: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for i := range 2 {
		w.want(t, "PUT", "/groups/acme/registries/r"+strconv.Itoa(i), `{}`, 201)
	}
	w.want(t, "PUT", "/groups/acme/registries/more", `{}`, 422, "limit is 4", "limits.registries_per_group")
	w.want(t, "PUT", "/groups/acme/upstreams/four", `{"url": "https://four.test"}`, 201)
	w.want(t, "PUT", "/groups/acme/registries/all/members/three", `{}`, 201)
	w.want(t, "PUT", "/groups/acme/registries/all/members/four", `{}`, 422, "limit is 4", "limits.members_per_registry")
}

// Of several updates that began with the same ETag one is made and the others are told; whoever reads again loses nothing.
func TestRaces(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		const path = "/groups/acme/upstreams/one"
		tag := w.want(t, "GET", path, "", 200).header.Get("ETag")
		race := func(n int, do func(i int)) {
			var wait sync.WaitGroup
			for i := range n {
				wait.Go(func() { do(i) })
			}
			wait.Wait()
		}
		statuses := make([]int, 8)
		race(8, func(i int) {
			statuses[i] = w.send(t, "owner", "PATCH", path, `{"concurrency": `+strconv.Itoa(i+1)+`}`, "If-Match", tag).status
		})
		count := map[int]int{}
		for _, s := range statuses {
			count[s]++
		}
		if count[200] != 1 || count[412] != 7 {
			t.Errorf("answers %v, want one 200", count)
		}
		created := make([]int, 8)
		race(8, func(i int) {
			created[i] = w.send(t, "owner", "PUT", "/groups/acme/upstreams/new", `{"url": "https://`+strconv.Itoa(i)+`.test"}`, "If-None-Match", "*").status
		})
		count = map[int]int{}
		for _, s := range created {
			count[s]++
		}
		if count[201] != 1 || count[412] != 7 {
			t.Errorf("answers %v, want one 201", count)
		}
		w.want(t, "PUT", "/groups/acme/upstreams/one/rules", `{"items": []}`, 200)
		race(6, func(i int) { w.addRule(t, "/groups/acme/upstreams/one/rules", "r"+strconv.Itoa(i)) })
		for i := range 6 {
			w.want(t, "GET", "/groups/acme/upstreams/one/rules", "", 200, `"r`+strconv.Itoa(i)+`"`)
		}
	})
}

// addRule reads, adds and writes until nobody has been faster.
func (w *world) addRule(t *testing.T, path, pattern string) {
	for {
		now := w.send(t, "owner", "GET", path, "")
		in := strings.TrimSuffix(strings.Replace(now.body, `{"items":[`, `{"items":[{"allow":"`+pattern+`"},`, 1), "\n")
		in = strings.Replace(in, ",]}", "]}", 1)
		switch r := w.send(t, "owner", "PUT", path, in, "If-Match", now.header.Get("ETag")); r.status {
		case http.StatusOK:
			return
		case http.StatusPreconditionFailed:
		default:
			t.Errorf("%d %s", r.status, r.body)
			return
		}
	}
}

// Pages of a list are the whole list although definitions come and go meanwhile.
func TestListPages(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		for i := range 9 {
			w.wantAs(t, "admin", "PUT", "/groups/g"+strconv.Itoa(i), `{}`, 201)
		}
		for _, order := range []string{"name", "-name"} {
			var got []string
			for path := "/groups?limit=2&sort=" + order; path != ""; {
				r := w.wantAs(t, "admin", "GET", path, "", 200)
				for _, part := range strings.Split(r.body, `"name":"`)[1:] {
					name, _, _ := strings.Cut(part, `"`)
					got = append(got, name)
				}
				w.wantAs(t, "admin", "PUT", "/groups/x"+strconv.Itoa(len(got)), `{}`, 201)
				w.wantAs(t, "admin", "DELETE", "/groups/x"+strconv.Itoa(len(got)), "", 204)
				path, _ = strings.CutPrefix(strings.TrimSuffix(r.header.Get("Link"), `>; rel="next"`), "</api/v1")
			}
			want := "acme g0 g1 g2 g3 g4 g5 g6 g7 g8"
			if order == "-name" {
				want = "g8 g7 g6 g5 g4 g3 g2 g1 g0 acme"
			}
			if strings.Join(got, " ") != want {
				t.Errorf("sort=%s: %v", order, got)
			}
		}
		if r := w.wantAs(t, "reader", "GET", "/groups?limit=1", "", 200, `"name":"acme"`); r.header.Get("Link") != "" {
			t.Errorf("a group that the caller may not see shows in %s", r.header.Get("Link"))
		}
		w.wantAs(t, "stranger", "GET", "/groups", "", 200, `{"items":[]}`)
		w.wantAs(t, "reader", "GET", "/groups/acme/upstreams?name=o&limit=2", "", 200, `"name":"one"`, `"name":"own"`)
	})
}

package api_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/event/audit"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// Events of a group are for its maintainers, those of all for administrators.
func TestEventRoles(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		for request, outcomes := range map[string]string{
			"GET /events":                     "401 403 403 403 403 403 200",
			"GET /events/export":              "401 403 403 403 403 403 200",
			"GET /events/verification":        "401 403 403 403 403 403 200",
			"GET /events/sealed":              "401 403 403 403 403 403 200",
			"GET /groups/acme/events":         "401 404 403 403 200 200 200",
			"GET /groups/acme/events/export":  "401 404 403 403 200 200 200",
			"GET /groups/none/events":         "401 404 404 404 404 404 404",
			"GET /events?actor=nobody-else":   "401 403 403 403 403 403 422",
			"GET /events?after=x":             "401 403 403 403 403 403 422",
			"GET /events?kind=tga.*":          "401 403 403 403 403 403 422",
			"GET /groups/acme/events?kind=x":  "401 404 403 403 422 422 422",
			"GET /events/export?actor=no-one": "401 403 403 403 403 403 422",
			"POST /users/no-one/erase":        "401 403 403 403 403 403 404",
			"POST /users/admin/erase":         "401 403 403 403 403 403 409",
		} {
			method, path, _ := strings.Cut(request, " ")
			for i, role := range roles {
				got := w.send(t, role, method, path, "")
				if want := strings.Fields(outcomes)[i]; strconv.Itoa(got.status) != want {
					t.Errorf("%s as %s: %d, want %s: %s", request, role, got.status, want, got.body)
				}
			}
		}
		w.wantAs(t, "admin", http.MethodPost, "/users/stranger/erase", "", http.StatusNoContent)
		w.wantAs(t, "admin", http.MethodPost, "/users/stranger/erase", "", http.StatusNotFound)
	})
}

// A kind of which there never is an event is none of an empty answer.
func TestUnknownKinds(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for query, part := range map[string]string{
		"kind=tag.mvoed":            "changes have definition.added, ",
		"kind=?ag":                  "signing_key.rotated",
		"kind=pull.denied":          "pull.denied: of the stream pulls; weir audit shows it with --pulls",
		"kind=login.*":              "login.accepted, login.refused, login.limited: of the stream pulls",
		"stream=pulls&kind=tag.*":   "tag.moved, tag.deleted: of the stream changes; weir audit shows it without --pulls",
		"stream=pulls&kind=pull.de": "pulls have pull, pull.checked, ",
	} {
		for _, list := range []string{"", "/export"} {
			w.want(t, http.MethodGet, "/groups/acme/events"+list+"?"+query, "", http.StatusUnprocessableEntity, `"location":"query.kind"`, part)
		}
	}
	w.want(t, http.MethodGet, "/groups/acme/events?kind=*.moved", "", http.StatusOK)
	w.want(t, http.MethodGet, "/groups/acme/events?stream=pulls&kind=*.denied", "", http.StatusOK)
}

// An owner sees what happened in the own group and nothing else.
func TestEventsStayInTheirGroup(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "admin", http.MethodPut, "/groups/rival", `{}`, http.StatusCreated)
	w.want(t, http.MethodPut, "/groups/acme/upstreams/new", `{"url": "https://new.test"}`, http.StatusCreated)
	var list struct{ Items []audit.Entry }
	answer := w.want(t, http.MethodGet, "/groups/acme/events?limit=1000", "", http.StatusOK)
	if err := json.Unmarshal([]byte(answer.body), &list); err != nil {
		t.Fatal(err)
	}
	if e := list.Items[0]; e.Kind != "definition.added" || e.Actor.Name != "owner" || e.Actor.Kind != "user" || e.Group != "acme" || e.RequestID != "r1" {
		t.Errorf("the newest is %+v", e)
	}
	if strings.Contains(answer.body, "rival") || strings.Contains(answer.body, "s3cret") {
		t.Error(answer.body)
	}
	for _, e := range list.Items {
		if strings.HasPrefix(e.Kind, "user.") {
			t.Errorf("an event of the instance: %+v", e)
		}
	}
}

// The export has the entries of the list, and nothing in its table is a formula.
func TestEventExport(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.want(t, http.MethodPut, "/groups/acme/credentials/new", `{"username": "=cmd()", "password": "s3cret"}`, http.StatusCreated)
	lines := strings.Split(strings.TrimSpace(w.want(t, http.MethodGet, "/groups/acme/events/export", "", http.StatusOK).body), "\n")
	rows, err := csv.NewReader(strings.NewReader(w.want(t, http.MethodGet, "/groups/acme/events/export?format=csv", "", http.StatusOK).body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(lines)+1 || rows[0][0] != "id" || len(lines) < 10 {
		t.Errorf("%d lines, %d rows", len(lines), len(rows))
	}
	for i, line := range lines {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.ID != rows[i+1][0] {
			t.Errorf("line %d: %v, %s", i, err, line)
		}
	}
	for cell, want := range map[string]string{"=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "a=b": "a=b", "": ""} {
		if got := api.Harmless(cell); got != want {
			t.Errorf("%q becomes %q", cell, got)
		}
	}
}

// A sealed export of an instance that is too young for seals is whole, and no more than its end.
func TestSealedExport(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	got := w.wantAs(t, "admin", http.MethodGet, "/events/sealed", "", http.StatusOK)
	v, err := audit.Check{Report: func(f audit.Finding) { t.Errorf("%+v", f) }}.Verify(strings.NewReader(got.body))
	if err != nil || v.Seals != 0 || v.Problems != 0 {
		t.Errorf("%+v, %v: %s", v, err, got.body)
	}
}

func TestEventVerification(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	lines := strings.Split(strings.TrimSpace(w.wantAs(t, "admin", http.MethodGet, "/events/verification", "", http.StatusOK).body), "\n")
	var last api.VerifyLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Summary == nil || last.Summary.Problems != 0 {
		t.Errorf("%v: %s", err, lines)
	}
}

package api_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// ofInstance are the writing operations that are about no group.
var ofInstance = []string{"run-job"}

// silent are the writing operations that change nothing, and so leave no event.
var silent = []string{"test-upstream"}

// TestWritesLeaveEvents: what a successful write of a definition leaves in the trail is exactly what testdata/events.txt says, made by who
// asked, in that request. A write without an event fails even when the file says so.
func TestWritesLeaveEvents(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	admin, err := w.dir.As(t.Context(), access.Local(), "admin")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, c := range contract {
		method, path, _ := strings.Cut(c.request, " ")
		if method == "GET" || !strings.HasPrefix(strings.Fields(c.outcomes)[len(roles)-1], "2") {
			continue
		}
		last := w.db.ID()
		if r := w.send(t, "admin", method, path, c.in); r.status >= 300 {
			t.Fatalf("%s: %d %s", c.request, r.status, r.body)
		}
		rows, err := w.db.Read().ListAllEvents(t.Context(), query.ListAllEventsParams{ID: w.db.ID(), Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, e := range rows {
			if e.ID < last {
				break
			}
			lines = append(lines, fmt.Sprintf("    %s  %s", e.Kind, e.Subject))
			if e.ActorID != admin.ID || e.ActorKind != "user" || e.RequestID != "r1" || (e.GroupID == 0 && method != "DELETE") != slices.Contains(ofInstance, c.operation) {
				t.Errorf("%s leaves an event that does not say who or where: %+v", c.request, e)
			}
			if strings.Contains(e.Detail, "s3cret") {
				t.Errorf("%s tells a secret: %s", c.request, e.Detail)
			}
		}
		if len(lines) == 0 != slices.Contains(silent, c.operation) {
			t.Errorf("%s leaves %d events", c.request, len(lines))
		}
		slices.Reverse(lines)
		got.WriteString(c.request + "\n" + numbers(strings.Join(append(lines, ""), "\n")))
		w.reset(t)
	}
	const file = "testdata/events.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (run with -update after a look):\n%s", file, diff)
	}
}

// numbers makes ids alike in each run.
func numbers(s string) string {
	words := strings.Split(s, " ")
	for i, word := range words {
		if id, rest, _ := strings.Cut(word, "\n"); len(id) > 15 && strings.Trim(id, "0123456789") == "" {
			words[i] = "N\n" + rest
		}
	}
	return strings.Join(words, " ")
}

package event_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/event"
)

// The manual lists every kind once.
func TestManualListsKinds(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, want := range map[string][]string{"## Kinds of changes": event.Changes(), "## Kinds of pulls": event.Requests()} {
		_, section, ok := strings.Cut(string(text), heading)
		if !ok {
			t.Fatal("no section ", heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var got []string
		for line := range strings.Lines(section) {
			cells := strings.Split(line, "|")
			if len(cells) < 2 {
				continue
			}
			for _, kind := range regexp.MustCompile("`[^`]+`").FindAllString(cells[1], -1) {
				got = append(got, strings.Trim(kind, "`"))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q\nwant %q", heading, got, want)
		}
	}
}

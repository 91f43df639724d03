package growth

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// kept is where figures of all stores stay, so that each run replaces its own column of the table alone.
const kept = "testdata/figures.json"

const (
	beginMark = "<!-- growth -->"
	endMark   = "<!-- end growth -->"
)

// publish puts figures into the page.
func publish(t *testing.T, f figures) {
	t.Helper()
	var all []figures
	text, err := os.ReadFile(kept)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(o figures) bool { return o.Engine == f.Engine && o.Size == f.Size })
	all = append(all, f)
	slices.SortFunc(all, func(a, b figures) int {
		return cmp.Or(-cmp.Compare(a.Engine, b.Engine), cmp.Compare(a.Size, b.Size))
	})
	page, err := os.ReadFile(*doc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(page), beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !begun || !ended {
		t.Fatalf("%s has no %s … %s", *doc, beginMark, endMark)
	}
	if text, err = json.MarshalIndent(all, "", "  "); err == nil {
		err = errors.Join(os.WriteFile(kept, append(text, '\n'), 0o644), os.WriteFile(*doc, []byte(before+beginMark+"\n"+tables(all)+endMark+after), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tables renders one table for each engine, a column for each size.
func tables(all []figures) string {
	var b strings.Builder
	for len(all) > 0 {
		engine := all[0].Engine
		end := slices.IndexFunc(all, func(f figures) bool { return f.Engine != engine })
		if end < 0 {
			end = len(all)
		}
		of := all[:end]
		all = all[end:]
		fmt.Fprintf(&b, "\n| %s: artifacts |", engine)
		for _, f := range of {
			fmt.Fprintf(&b, " %d |", f.Size)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(of)) + "\n")
		for _, row := range of[len(of)-1].Rows {
			fmt.Fprintf(&b, "| %s |", row[0])
			for _, f := range of {
				value := ""
				for _, r := range f.Rows {
					if r[0] == row[0] {
						value = r[1]
					}
				}
				fmt.Fprintf(&b, " %s |", value)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

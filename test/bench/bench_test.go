package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) {
	if beFloor() {
		return
	}
	os.Exit(m.Run())
}

// TestRows runs every row with little data: each must run, every answer in it be right, and what can be counted be as it should:
// requests that reach the upstream, bytes fetched and bytes written. Times are not looked at.
func TestRows(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b, err := newBench(options{weir: binary, dir: t.TempDir(), short: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	r := b.measure(t.Context(), allRows())
	if err := r.failures(); err != nil {
		t.Error(err)
	}
	counts := 0
	for _, s := range r.sections {
		for _, g := range s.goals {
			if g.count {
				counts++
				if !g.met() {
					t.Error(g.cells())
				}
			}
		}
	}
	if counts == 0 {
		t.Error("no row counts anything")
	}
	document := filepath.Join(t.TempDir(), "performance.md")
	text, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(document, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.update(document); err != nil {
		t.Error(err)
	}
}

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

// TestRows runs every row with little data: each must run, and every answer in it be right.
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
	if err := b.measure(t.Context(), allRows()).failures(); err != nil {
		t.Error(err)
	}
}

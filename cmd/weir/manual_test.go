package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestManualRuns runs the commands of docs/how-to/manage-from-the-command-line.md in their order, as far as no upstream is needed.
func TestManualRuns(t *testing.T) {
	w := newWorld(t)
	t.Setenv("HUB_TOKEN", "s3cret")
	w.run("user", "delete", "ann")   // whom the page makes
	w.run("group", "create", "main") // which a server starts with
	text, err := os.ReadFile("../../docs/how-to/manage-from-the-command-line.md")
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Split(string(text), "## Upstreams and content")[0])
	folder, ran := t.TempDir(), 0
	for line := range strings.Lines(string(text)) {
		line := strings.TrimSpace(line)
		if setting, ok := strings.CutPrefix(line, "$ export "); ok {
			name, value, _ := strings.Cut(setting, "=")
			t.Setenv(name, value)
		}
		line, ok := strings.CutPrefix(line, "$ weir ")
		if !ok {
			continue
		}
		line, file, written := strings.Cut(line, " > ")
		args := strings.Fields(line)
		for i, arg := range args {
			if args[i] = strings.Trim(arg, `"`); arg == "acme.yaml" {
				args[i] = filepath.Join(folder, arg)
			}
		}
		out := w.run(args...)
		if written {
			if err := os.WriteFile(filepath.Join(folder, file), []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ran++
	}
	if ran < 25 {
		t.Errorf("only %d commands ran", ran)
	}
}

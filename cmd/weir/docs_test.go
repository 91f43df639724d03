package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/config"
)

// example is a fenced block of the manual.
type example struct {
	file, language, text string
}

func examples(t *testing.T) []example {
	t.Helper()
	fence := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")
	var out []example
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			out = append(out, example{path, m[1], m[2]})
		}
	}
	read("../../README.md")
	err := filepath.WalkDir("../../docs", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDocumentedCommandsExist parses every `weir …` line of the manual: the command and its flags must exist.
func TestDocumentedCommandsExist(t *testing.T) {
	found := 0
	for _, e := range examples(t) {
		if e.language != "console" {
			continue
		}
		for line := range strings.Lines(e.text) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
			line = strings.TrimPrefix(line, "bin/")
			args, ok := strings.CutPrefix(line, "weir ")
			if !ok {
				continue
			}
			found++
			cmd, rest, err := newRootCommand().Find(strings.Fields(args))
			if err == nil && !cmd.Runnable() {
				t.Errorf("%s: %q names no command", e.file, line)
			}
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil && !slices.Contains(rest, "--help") {
				t.Errorf("%s: %q: %v", e.file, line, err)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d commands found in the manual", found)
	}
}

// TestDocumentedYAMLIsRead reads every YAML block of the manual strictly: declarations as `weir apply` does, the rest as settings. Files of
// other programs are fenced "yml".
func TestDocumentedYAMLIsRead(t *testing.T) {
	found := 0
	for _, e := range examples(t) {
		if e.language != "yaml" {
			continue
		}
		found++
		path := filepath.Join(t.TempDir(), "example.yaml")
		if err := os.WriteFile(path, []byte(e.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.Contains(e.text, "groups:") {
			_, err = client.Reader{LookupEnv: func(string) (string, bool) { return "secret", true }}.Read([]string{path})
		} else {
			_, err = config.Load(config.Source{File: path})
		}
		// A certificate that is not on this machine is the one thing an example may get wrong.
		if err != nil && !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s:\n%s\n%v", e.file, e.text, err)
		}
	}
	if found < 5 {
		t.Errorf("only %d YAML blocks found in the manual", found)
	}
}

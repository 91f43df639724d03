package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// drawn is a progress on a terminal so wide, at which nothing ticks.
func drawn(out *bytes.Buffer, width int) *progress {
	return &progress{w: out, terminal: true, width: func() int { return width }, began: time.Now(), stopped: make(chan struct{}), text: "purging"}
}

// TestProgressOnATerminal draws a line that changes and is gone at the end, and keeps out of the way of other output.
func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := drawn(&out, 0)
	p.draw(p.began.Add(3 * time.Second))
	p.stage("purged 7 tags")
	p.draw(p.began.Add(65 * time.Second))
	p.above(func() { fmt.Fprintln(&out, "a finding") })
	p.stop()
	shows(t, out.String(), "purging (3s)", "purged 7 tags (1m5s)", "\ra finding\n")
	if last := out.String(); !strings.HasSuffix(last, "finding\n") {
		t.Errorf("the line stays: %q", last)
	}
}

// TestProgressTellsTotals: what is known of the whole is said, on a terminal each time with a bar, elsewhere now and then.
func TestProgressTellsTotals(t *testing.T) {
	var out bytes.Buffer
	p := drawn(&out, 0)
	for _, c := range []struct {
		done, total, bytes, totalBytes int64
		want, bar                      string
	}{
		{3, 12, 1 << 20, 4 << 20, "checking: 3 of 12 blobs, 1.0 MiB of 4.0 MiB (25 %)", "[█████░░░░░░░░░░░░░░░] "},
		{3, 12, 0, 0, "checking: 3 of 12 blobs (25 %)", "[█████░░░░░░░░░░░░░░░] "},
		{0, 12, 0, 0, "checking: 0 of 12 blobs (0 %)", "[░░░░░░░░░░░░░░░░░░░░] "},
		{3, 0, 512, 0, "checking: 3 blobs, 512 B", ""},
		{13, 12, 5 << 20, 4 << 20, "checking: 13 of 12 blobs, 5.0 MiB of 4.0 MiB (100 %)", "[████████████████████] "},
	} {
		out.Reset()
		if p.far("checking", "blobs", c.done, c.total, c.bytes, c.totalBytes); !strings.Contains(out.String(), c.bar+c.want+" (0s)") {
			t.Errorf("%q, want %q", out.String(), c.bar+c.want)
		}
	}
	out.Reset()
	p.terminal = false
	for i := range int64(5) {
		p.show("copying", "manifests", i, 5, 0, 0)
		p.far("checking", "blobs", i, 5, 0, 0)
	}
	if out.String() != "checking: 0 of 5 blobs (0 %)\n" {
		t.Errorf("elsewhere: %q", out.String())
	}
}

// TestProgressFits: a line that a terminal breaks could not be written over.
func TestProgressFits(t *testing.T) {
	var out bytes.Buffer
	p := drawn(&out, 40)
	p.show("copying acme/hub/library/alpine:3.20", "manifests", 1, 2, 0, 0)
	line, ok := strings.CutPrefix(out.String(), "\r")
	if n := utf8.RuneCountInString(line); !ok || n != 39 || !strings.HasSuffix(line, "…") {
		t.Errorf("%d letters: %q", n, line)
	}
}

// TestProgressElsewhere writes a line for each stage.
func TestProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out, stopped: make(chan struct{}), text: "purging"}
	p.stage("purged 7 tags")
	p.stop()
	if out.String() != "purged 7 tags\n" {
		t.Errorf("%q", out.String())
	}
}

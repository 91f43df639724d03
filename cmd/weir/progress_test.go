package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestProgressOnATerminal draws a line that changes and is gone at the end, and keeps out of the way of other output.
func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out, terminal: true, began: time.Unix(0, 0), stopped: make(chan struct{}), text: "purging"}
	p.draw(time.Unix(3, 0))
	p.stage("purged 7 tags")
	p.draw(time.Unix(65, 0))
	p.above(func() { fmt.Fprintln(&out, "a finding") })
	p.stop()
	shows(t, out.String(), "purging (3s)", "\rpurged 7 tags (1m5s)"[1:], "\ra finding\n")
	if last := out.String(); strings.HasSuffix(strings.TrimRight(last, "\r "), "s)") {
		t.Errorf("the line stays: %q", last)
	}
}

// TestProgressTellsTotals: what is known of the whole is said, on a terminal each time, elsewhere now and then.
func TestProgressTellsTotals(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out, terminal: true, began: time.Unix(0, 0), stopped: make(chan struct{})}
	for _, c := range []struct {
		done, total, bytes, totalBytes int64
		want                           string
	}{
		{3, 12, 1 << 20, 4 << 20, "checking: 3 of 12 blobs, 1.0 MiB of 4.0 MiB (25 %)"},
		{3, 12, 0, 0, "checking: 3 of 12 blobs"},
		{3, 0, 512, 0, "checking: 3 blobs, 512 B"},
		{13, 12, 5 << 20, 4 << 20, "checking: 13 of 12 blobs, 5.0 MiB of 4.0 MiB (100 %)"},
	} {
		if p.far("checking", "blobs", c.done, c.total, c.bytes, c.totalBytes); p.text != c.want {
			t.Errorf("%q, want %q", p.text, c.want)
		}
	}
	p.terminal = false
	for i := range int64(5) {
		p.far("checking", "blobs", i, 5, 0, 0)
	}
	if out.String() != "checking: 0 of 5 blobs\n" {
		t.Errorf("elsewhere: %q", out.String())
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

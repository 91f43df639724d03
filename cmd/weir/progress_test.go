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

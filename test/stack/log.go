package stack

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"
)

// Log keeps what a server writes to its console: the banner, and lines of JSON.
type Log struct {
	ready chan struct{} // closed by the banner

	mu    sync.Mutex
	text  bytes.Buffer
	wake  chan struct{}
	shown bool
}

func newLog() *Log { return &Log{ready: make(chan struct{}), wake: make(chan struct{})} }

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if !l.shown && bytes.Contains(l.text.Bytes(), []byte(" is ready at ")) {
		l.shown = true
		close(l.ready)
	}
	close(l.wake)
	l.wake = make(chan struct{})
	return len(p), nil
}

// String is everything written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Line is one line of JSON.
type Line map[string]any

// Find waits for a line that matches; the access line of a request is written a moment after its answer.
func (l *Log) Find(t *testing.T, what string, match func(Line) bool) Line {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		l.mu.Lock()
		wake := l.wake
		text := bytes.Clone(l.text.Bytes())
		l.mu.Unlock()
		for raw := range bytes.Lines(text) {
			var line Line
			if json.Unmarshal(raw, &line) == nil && match(line) {
				return line
			}
		}
		select {
		case <-wake:
		case <-timeout:
			t.Fatalf("no line in the log: %s\n%s", what, text)
		}
	}
}

// Request finds the access line of the request that got the decision id.
func (l *Log) Request(t *testing.T, decision string) Line {
	t.Helper()
	return l.Find(t, "the access line of decision "+decision, func(line Line) bool {
		return line["msg"] == "request" && line["decision"] == decision
	})
}

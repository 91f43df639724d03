package main

import (
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// progress tells on standard error how far long work is: on a terminal by one line that changes, elsewhere by a line for each
// stage.
type progress struct {
	w        io.Writer
	terminal bool
	began    time.Time
	stopped  chan struct{}
	ended    sync.WaitGroup

	mu    sync.Mutex
	text  string
	shown int // letters on the line
}

// progressEvery is how often the line of a terminal is written anew.
const progressEvery = 200 * time.Millisecond

// working begins to tell of work. The caller ends it with stop.
func working(cmd *cobra.Command, text string) *progress {
	p := &progress{w: cmd.ErrOrStderr(), terminal: isTerminal(cmd.ErrOrStderr()), began: time.Now(), stopped: make(chan struct{}), text: text}
	if !p.terminal {
		return p
	}
	p.ended.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.stopped:
				return
			case now := <-tick.C:
				p.draw(now)
			}
		}
	})
	return p
}

// stage tells what is being done now.
func (p *progress) stage(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text = text; !p.terminal {
		fmt.Fprintln(p.w, text)
	}
}

// above writes something else meanwhile, which may go to the same terminal.
func (p *progress) above(write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	write()
}

// clear empties the line.
func (p *progress) clear() {
	if p.shown > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.shown, "")
	}
	p.shown = 0
}

func (p *progress) draw(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	since := now.Sub(p.began)
	line := fmt.Sprintf("%c %s (%s)", frames[int(since/progressEvery)%len(frames)], p.text, since.Round(time.Second))
	n := utf8.RuneCountInString(line)
	fmt.Fprintf(p.w, "\r%s%*s", line, max(p.shown-n, 0), "")
	p.shown = n
}

// stop ends the telling and clears the line.
func (p *progress) stop() {
	close(p.stopped)
	p.ended.Wait()
	p.clear()
}

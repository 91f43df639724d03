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
	shown int       // letters on the line
	said  time.Time // when far last wrote a line, where there is no terminal
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

// lineEvery is how often far writes a line where there is no terminal: logs are read later.
const lineEvery = 10 * time.Second

// far tells how much is done of what there is to do; a total of 0 is not known.
func (p *progress) far(what, things string, done, total, bytes, totalBytes int64) {
	text := fmt.Sprintf("%s: %s", what, portion(fmt.Sprint(done), fmt.Sprint(total), total)+" "+things)
	if bytes > 0 || totalBytes > 0 {
		text += ", " + portion(byteSize(bytes), byteSize(totalBytes), totalBytes)
	}
	if whole := max(totalBytes, 0); whole > 0 {
		text += fmt.Sprintf(" (%d %%)", min(100, bytes*100/whole))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
	if now := time.Now(); !p.terminal && now.Sub(p.said) >= lineEvery {
		p.said = now
		fmt.Fprintln(p.w, text)
	}
}

// tell is a stage that only a terminal shows.
func (p *progress) tell(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
}

func portion(done, total string, known int64) string {
	if known <= 0 {
		return done
	}
	return done + " of " + total
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

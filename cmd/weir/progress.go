package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// progress tells on standard error how far long work is: on a terminal by one line that changes, with a bar once it is known how much
// there is to do; elsewhere by a line for each stage.
type progress struct {
	w        io.Writer
	terminal bool
	width    func() int // of the terminal, in letters; 0 is not known
	began    time.Time
	stopped  chan struct{}
	ended    sync.WaitGroup

	mu    sync.Mutex
	text  string
	bar   string
	shown int       // letters on the line
	said  time.Time // when far last wrote a line, where there is no terminal
}

// progressEvery is how often the line of a terminal is written anew.
const progressEvery = 200 * time.Millisecond

// working begins to tell of work. The caller ends it with stop.
func working(cmd *cobra.Command, text string) *progress {
	p := &progress{
		w: cmd.ErrOrStderr(), terminal: isTerminal(cmd.ErrOrStderr()), width: func() int { return terminalWidth(cmd.ErrOrStderr()) },
		began: time.Now(), stopped: make(chan struct{}),
	}
	p.tell(text)
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
				p.mu.Lock()
				p.draw(now)
				p.mu.Unlock()
			}
		}
	})
	return p
}

// stage tells what is being done now.
func (p *progress) stage(text string) {
	p.tell(text)
	if !p.terminal {
		fmt.Fprintln(p.w, text)
	}
}

// lineEvery is how often far writes a line where there is no terminal: logs are read later.
const lineEvery = 10 * time.Second

// far tells how much is done of what there is to do, elsewhere by a line now and then; a total of 0 is not known.
func (p *progress) far(what, things string, done, total, bytes, totalBytes int64) {
	p.show(what, things, done, total, bytes, totalBytes)
	if now := time.Now(); !p.terminal && now.Sub(p.said) >= lineEvery {
		p.said = now
		fmt.Fprintln(p.w, p.text)
	}
}

// show is far that only a terminal shows.
func (p *progress) show(what, things string, done, total, bytes, totalBytes int64) {
	text := fmt.Sprintf("%s: %s", what, portion(fmt.Sprint(done), fmt.Sprint(total), total)+" "+things)
	if bytes > 0 || totalBytes > 0 {
		text += ", " + portion(byteSize(bytes), byteSize(totalBytes), totalBytes)
	}
	if totalBytes > 0 {
		done, total = bytes, totalBytes
	}
	bar := ""
	if total > 0 {
		share := float64(min(done, total)) / float64(total)
		text += fmt.Sprintf(" (%d %%)", int(share*100))
		bar = barOf(share)
	}
	p.say(text, bar)
}

const barLength = 20 // letters

// barOf draws how much is done, from 0 to 1.
func barOf(share float64) string {
	n := int(share * barLength)
	return "[" + strings.Repeat("█", n) + strings.Repeat("░", barLength-n) + "] "
}

// tell is a stage that only a terminal shows.
func (p *progress) tell(text string) { p.say(text, "") }

func (p *progress) say(text, bar string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text, p.bar = text, bar; p.terminal {
		p.draw(time.Now())
	}
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

// draw writes the line anew, as much of it as the terminal has room for: a longer one would not be written over.
func (p *progress) draw(now time.Time) {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	since := now.Sub(p.began)
	line := []rune(fmt.Sprintf("%c %s%s (%s)", frames[int(since/progressEvery)%len(frames)], p.bar, p.text, since.Round(time.Second)))
	if room := p.width(); room > 0 && len(line) >= room {
		line = append(line[:max(room-2, 0)], '…')
	}
	fmt.Fprintf(p.w, "\r%s%*s", string(line), max(p.shown-len(line), 0), "")
	p.shown = len(line)
}

// stop ends the telling and clears the line.
func (p *progress) stop() {
	close(p.stopped)
	p.ended.Wait()
	p.clear()
}

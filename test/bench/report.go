package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// row is what can be run by name: a part of the table of goals, with the measurements behind it.
type row struct {
	name, what string
	run        func(ctx context.Context, b *bench) (section, error)
}

// section is what a row has found.
type section struct {
	title   string
	columns []string
	lines   [][]string
	goals   []goal
}

// goal is a figure with its bound, mostly a ratio to that of a floor.
type goal struct {
	what     string
	against  string // what got is a multiple of; empty: got is a figure of its own
	unit     string // of got where it is no ratio
	got      float64
	limit    float64
	atLeast  bool
	measured string // the figure behind a ratio
	missing  bool   // the floor was not there
	count    bool   // a number of things, not a time: the same on every machine, so that the test may insist on it
}

func (g goal) met() bool {
	if g.atLeast {
		return g.got >= g.limit
	}
	return g.got <= g.limit
}

func (g goal) text(v float64) string {
	if g.against != "" {
		return fmt.Sprintf("%.2f× %s", v, g.against)
	}
	return fmt.Sprintf("%.4g%s", v, g.unit)
}

func (g goal) cells() []string {
	sign, verdict := "≤ ", "yes"
	if g.atLeast {
		sign = "≥ "
	}
	if !g.met() {
		verdict = "**no**"
	}
	if g.missing {
		return []string{g.what, sign + g.text(g.limit), "", "", "not measured"}
	}
	ratio := g.text(g.got)
	measured := g.measured
	if measured == "" {
		measured, ratio = ratio, ""
	}
	return []string{g.what, sign + g.text(g.limit), measured, ratio, verdict}
}

// report is a whole run.
type report struct {
	command, machine string
	whole            bool // every row was asked for
	began            time.Time
	load             [2]string // load averages before and after
	sections         []section
	names            []string
	errors           []error
	notes            []string
}

// measure runs the rows one after the other. One that fails does not end the run.
func (b *bench) measure(ctx context.Context, rows []row) *report {
	r := &report{command: b.command, whole: len(b.rows) == 0, machine: machine(), began: time.Now()}
	r.load[0] = loadAverage()
	for _, row := range rows {
		b.row = row.name
		for _, t := range b.shared {
			t.resetPeak()
		}
		began := time.Now()
		s, err := section{}, ctx.Err()
		if err == nil {
			s, err = b.attempt(ctx, row)
		}
		for _, t := range b.shared {
			b.notePeak(t.process)
		}
		if err != nil {
			err = fmt.Errorf("row %s: %w", row.name, err)
			r.errors = append(r.errors, err)
			fmt.Fprintln(os.Stderr, "ERROR", err)
		}
		r.sections, r.names = append(r.sections, s), append(r.names, row.name)
		fmt.Fprintf(os.Stderr, "%-14s %5.1f s\n", row.name, time.Since(began).Seconds())
		s.print(os.Stderr)
	}
	r.load[1], r.notes = loadAverage(), b.notes
	return r
}

// rowLimit bounds a row, so that one that hangs leaves time for the others.
const rowLimit = 4 * time.Minute

func (b *bench) attempt(ctx context.Context, row row) (section, error) {
	ctx, cancel := context.WithTimeout(ctx, rowLimit)
	defer cancel()
	return row.run(ctx, b)
}

func (s section) print(w io.Writer) {
	if len(s.lines) == 0 {
		return
	}
	fmt.Fprintln(w, "\n"+s.title)
	t := tabwriter.NewWriter(w, 0, 1, 2, ' ', 0)
	for _, line := range append([][]string{s.columns}, s.lines...) {
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	_ = t.Flush()
	fmt.Fprintln(w)
}

var goalColumns = []string{"what", "goal", "measured", "ratio", "met"}

func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 1, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(goalColumns, "\t"))
	for _, s := range r.sections {
		for _, g := range s.goals {
			fmt.Fprintln(t, strings.Join(g.cells(), "\t"))
		}
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\n%s\nload average %s before, %s after; %.0f s\n", r.machine, r.load[0], r.load[1], time.Since(r.began).Seconds())
}

// failures are the rows that gave no figures. A goal that is missed is not one: it is a result.
func (r *report) failures() error { return errors.Join(r.errors...) }

// update writes the tables of this run into a document, each between its markers. What is outside of them stays as it is, and so do the
// tables of rows that were not run; the table of goals is written by a run of all rows.
func (r *report) update(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if r.whole {
		if text, err = replaceBlock(text, "bench", r.summary()); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	for i, s := range r.sections {
		if len(s.lines) == 0 {
			continue
		}
		if text, err = replaceBlock(text, "bench "+r.names[i], r.block(s)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return os.WriteFile(file, text, 0o644)
}

// summary is the table of goals.
func (r *report) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` on %s; load average %s before, %s after.\n\n", r.command, r.source(), r.load[0], r.load[1])
	var goals [][]string
	for _, s := range r.sections {
		for _, g := range s.goals {
			goals = append(goals, g.cells())
		}
	}
	table(&b, goalColumns, goals)
	for _, err := range r.errors {
		text, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintf(&b, "\nNot measured: %s.\n", text)
	}
	for _, note := range r.notes {
		fmt.Fprintf(&b, "\nNote: %s.\n", note)
	}
	return b.String()
}

func (r *report) source() string { return r.began.Format("2 January 2006") + ", " + r.machine }

func table(w io.Writer, columns []string, lines [][]string) {
	fmt.Fprintln(w, "| "+strings.Join(columns, " | ")+" |")
	fmt.Fprintln(w, strings.Repeat("|---", len(columns))+"|")
	for _, line := range lines {
		fmt.Fprintln(w, "| "+strings.Join(line, " | ")+" |")
	}
}

func replaceBlock(text []byte, name, block string) ([]byte, error) {
	begin, end := []byte("<!-- "+name+" -->\n"), []byte("<!-- end "+name+" -->")
	before, rest, ok := bytes.Cut(text, begin)
	_, after, closed := bytes.Cut(rest, end)
	if !ok || !closed {
		return nil, fmt.Errorf("no block %q", name)
	}
	return bytes.Join([][]byte{before, begin, []byte(block), end, after}, nil), nil
}

// block is what a row has measured.
func (r *report) block(s section) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %s.\n\n", s.title, r.source())
	table(&b, s.columns, s.lines)
	return b.String()
}

// machine says in a line what the figures come from.
func machine() string {
	cpu := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := exec.Command("uname", "-sr").Output()
	return fmt.Sprintf("%d cores of %s, %s, %s", runtime.NumCPU(), cpu, strings.TrimSpace(string(kernel)), runtime.Version())
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

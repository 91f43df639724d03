// Command bench measures the server as users run it – the real binary with access checks, access log and pull events – beside floors
// and other registries in the same run, and compares the figures with the goals in docs/performance.md.
//
// Every server is a process of its own. What is compared takes turns, several rounds of it, and medians are shown: on a machine that
// does something else beside, ratios and CPU time for each request still mean something, rates do not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if beFloor() {
		return
	}
	var o options
	rows := flag.String("rows", "", "rows to run, by name, separated by commas; empty: all of them")
	flag.StringVar(&o.weir, "weir", "bin/weir", "the server's binary")
	flag.StringVar(&o.dir, "dir", "", "folder for everything that is written, on the disk to measure; empty: a temporary one. It is emptied at the end")
	flag.StringVar(&o.profiles, "profiles", "", "folder for CPU profiles of the server, one for each row")
	flag.StringVar(&o.document, "update", "", "document whose tables to write anew")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each comparison")
	flag.DurationVar(&o.each, "each", 500*time.Millisecond, "length of one measurement of a rate")
	flag.DurationVar(&o.limit, "limit", 14*time.Minute, "end of the whole run: rows that have not begun by then are left out")
	flag.BoolVar(&o.short, "short", false, "a fraction of the data, one round: shows that every row runs and its answers are right")
	list := flag.Bool("list", false, "print the names of the rows")
	flag.Parse()
	if *list {
		for _, r := range allRows() {
			fmt.Printf("%-14s %s\n", r.name, r.what)
		}
		return
	}
	o.command = "make bench"
	if *rows != "" {
		o.command += " ROWS=" + *rows
		o.rows = strings.Split(*rows, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run carries out the rows, prints the report and, if asked, writes it into the document.
func run(ctx context.Context, o options) (err error) {
	rows, err := chosen(o.rows)
	if err != nil {
		return err
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	report := b.measure(ctx, rows)
	report.print(os.Stdout)
	if o.document != "" {
		if err := report.update(o.document); err != nil {
			return err
		}
	}
	return report.failures()
}

func chosen(names []string) ([]row, error) {
	all := allRows()
	if len(names) == 0 {
		return all, nil
	}
	var out []row
	for _, name := range names {
		i := slices.IndexFunc(all, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no row %q; -list prints their names", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

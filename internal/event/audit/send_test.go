package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
	"github.com/weir-registry/weir/internal/work"
)

// collector is a sink that remembers what it got, and can be down.
type collector struct {
	down bool
	ids  []string
	text []string
}

func (c *collector) Write(lines []byte) (int, error) {
	if c.down {
		return 0, errors.New("down")
	}
	if !bytes.HasSuffix(lines, []byte("\n")) {
		return 0, errors.New("half a line")
	}
	for line := range bytes.Lines(lines) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return 0, err
		}
		c.ids = append(c.ids, e.ID)
		c.text = append(c.text, fmt.Sprint(e.Kind, " ", e.Subject, " ", e.Address))
	}
	return len(lines), nil
}

// handed is an archive whose events go to a sink. The database can be opened a second time, as by another process.
func handed(t *testing.T, fn func(t *testing.T, a *archive, c *collector, again func() *meta.DB)) {
	t.Helper()
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			o := metatest.Options(t, engine)
			o.HandOn = true
			c := &collector{}
			a := &archive{t: t, now: time.Now(), handOn: true}
			a.Keeper = NewKeeper(metatest.Reopen(t, o), KeeperOptions{Sink: c, SinkKinds: []string{"*"}})
			fn(t, a, c, func() *meta.DB { return metatest.Reopen(t, o) })
		})
	}
}

func (a *archive) sendAll() {
	a.t.Helper()
	if err := a.send(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// What happened is handed on once, with names and addresses as they are then, and what commits late is not lost.
func TestHandedOn(t *testing.T) {
	handed(t, func(t *testing.T, a *archive, c *collector, _ func() *meta.DB) {
		late := a.db.ID()
		a.changes(2)
		a.pulls(2)
		a.sendAll()
		want := []string{"tag.moved app:0 192.0.2.1", "tag.moved app:1 192.0.2.1", "pull acme/hub/app 192.0.2.1", "pull acme/hub/app 192.0.2.1"}
		if diff := cmp.Diff(want, c.text); diff != "" {
			t.Error(diff)
		}
		err := a.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return tx.InsertEvent(ctx, query.InsertEventParams{ID: late, Kind: "tag.deleted", Subject: "late", Detail: "{}", At: a.now.UnixMicro(), Unsent: 1})
		})
		if err != nil {
			t.Fatal(err)
		}
		a.sendAll()
		a.sendAll()
		if diff := cmp.Diff(append(want, "tag.deleted late "), c.text); diff != "" {
			t.Error(diff)
		}
		listed := a.all(Query{Stream: Changes, Limit: 100})
		if len(listed) != 3 || !slices.Contains(c.ids, listed[0].ID) {
			t.Errorf("what is handed on has other ids than the list: %+v, %v", listed, c.ids)
		}
	})
}

// Whether the sink is down, or the process ends between delivery and mark: everything arrives, some of it twice, and nothing after that.
func TestHandedOnAtLeastOnce(t *testing.T) {
	handed(t, func(t *testing.T, a *archive, c *collector, again func() *meta.DB) {
		a.changes(3)
		a.pulls(2)
		c.down = true
		if err := a.send(t.Context()); err == nil {
			t.Error("a sink that is down is no error")
		}
		c.down = false
		a.o.Sink = dying{c}
		if err := a.send(t.Context()); err == nil {
			t.Error("a process that ends between delivery and mark is no error")
		}
		if len(c.ids) != 3 {
			t.Fatalf("delivered %v before the end", c.text)
		}
		other := &archive{t: t, now: a.now, Keeper: NewKeeper(again(), KeeperOptions{Sink: c, SinkKinds: []string{"*"}})}
		other.sendAll()
		if len(c.ids) != 3+3+2 {
			t.Errorf("delivered %v", c.text)
		}
		slices.Sort(c.ids)
		if got := slices.Compact(c.ids); len(got) != 3+2 {
			t.Errorf("delivered %v", got)
		}
		a.o.Sink = c
		before := len(c.text)
		a.sendAll()
		if len(c.text) != before {
			t.Errorf("delivered again: %v", c.text[before:])
		}
	})
}

// dying is a sink whose answer never arrives, although it has taken everything.
type dying struct{ *collector }

func (d dying) Write(lines []byte) (int, error) {
	if _, err := d.collector.Write(lines); err != nil {
		return 0, err
	}
	return 0, errors.New("the connection broke")
}

// stopping is a sink during whose Write the server is asked to stop.
type stopping struct {
	*collector
	stop context.CancelFunc
}

func (s stopping) Write(lines []byte) (int, error) {
	s.stop()
	return s.collector.Write(lines)
}

// An orderly stop comes after the mark of what was delivered.
func TestHandedOnOnceWhenStopped(t *testing.T) {
	handed(t, func(t *testing.T, a *archive, c *collector, _ func() *meta.DB) {
		a.changes(2)
		a.pulls(1)
		ctx, stop := context.WithCancel(t.Context())
		a.o.Sink = stopping{c, stop}
		if err := a.send(ctx); err == nil {
			t.Error("stopped in the middle, and all is done")
		}
		a.o.Sink = c
		a.sendAll()
		if len(c.text) != 3 {
			t.Errorf("delivered %v", c.text)
		}
	})
}

// Of two replicas one hands on at a time; a batch that cannot be read is told of and does not stand in the way.
func TestHandedOnByOne(t *testing.T) {
	handed(t, func(t *testing.T, a *archive, c *collector, again func() *meta.DB) {
		kinds := func(k *Keeper) (out []string) {
			for _, h := range k.Handlers() {
				out = append(out, h.Kind)
			}
			return out
		}
		if !slices.Contains(kinds(a.Keeper), "audit.send") || slices.Contains(kinds(NewKeeper(a.db, KeeperOptions{})), "audit.send") {
			t.Error("the job is there with a sink, and only then")
		}
		a.changes(20)
		a.pulls(2)
		bad := query.InsertPullBatchParams{ID: a.db.ID(), FirstAt: 1, LastAt: 2, Events: 9, Payload: []byte("?"), Class: Pulls, Unsent: 1}
		err := a.db.WriteTelemetry(t.Context(), func(ctx context.Context, q *query.Queries) error {
			_, err := q.InsertPullBatch(ctx, bad)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		c2 := &collector{}
		other := NewKeeper(again(), KeeperOptions{Sink: signal{c2, done}, SinkKinds: []string{"*"}})
		a.o.Sink = signal{c, done}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 2)
		for _, k := range []*Keeper{a.Keeper, other} {
			r := work.NewRunner(k.db, work.Options{Log: k.o.Log}, k.Handlers()...)
			go func() { ended <- r.Run(ctx) }()
		}
		for range 1 + 3 {
			<-done
		}
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		got := slices.Concat(c.text, c2.text)
		if len(got) != 20+3 || !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "gap") }) {
			t.Errorf("delivered %v", got)
		}
	})
}

type signal struct {
	*collector
	done chan struct{}
}

func (s signal) Write(lines []byte) (int, error) {
	n, err := s.collector.Write(lines)
	s.done <- struct{}{}
	return n, err
}

func TestSinkKinds(t *testing.T) {
	handed(t, func(t *testing.T, a *archive, c *collector, _ func() *meta.DB) {
		a.o.SinkKinds = []string{"tag.deleted", "pull"}
		a.changes(2)
		a.pulls(1)
		a.sendAll()
		if diff := cmp.Diff([]string{"pull acme/hub/app 192.0.2.1"}, c.text); diff != "" {
			t.Error(diff)
		}
		a.o.SinkKinds = []string{"*"}
		a.sendAll()
		if len(c.text) != 1 {
			t.Error("what was left out comes later:", c.text)
		}
	})
}

// A file may be renamed, removed or cut at any time, and what broke off in the middle of a line spoils no other.
func TestFile(t *testing.T) {
	f := File{filepath.Join(t.TempDir(), "audit.jsonl")}
	write := func(lines string) {
		t.Helper()
		if _, err := f.Write([]byte(lines)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(path, want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v, want %q", path, got, err, want)
		}
	}
	write("1\n2\n")
	write("3\n")
	check(f.Path, "1\n2\n3\n")
	if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info, err)
	}
	if err := os.Rename(f.Path, f.Path+".1"); err != nil {
		t.Fatal(err)
	}
	write("4\n")
	check(f.Path, "4\n")
	check(f.Path+".1", "1\n2\n3\n")
	if err := os.WriteFile(f.Path, []byte("5\nhal"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("6\n")
	check(f.Path, "5\nhal\n6\n")
	if err := os.Truncate(f.Path, 0); err != nil {
		t.Fatal(err)
	}
	write("7\n")
	check(f.Path, "7\n")
	if _, err := (File{filepath.Join(f.Path, "none")}).Write([]byte("8\n")); err == nil {
		t.Error("a file that cannot be is no error")
	}
}

package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

func newRunner(db *meta.DB, c *clock, handlers ...Handler) *Runner {
	o := Options{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if c != nil {
		o.Now, o.After = c.Now, c.After
	}
	return NewRunner(db, o, handlers...)
}

// start runs a runner until the returned function is called, which waits for it.
func start(t *testing.T, r *Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func enqueue(t *testing.T, db *meta.DB, jobs ...Job) {
	t.Helper()
	err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		for _, j := range jobs {
			if err := Enqueue(ctx, tx, j); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Enqueue: %v", err)
	}
}

func rows(t *testing.T, db *meta.DB) []query.Job {
	t.Helper()
	jobs, err := db.Read().ListJobs(t.Context(), query.ListJobsParams{N: 100})
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func TestEachJobRunsOnce(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		const n = 30
		var mu sync.Mutex
		runs := map[string]int{}
		all := make(chan struct{})
		h := Handler{Kind: "k", Workers: 3, Run: func(_ context.Context, payload json.RawMessage) error {
			mu.Lock()
			defer mu.Unlock()
			if runs[string(payload)]++; len(runs) == n {
				close(all)
			}
			return nil
		}}
		stop1, stop2 := start(t, newRunner(db, nil, h)), start(t, newRunner(db, nil, h))
		for i := range n {
			enqueue(t, db, Job{Kind: "k", Key: fmt.Sprint(i), Payload: i}, Job{Kind: "nobody's"})
		}
		<-all
		stop1()
		stop2()
		for payload, count := range runs {
			if count != 1 {
				t.Errorf("job %s ran %d times", payload, count)
			}
		}
		if left := rows(t, db); len(left) != 1 || left[0].Kind != "nobody's" {
			t.Errorf("left over: %+v", left)
		}
	})
}

func TestEnqueueAgain(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		at := time.UnixMicro(1_700_000_000_000_000)
		later, earlier := at.Add(time.Hour), at.Add(-time.Hour)
		enqueue(t, db, Job{Kind: "k", Key: "a", Payload: 1, RunAfter: at})
		enqueue(t, db, Job{Kind: "k", Key: "a", Payload: 2, RunAfter: later})
		if j := rows(t, db); len(j) != 1 || j[0].Payload != "2" || j[0].RunAfter != micros(at) {
			t.Errorf("asked for later again: %+v", j)
		}
		enqueue(t, db, Job{Kind: "k", Key: "a", RunAfter: earlier})
		if j := rows(t, db); len(j) != 1 || j[0].Payload != "null" || j[0].RunAfter != micros(earlier) {
			t.Errorf("asked for earlier again: %+v", j)
		}
	})
}

func TestEnqueueWhileRunning(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		runs := make(chan string)
		goOn := make(chan struct{})
		stop := start(t, newRunner(db, nil, Handler{Kind: "k", Run: func(_ context.Context, payload json.RawMessage) error {
			runs <- string(payload)
			<-goOn
			return nil
		}}))
		enqueue(t, db, Job{Kind: "k", Payload: 1})
		if got := <-runs; got != "1" {
			t.Errorf("first run with payload %s", got)
		}
		enqueue(t, db, Job{Kind: "k", Payload: 2})
		goOn <- struct{}{}
		if got := <-runs; got != "2" {
			t.Errorf("second run with payload %s", got)
		}
		goOn <- struct{}{}
		stop()
		if left := rows(t, db); len(left) != 0 {
			t.Errorf("left over: %+v", left)
		}
	})
}

func TestFailureBacksOff(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		c := newClock()
		ran := make(chan int, 1)
		attempt := 0
		stop := start(t, newRunner(db, c, Handler{Kind: "k", Run: func(context.Context, json.RawMessage) error {
			attempt++
			ran <- attempt
			switch attempt {
			case 1:
				return errors.New("no luck\x00")
			case 2:
				panic("worse")
			}
			return nil
		}}))
		enqueue(t, db, Job{Kind: "k", RunAfter: c.Now()})
		<-ran
		for n := 2; n <= 3; n++ {
			for done := false; !done; {
				c.pass(6 * time.Second) // one poll, jitter included
				select {
				case got := <-ran:
					if done = true; got != n {
						t.Fatalf("attempt %d, want %d", got, n)
					}
				default:
				}
				if j := rows(t, db); !done && len(j) == 1 && j[0].Attempts == 2 && j[0].LeaseOwner == 0 && !strings.Contains(j[0].LastError, "worse") {
					t.Fatalf("after a panic: %+v", j)
				}
			}
		}
		stop()
		if left := rows(t, db); len(left) != 0 {
			t.Errorf("left over: %+v", left)
		}
	})
}

func TestBackoffGrows(t *testing.T) {
	r := NewRunner(nil, Options{})
	for attempts, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 5: 80 * time.Second, 10: 10 * time.Minute, 1000: 10 * time.Minute} {
		if got := r.backoff(attempts); got < want*8/10 || got > want*12/10 {
			t.Errorf("backoff(%d) = %v, want about %v", attempts, got, want)
		}
	}
}

func TestTakeover(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		c := newClock()
		ran := make(chan struct{}, 1)
		h := Handler{Kind: "k", Run: func(context.Context, json.RawMessage) error { ran <- struct{}{}; return nil }}
		dead := newRunner(db, c, h)
		enqueue(t, db, Job{Kind: "k"})
		l, err := dead.claim(t.Context(), "k") // and dies
		if err != nil {
			t.Fatal(err)
		}
		other := newRunner(db, c, h)
		if _, err := other.claim(t.Context(), "k"); !errors.Is(err, errNothingDue) {
			t.Fatalf("claim of a leased job: %v", err)
		}
		c.jump(time.Minute)
		stop := start(t, other)
		<-ran
		stop()
		if err := dead.finish(t.Context(), h, l); !errors.Is(err, errLeaseLost) {
			t.Errorf("finish by the former holder: %v", err)
		}
		if err := dead.fail(t.Context(), l, errors.New("late"), c.Now()); !errors.Is(err, errLeaseLost) {
			t.Errorf("fail by the former holder: %v", err)
		}
	})
}

func TestRenewal(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		c := newClock()
		running, goOn := make(chan context.Context), make(chan struct{})
		h := Handler{Kind: "k", Run: func(ctx context.Context, _ json.RawMessage) error { running <- ctx; <-goOn; return ctx.Err() }}
		r := newRunner(db, c, h)
		stop := start(t, r)
		enqueue(t, db, Job{Kind: "k"})
		ctx := <-running
		for range 6 { // two minutes: twice the lease
			c.pass(20 * time.Second)
		}
		if _, err := newRunner(db, c, h).claim(t.Context(), "k"); !errors.Is(err, errNothingDue) {
			t.Fatalf("claim of a job that is being run: %v", err)
		}
		if ctx.Err() != nil {
			t.Fatalf("the handler's context ended: %v", context.Cause(ctx))
		}
		err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error { // another one takes it
			_, err := tx.ReleaseJob(ctx, query.ReleaseJobParams{Kind: "k", LeaseOwner: rows(t, db)[0].LeaseOwner})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for ctx.Err() == nil { // the renewal that finds out may be under way already, or still to be armed
			c.jump(20 * time.Second)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		if !errors.Is(context.Cause(ctx), errLeaseLost) {
			t.Errorf("the handler's context ended with %v", context.Cause(ctx))
		}
		close(goOn)
		go func() { // it runs again, and at once
			for range running {
			}
		}()
		stop()
		close(running)
	})
}

func TestStopGivesJobsBack(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		running := make(chan struct{})
		h := Handler{Kind: "k", Run: func(ctx context.Context, _ json.RawMessage) error { close(running); <-ctx.Done(); return ctx.Err() }}
		stop := start(t, newRunner(db, nil, h))
		enqueue(t, db, Job{Kind: "k"})
		<-running
		stop()
		if j := rows(t, db); len(j) != 1 || j[0].LeaseOwner != 0 || j[0].Attempts != 0 || j[0].LastError != "" {
			t.Errorf("after stop: %+v", j)
		}
		if _, err := newRunner(db, nil, h).claim(t.Context(), "k"); err != nil {
			t.Errorf("claim by the next process: %v", err)
		}
	})
}

func TestRecurring(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		c := newClock()
		ran := make(chan struct{})
		h := Handler{Kind: "k", Every: time.Hour, Run: func(ctx context.Context, _ json.RawMessage) error {
			select {
			case ran <- struct{}{}:
			case <-ctx.Done():
			}
			return nil
		}}
		stop1, stop2 := start(t, newRunner(db, c, h)), start(t, newRunner(db, c, h))
		<-ran
		for i := range 3 {
			enqueueWhenIdle(t, db)
			<-ran // at once, because it was asked for
			next := idle(t, db).RunAfter
			if want := micros(c.Now().Add(time.Hour)); next != want {
				t.Fatalf("next run at %d, want %d", next, want)
			}
			c.jump(time.Hour)
			if i < 2 {
				waitUnleased(t, db, c, ran)
			}
		}
		waitUnleased(t, db, c, ran)
		stop1()
		stop2()
		if j := rows(t, db); len(j) != 1 {
			t.Errorf("rows: %+v", j)
		}
	})
}

// TestClockSetRight: a clock that stood hours ahead must not keep recurring jobs away until that time comes again, nor the lease of
// a process that died meanwhile.
func TestClockSetRight(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		c := newClock()
		right := c.Now()
		ran := make(chan struct{}, 100)
		h := Handler{Kind: "k", Every: 30 * time.Second, Run: func(context.Context, json.RawMessage) error { ran <- struct{}{}; return nil }}
		c.jump(5 * time.Hour)
		stop := start(t, newRunner(db, c, h))
		<-ran
		idle(t, db)
		stop()
		err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			_, err := tx.Conn().ExecContext(ctx, "UPDATE jobs SET lease_owner = 1, lease_until = $1", micros(c.Now()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		c.jump(-10 * time.Hour)
		start(t, newRunner(db, c, h))
		wait(c, ran)
		if late := c.Now().Sub(right.Add(-5 * time.Hour)); late > time.Hour {
			t.Errorf("the job came %v after the clock was set right", late)
		}
	})
}

// wait waits for a run that is due. A runner that looked just before the clock moved sleeps a poll from after it, so the clock
// is moved on by a poll now and then.
func wait(c *clock, ran <-chan struct{}) {
	for {
		select {
		case <-ran:
			return
		case <-time.After(250 * time.Millisecond): // a lease of a minute must not end under a slow claim
			c.jump(10 * time.Second)
		}
	}
}

// waitUnleased is wait for several runners: while one of them has the job, the clock stands still, or a slow machine would make the lease end
// and another one take the job over, whose run nobody waits for.
func waitUnleased(t *testing.T, db *meta.DB, c *clock, ran <-chan struct{}) {
	t.Helper()
	for {
		select {
		case <-ran:
			return
		case <-time.After(250 * time.Millisecond):
			if j := rows(t, db); len(j) == 1 && j[0].LeaseOwner == 0 {
				c.jump(10 * time.Second)
			}
		}
	}
}

// idle waits until the only job is not leased. The handler has returned already, so that is soon.
func idle(t *testing.T, db *meta.DB) query.Job {
	t.Helper()
	for begun := time.Now(); ; {
		j := rows(t, db)
		if len(j) == 1 && j[0].LeaseOwner == 0 {
			return j[0]
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("never idle: %+v", j)
		}
	}
}

func enqueueWhenIdle(t *testing.T, db *meta.DB) {
	t.Helper()
	idle(t, db)
	enqueue(t, db, Job{Kind: "k"})
}

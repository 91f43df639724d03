package work

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// TestDesk: what a failed job said is shown, and whoever wants it run at once need not wait for its backoff.
func TestDesk(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		ctx, desk := t.Context(), &Desk{DB: db, Now: time.Now}
		running, goOn, failed := make(chan struct{}), make(chan error), make(outcomes, 10)
		h := Handler{Kind: "toil", Run: func(context.Context, json.RawMessage) error {
			running <- struct{}{}
			return <-goOn
		}}
		r := newRunner(db, nil, h)
		r.o.Metrics = failed
		stop := start(t, r)
		enqueue(t, db, Job{Kind: "toil", Key: "a"}, Job{Kind: "nobody's"})
		<-running
		if s := statuses(t, desk, "", ""); len(s) != 2 || s[0].Kind != "nobody's" || s[0].Running || !s[1].Running || s[1].Attempts != 1 || s[1].Until.Before(time.Now()) {
			t.Errorf("while it runs: %+v", s)
		}
		goOn <- errors.New("out of coal")
		if got := <-failed; got != "failed" { // or the runner takes the error for that of being stopped
			t.Errorf("outcome %s", got)
		}
		stop()
		s := statuses(t, desk, "nobody's", "")
		if len(s) != 1 || s[0].LastError != "out of coal" || s[0].Running || !s[0].RunAfter.After(s[0].CreatedAt) {
			t.Errorf("failed: %+v", s)
		}
		if err := desk.RunJob(ctx, event.Actor{}, "toil", "b"); !errors.Is(err, meta.ErrNotFound) {
			t.Errorf("a job that is not there: %v", err)
		}
		if err := desk.RunJob(ctx, event.Actor{}, "toil", "a"); err != nil {
			t.Fatal(err)
		}
		stop = start(t, newRunner(db, nil, h))
		<-running
		goOn <- nil
		stop()
		if s := statuses(t, desk, "nobody's", ""); len(s) != 0 {
			t.Errorf("done: %+v", s)
		}
	})
}

// outcomes are how runs ended.
type outcomes chan string

func (o outcomes) JobDone(_, outcome string, _ time.Duration) { o <- outcome }

func statuses(t *testing.T, d *Desk, afterKind, afterKey string) []Status {
	t.Helper()
	s, err := d.Jobs(t.Context(), afterKind, afterKey, 10)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/work"
)

// Jobs are the server's background work; *work.Desk has them.
type Jobs interface {
	// Jobs returns up to limit jobs by kind and key, from behind the given ones.
	Jobs(ctx context.Context, afterKind, afterKey string, limit int) ([]work.Status, error)
	// RunJob makes a job due; meta.ErrNotFound.
	RunJob(ctx context.Context, by event.Actor, kind, key string) error
}

// Job is a piece of background work.
type Job struct {
	Kind       string     `json:"kind"`
	Key        string     `json:"key,omitempty" doc:"What it is about; missing for the work that recurs"`
	State      string     `json:"state" enum:"waiting,running,failed" doc:"failed: the last run failed, and the next is tried at run_after"`
	RunAfter   time.Time  `json:"run_after" doc:"When it is due"`
	LeaseUntil *time.Time `json:"lease_until,omitempty" doc:"Of a running job: another replica takes it over then, unless the one that runs it goes on"`
	Attempts   int        `json:"attempts" doc:"Runs since the last success, the one that goes on included"`
	LastError  string     `json:"last_error,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
}

type jobListInput struct {
	Kind  string `query:"kind" maxLength:"128" doc:"Only this kind"`
	State string `query:"state" enum:"waiting,running,failed" doc:"Only jobs that wait, run, or have failed"`
	ListInput
}

type jobInput struct {
	Kind string `path:"kind" maxLength:"128"`
	Key  string `query:"key" maxLength:"512" doc:"Of the job, if it has one"`
}

func (a *API) registerJobs() {
	operation(a, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/jobs", Tags: []string{"jobs"},
		Summary:     "List background work: what recurs, what waits, what runs and what failed, by kind and key",
		Description: "A page reads at most 5,000 jobs: with a filter it may hold few or none, although a Link says that there are more.",
	}, a.listJobs)
	operation(a, huma.Operation{
		OperationID: "run-job", Method: http.MethodPost, Path: "/jobs/{kind}/run", Tags: []string{"jobs"}, DefaultStatus: http.StatusAccepted,
		Summary:     "Make a job due now",
		Description: "A job that failed need not wait any longer; one that is being run is run again afterwards. Some replica takes it within seconds.",
	}, func(ctx context.Context, in *jobInput) (*struct{}, error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return nil, a.Jobs.RunJob(ctx, callerFrom(ctx).Actor(), in.Kind, in.Key)
	})
}

// What a page of jobs reads at most, and at once.
const (
	jobsRead  = 5000
	jobsBatch = 1000
)

func (a *API) listJobs(ctx context.Context, in *jobListInput) (*page[Job], error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	const order = "kind,key"
	after, err := in.start(order, 2)
	if err != nil {
		return nil, err
	}
	if after == nil {
		after = []string{"", ""}
	}
	items := []Job{}
	for range jobsRead / jobsBatch {
		list, err := a.Jobs.Jobs(ctx, after[0], after[1], jobsBatch)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			j := jobOf(s)
			if in.keeps(j) && len(items) == in.Limit {
				return newPage(ctx, items, true, order, after...), nil
			}
			if after = []string{j.Kind, j.Key}; in.keeps(j) {
				items = append(items, j)
			}
		}
		if len(list) < jobsBatch {
			return newPage(ctx, items, false, order), nil
		}
	}
	return newPage(ctx, items, true, order, after...), nil
}

func (in *jobListInput) keeps(j Job) bool {
	return (in.Kind == "" || j.Kind == in.Kind) && (in.State == "" || j.State == in.State)
}

func jobOf(s work.Status) Job {
	j := Job{
		Kind: s.Kind, Key: s.Key, State: "waiting", RunAfter: s.RunAfter, Attempts: s.Attempts, LastError: s.LastError, CreatedAt: s.CreatedAt,
	}
	switch {
	case s.Running:
		j.State, j.LeaseUntil = "running", &s.Until
	case s.LastError != "":
		j.State = "failed"
	}
	return j
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/serve/api"
)

func jobs() *resource {
	return &resource{
		noun: "job", short: "Jobs: what the server does in the background", path: "/jobs/{kind}", key: "kind",
		long:    "Work that recurs is always in the list, other work while it waits, runs or has failed. It takes an administrator.",
		columns: columns{"kind", "key", "state", "run_after:time=due", "attempts", "last_error=error"},
		filters: []filter{
			{name: "kind", doc: "only this kind"}, {name: "state", doc: "waiting, running or failed: only those", of: []string{"waiting", "running", "failed"}},
		},
		verbs: []string{"list"}, more: jobCommands,
		example: "  weir job list\n  weir job run gc",
	}
}

func jobCommands(r *resource, connect connector) []*cobra.Command {
	cmd := &cobra.Command{
		Use: "run KIND", Short: "Make a job due now", Args: cobra.ExactArgs(1), ValidArgsFunction: completeNames(connect, "job"),
		Long: "A job that failed need not wait any longer; one that is being run is run again afterwards. Some replica takes it within seconds.",
	}
	key := cmd.Flags().String("key", "", "of the job, if it has one")
	wait := cmd.Flags().Bool("wait", false, "wait until it has run; the exit code is 1 if it fails")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		if *key != "" {
			query.Set("key", *key)
		}
		t, err := r.at(cmd, connect, r.path+"/run", args, query)
		if err != nil {
			return err
		}
		if *wait {
			return r.orNear(cmd, t, args, awaitRun(cmd, t, args[0], *key))
		}
		if _, err := t.do(cmd.Context(), http.MethodPost, nil); err != nil {
			return r.orNear(cmd, t, args, err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is due\n", args[0])
		return err
	}
	return []*cobra.Command{cmd}
}

// jobEvery is how often a job that is waited for is looked at.
const jobEvery = 300 * time.Millisecond

// awaitRun makes a job due and waits until some replica has run it. A run is over when the job is gone, or due at a later time than it
// was, or has failed since.
func awaitRun(cmd *cobra.Command, t target, kind, key string) error {
	before, _, err := findJob(cmd, t, kind, key)
	if err != nil {
		return err
	}
	asked := time.Now()
	if _, err := t.do(cmd.Context(), http.MethodPost, nil); err != nil {
		return err
	}
	p := working(cmd, kind+" is due")
	defer p.stop()
	tick := time.NewTicker(jobEvery)
	defer tick.Stop()
	for {
		j, there, err := findJob(cmd, t, kind, key)
		switch {
		case err != nil:
			return err
		case there && j.State == "running":
			p.tell(kind + " is running")
		case there && j.State == "failed" && j.RunAfter.After(asked):
			return fmt.Errorf("%s has failed: %s", kind, j.LastError)
		case !there || j.RunAfter.After(before.RunAfter) && j.RunAfter.After(asked):
			p.above(func() { fmt.Fprintf(cmd.OutOrStdout(), "%s has run\n", kind) })
			return nil
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-tick.C:
		}
	}
}

func findJob(cmd *cobra.Command, t target, kind, key string) (j api.Job, there bool, err error) {
	items, err := t.client.Items(cmd.Context(), "/jobs", nil, 0)
	if err != nil {
		return j, false, err
	}
	for _, item := range items {
		if err := json.Unmarshal(item, &j); err == nil && j.Kind == kind && j.Key == key {
			return j, true, nil
		}
	}
	return api.Job{}, false, nil
}

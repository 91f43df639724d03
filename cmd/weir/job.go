package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func jobs() *resource {
	return &resource{
		noun: "job", short: "Jobs: what the server does in the background", path: "/jobs/{kind}", key: "kind",
		long:    "Work that recurs is always in the list, other work while it waits, runs or has failed. It takes an administrator.",
		columns: columns{"kind", "key", "state", "run_after:time=due", "attempts", "last_error=error"},
		verbs:   []string{"list"}, more: jobCommands,
		example: "  weir job list\n  weir job run gc",
	}
}

func jobCommands(r *resource, connect connector) []*cobra.Command {
	cmd := &cobra.Command{
		Use: "run KIND", Short: "Make a job due now", Args: cobra.ExactArgs(1), ValidArgsFunction: completeNames(connect, "job"),
		Long: "A job that failed need not wait any longer; one that is being run is run again afterwards. Some replica takes it within seconds.",
	}
	key := cmd.Flags().String("key", "", "of the job, if it has one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		if *key != "" {
			query.Set("key", *key)
		}
		t, err := r.at(cmd, connect, r.path+"/run", args, query)
		if err != nil {
			return err
		}
		if _, err := t.do(cmd.Context(), http.MethodPost, nil); err != nil {
			return r.orNear(cmd, t, args, err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is due\n", args[0])
		return err
	}
	return []*cobra.Command{cmd}
}

package main

import (
	"github.com/spf13/cobra"
)

func tagCommands(r *resource, connect connector) []*cobra.Command {
	cmd := &cobra.Command{
		Use: "history REPOSITORY TAG", Short: "Tell where a tag pointed, the latest first", Args: cobra.ExactArgs(2), ValidArgsFunction: r.complete(connect),
	}
	query, show := queryFlags(cmd, connect, r.query), outputFlag(cmd)
	most := cmd.Flags().Int("limit", 0, "how many at most; 0 is all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.path+"/history", args, query())
		if err != nil {
			return err
		}
		items, err := t.client.Items(cmd.Context(), t.path, t.query, *most)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), items, keysOf(items, "digest")...); done || err != nil {
			return err
		}
		return table(cmd.OutOrStdout(), columns{"at:time", "digest", "actor.name=by"}.rows(items))
	}
	return []*cobra.Command{cmd}
}

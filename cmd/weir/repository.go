package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// repositoryCommands: a repository is deleted part by part, so that its deletion is none of the verbs that are alike.
func repositoryCommands(r *resource, connect connector) []*cobra.Command {
	cmd := &cobra.Command{
		Use: "delete REPOSITORY", Short: "Delete a repository with everything in it", Args: cobra.ExactArgs(1), ValidArgsFunction: r.complete(connect),
		Long: "A hosted repository loses its tags, manifests and blobs, and its name, which a virtual registry then looks for at upstreams. " +
			"A cached one is purged: the next pull fetches it anew.",
		Example: "  weir repository delete team/old --dry-run\n  weir repository delete library/alpine --upstream dockerhub",
	}
	query, dryRun, yes, show := queryFlags(cmd, connect, r.query), dryRunFlag(cmd), yesFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.path, args, query())
		if err != nil {
			return err
		}
		if !*dryRun {
			if err := confirm(cmd, *yes, "delete "+r.title(args)+in(t.group)+" with everything in it?"); err != nil {
				return err
			}
		}
		word := "deleted"
		if *dryRun {
			word = "would delete"
		}
		p := working(cmd, "deleting "+args[0])
		place := client.Place{Group: t.group, Repository: args[0], Upstream: t.query.Get("upstream")}
		sum, err := t.client.DeleteRepository(cmd.Context(), place, *dryRun, func(sum client.Purged) { p.stage(word + " " + taken(sum)) })
		p.stop()
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		if done, err := show(cmd.OutOrStdout(), sum, args[0]); done || err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s\n", r.title(args), word, taken(sum))
		return err
	}
	return []*cobra.Command{cmd}
}

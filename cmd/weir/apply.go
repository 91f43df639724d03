package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
)

func newApplyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply -f FILE…", Short: "Make groups, upstreams and registries as declared in files", Args: cobra.NoArgs,
		Long: "Compares the declarations with the server, shows the difference and makes it so, all or nothing.\n" +
			"What the files do not mention stays as it is: definitions, fields of them, and lists. With --prune, whatever the named groups\n" +
			"have beyond the files is removed, and fields that are left out get their defaults. On a terminal it asks before it removes something.\n" +
			"A secret may stand as {env: NAME} or {file: PATH}; left out, it stays as it is.",
		Example: "  weir apply -f deploy/examples/acme.yaml --dry-run",
	}
	read := declarationFlags(cmd)
	dryRun, yes := dryRunFlag(cmd), yesFlag(cmd)
	connect, show := clientFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, prune, err := read(cmd)
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		if !*dryRun && !*yes && isTerminal(cmd.InOrStdin()) {
			if err := confirmApply(cmd, c, d, prune); err != nil {
				return err
			}
		}
		out, err := c.Apply(cmd.Context(), d, prune, *dryRun)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), out, namesOf(out.Changes)...); done || err != nil {
			return err
		}
		fmt.Fprint(cmd.OutOrStdout(), out.Text)
		switch {
		case *dryRun:
			fmt.Fprintln(cmd.OutOrStdout(), "dry run: nothing was changed")
		case out.Applied:
			fmt.Fprintln(cmd.OutOrStdout(), "applied")
		}
		return nil
	}
	return cmd
}

// confirmApply shows what an apply would do, and asks whether it is meant, if that removes something.
func confirmApply(cmd *cobra.Command, c *client.Client, d desired.Document, prune bool) error {
	out, err := c.Apply(cmd.Context(), d, prune, true)
	if err != nil {
		return err
	}
	removes := slices.ContainsFunc(out.Changes, func(change json.RawMessage) bool {
		var c plan.Change
		return json.Unmarshal(change, &c) == nil && c.Action == plan.Remove
	})
	if !removes {
		return nil
	}
	fmt.Fprint(cmd.ErrOrStderr(), out.Text)
	return confirm(cmd, false, "make these changes? What is removed goes with all that is its own: cached content, members, tokens.")
}

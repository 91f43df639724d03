package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newApplyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply -f FILE…", Short: "Make groups, upstreams and registries as declared in files", Args: cobra.NoArgs,
		Long: "Compares the declarations with the server, shows the difference and makes it so, all or nothing.\n" +
			"What the files do not mention stays as it is: definitions, fields of them, and lists. With --prune, whatever the named groups\n" +
			"have beyond the files is removed, and fields that are left out get their defaults.\n" +
			"A secret may stand as {env: NAME} or {file: PATH}; left out, it stays as it is.",
		Example: "  weir apply -f deploy/examples/acme.yaml --dry-run",
	}
	read := declarationFlags(cmd)
	dryRun := dryRunFlag(cmd)
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
		out, err := c.Apply(cmd.Context(), d, prune, *dryRun)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), out); done || err != nil {
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

package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
)

func newGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get [GROUP]", Short: "List the groups, or read one out as it would be declared", Args: cobra.MaximumNArgs(1),
		Long: "Without a group, lists them. With one, prints a declaration that `weir apply` takes, without secrets.",
	}
	connect, show := clientFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if len(args) == 0 {
			groups, err := c.Groups(cmd.Context())
			if err != nil {
				return err
			}
			if done, err := show(out, groups); done || err != nil {
				return err
			}
			rows := [][]string{{"GROUP", "ENABLED", "ID"}}
			for _, g := range groups {
				rows = append(rows, []string{g.Name, strconv.FormatBool(g.Enabled), g.ID})
			}
			return table(out, rows)
		}
		g, err := c.Group(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		d := desired.Document{Groups: []desired.Group{g}}
		if done, err := show(out, d); done || err != nil {
			return err
		}
		text, err := client.Write(d)
		if err == nil {
			_, err = out.Write(text)
		}
		return err
	}
	return cmd
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// printer writes v in the form that --output asks for, and says whether it did: a table the command makes itself. names are what
// -o name prints, a line each.
type printer func(w io.Writer, v any, names ...string) (bool, error)

// outputFlag adds --output; what a command prints without it is a table, or text.
func outputFlag(cmd *cobra.Command) printer { return outputOr(cmd, "table") }

func outputOr(cmd *cobra.Command, usual string) printer {
	formats := []string{"table", "json", "yaml", "name"}
	output := cmd.Flags().StringP("output", "o", usual, strings.Join(formats[:3], ", ")+" or name")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return func(w io.Writer, v any, names ...string) (bool, error) {
		switch *output {
		case "table":
			return false, nil
		case "json":
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return true, e.Encode(v)
		case "yaml":
			return true, writeYAML(w, v)
		case "name":
			for _, name := range names {
				fmt.Fprintln(w, name)
			}
			return true, nil
		}
		return false, usage(fmt.Sprintf("--output %q: want %s or name", *output, strings.Join(formats[:3], ", ")))
	}
}

// writeYAML writes v by way of its JSON, so that fields have the same names and order.
func writeYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if text, err = yaml.JSONToYAML(text); err == nil {
		_, err = w.Write(text)
	}
	return err
}

// table writes rows in columns.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

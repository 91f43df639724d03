package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
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

// namelessFlag is outputFlag of a command whose answer is about nothing that has a name.
func namelessFlag(cmd *cobra.Command) printer { return outputAs(cmd, &form{"table", forms[:3]}) }

func outputOr(cmd *cobra.Command, usual string) printer { return outputAs(cmd, &form{usual, forms}) }

var forms = []string{"table", "json", "yaml", "name"}

// form is the value of --output. One that there is not is refused before the command does anything.
type form struct {
	value string
	of    []string
}

func (f *form) String() string { return f.value }
func (f *form) Type() string   { return "string" }

// Set implements pflag.Value.
func (f *form) Set(value string) error {
	if !slices.Contains(f.of, value) {
		return errors.New("want " + f.choice())
	}
	f.value = value
	return nil
}

// choice is what there is, for people.
func (f *form) choice() string {
	last := len(f.of) - 1
	return strings.Join(f.of[:last], ", ") + " or " + f.of[last]
}

func outputAs(cmd *cobra.Command, f *form) printer {
	cmd.Flags().VarP(f, "output", "o", f.choice())
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(f.of, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return func(w io.Writer, v any, names ...string) (bool, error) {
		switch f.value {
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
		return false, nil
	}
}

// namesOf are those of changes: what they are of, and its name.
func namesOf(changes []json.RawMessage) (names []string) {
	for _, change := range changes {
		var c struct{ Kind, Name string }
		if json.Unmarshal(change, &c) == nil {
			names = append(names, strings.Trim(c.Kind+"/"+c.Name, "/"))
		}
	}
	return names
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

// counted is a number of things, of which more than one have an s.
func counted[T int | int64](n T, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
)

func newDiffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff -f FILE…", Short: "Show what apply would change", Args: cobra.NoArgs,
		Long: "Compares the declarations with the server and changes nothing. The exit code is 0 when they agree, 1 when they differ, and more\n" +
			"when they could not be compared.",
		Example: "  weir diff -f deploy/examples/acme.yaml",
	}
	read := declarationFlags(cmd)
	connect, show := clientFlags(cmd), outputFlag(cmd)
	run := func(cmd *cobra.Command) error {
		d, prune, err := read(cmd)
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		out, err := c.Apply(cmd.Context(), d, prune, true)
		if err != nil {
			return err
		}
		done, err := show(cmd.OutOrStdout(), out, namesOf(out.Changes)...)
		if !done && err == nil {
			_, err = fmt.Fprint(cmd.OutOrStdout(), out.Text)
		}
		if err == nil && len(out.Changes) > 0 {
			err = errReported
		}
		return err
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := run(cmd)
		if exitCode(err) == exitFailed && !errors.Is(err, errReported) {
			return &codeError{err, exitUsage}
		}
		return err
	}
	return cmd
}

// declarationFlags adds what apply and diff have in common, and returns what reads the declarations.
func declarationFlags(cmd *cobra.Command) func(*cobra.Command) (d desired.Document, prune bool, err error) {
	files := cmd.Flags().StringArrayP("file", "f", nil, `file to read, "-" for standard input; may be given several times`)
	prune := cmd.Flags().Bool("prune", false, "remove what the named groups have beyond the files")
	_ = cmd.MarkFlagRequired("file") // the flag exists
	return func(cmd *cobra.Command) (desired.Document, bool, error) {
		d, err := client.Reader{Stdin: cmd.InOrStdin()}.Read(*files)
		return d, *prune, err
	}
}

func newExportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Print what is defined, as a declaration that apply takes", Args: cobra.NoArgs,
		Long: "Prints the group of --group or WEIR_GROUP, or all that you own, without secrets. To apply it changes nothing.\n" +
			"Of what you see and do not own nothing is printed, and the exit code is 4.",
		Example: "  weir export --group acme > acme.yaml\n" +
			"  weir diff -f acme.yaml",
	}
	connect, show := clientFlags(cmd), outputOr(cmd, "yaml")
	groupFlag(cmd, connect)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		d, left, err := exported(cmd, c)
		if err != nil || len(d.Groups) == 0 && left != nil {
			return cmp.Or(err, left)
		}
		var names []string
		for _, g := range d.Groups {
			names = append(names, g.Name)
		}
		if cmd.Flag("output").Value.String() != "yaml" {
			_, err := show(cmd.OutOrStdout(), d, names...)
			return cmp.Or(err, left)
		}
		text, err := client.Write(d)
		if err == nil {
			_, err = cmd.OutOrStdout().Write(text)
		}
		return cmp.Or(err, left)
	}
	return cmd
}

// exported reads the group that was named, or each that the caller may read whole; left says which were left out.
func exported(cmd *cobra.Command, c *client.Client) (d desired.Document, left, err error) {
	if name := givenGroup(cmd, c); name != "" {
		g, err := c.Group(cmd.Context(), name)
		if err != nil {
			return d, nil, fmt.Errorf("group %s: %w", name, err)
		}
		return desired.Document{Groups: []desired.Group{g}}, nil, nil
	}
	groups, err := c.Groups(cmd.Context())
	if err != nil {
		return d, nil, err
	}
	for _, group := range groups {
		g, err := c.Group(cmd.Context(), group.Name)
		switch code := exitCode(err); {
		case code == exitNotFound: // it has gone meanwhile
			continue
		case code == exitDenied: // it may be seen, and no more
			left = errors.Join(left, fmt.Errorf("group %s is left out: %w", group.Name, err))
			continue
		case err != nil:
			return d, nil, err
		}
		d.Groups = append(d.Groups, g)
	}
	if left != nil {
		left = &codeError{left, exitDenied}
	}
	return d, left, nil
}

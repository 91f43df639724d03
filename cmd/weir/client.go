package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// clientFlags adds the flags that say where the server is, and returns how to reach it.
func clientFlags(cmd *cobra.Command) func() (*client.Client, error) {
	server := cmd.PersistentFlags().String("server", envOr("WEIR_SERVER", ""),
		"address of the server, such as https://weir.example.com, used with a token in WEIR_TOKEN (default: the socket in the data folder)")
	return func() (*client.Client, error) {
		data, err := cmd.Root().PersistentFlags().GetString("data")
		if err != nil {
			return nil, err
		}
		return client.New(client.Options{Server: *server, Token: os.Getenv("WEIR_TOKEN"), Data: data})
	}
}

// outputFlag adds --output. The function writes v as JSON when that was asked for, and says whether it did.
func outputFlag(cmd *cobra.Command) func(w io.Writer, v any) (bool, error) {
	output := cmd.Flags().StringP("output", "o", "text", "text or json")
	return func(w io.Writer, v any) (bool, error) {
		switch *output {
		case "text":
			return false, nil
		case "json":
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return true, e.Encode(v)
		}
		return false, fmt.Errorf("--output %q: want text or json", *output)
	}
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

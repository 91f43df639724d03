package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// clientFlags adds the flags that say where the server is, and returns how to reach it.
func clientFlags(cmd *cobra.Command) func() (*client.Client, error) {
	server := cmd.PersistentFlags().String("server", envOr("WEIR_SERVER", ""),
		"address of the server, such as https://weir.example.com, with the token of `weir login` or in WEIR_TOKEN (default: the socket in the data folder, else where you are logged in)")
	return func() (*client.Client, error) {
		data := cmd.Root().PersistentFlags().Lookup("data")
		return connect(*server, data.Value.String(), data.Changed || os.Getenv("WEIR_DATA") != "")
	}
}

// connect finds the server a command talks to: the one it was told, else the one whose data folder this is, else the one that
// somebody is logged in at.
func connect(server, data string, told bool) (*client.Client, error) {
	token := os.Getenv("WEIR_TOKEN")
	if server == "" && (told || hasSocket(data)) {
		return client.New(client.Options{Data: data})
	}
	if server != "" && token != "" {
		return client.New(client.Options{Server: server, Token: token})
	}
	logins, err := readLogins()
	if err != nil {
		return nil, err
	}
	if server == "" && logins.Current == "" {
		return client.New(client.Options{Data: data})
	}
	if server == "" {
		server = logins.Current
	}
	login, err := logins.Find(server)
	if errors.Is(err, client.ErrNoLogin) {
		return client.New(client.Options{Server: server})
	}
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{Server: login.Server, Token: login.Token})
}

func hasSocket(data string) bool {
	_, err := os.Stat(filepath.Join(data, client.SocketName))
	return err == nil
}

func readLogins() (*client.Logins, error) {
	path, err := client.LoginsPath()
	if err != nil {
		return nil, err
	}
	return client.ReadLogins(path)
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

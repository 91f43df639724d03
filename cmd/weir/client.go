package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// connector reaches the server.
type connector = func() (*client.Client, error)

// clientFlags adds the flags that say where the server is, and returns how to reach it.
func clientFlags(cmd *cobra.Command) connector {
	server := cmd.PersistentFlags().String("server", envOr("WEIR_SERVER", ""),
		"address (`URL`) of the server, such as https://weir.example.com, with the token of weir login or in WEIR_TOKEN (default: the socket in the data folder, else where you are logged in)")
	return func() (*client.Client, error) { return connectFrom(cmd, *server) }
}

func connectFrom(cmd *cobra.Command, server string) (*client.Client, error) {
	data := cmd.Root().PersistentFlags().Lookup("data")
	return connect(server, data.Value.String(), data.Changed || os.Getenv("WEIR_DATA") != "")
}

// connectorOf reaches the server that a command's flags say, if it has them.
func connectorOf(cmd *cobra.Command) connector {
	return func() (*client.Client, error) {
		server := cmd.Flag("server")
		if server == nil {
			return nil, errors.New("the command talks to no server")
		}
		return connectFrom(cmd, server.Value.String())
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
		return nil, &codeError{fmt.Errorf("you are not logged in, and no server runs here (there is no %s): `weir login SERVER` logs in, --server names an address, --data a data folder",
			filepath.Join(data, client.SocketName)), exitDenied}
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
	return client.New(client.Options{Server: login.Server, Token: login.Token, Group: login.Group})
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

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/seal"
)

func newKeysCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Manage the keyset that seals secrets"}
	rotate := &cobra.Command{
		Use: "rotate", Short: "Add a new primary key; older keys stay for reading", Args: cobra.NoArgs,
		Long: "Adds a new primary key to the keyset file. Older keys stay in it for reading. A running server goes on with the keyset it\nread: restart it to seal with the new key.",
	}
	load := settingsFlags(rotate)
	rotate.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if c.Keys.Env != "" {
			return errors.New("the keyset comes from an environment variable (keys.env): rotate it where it is kept")
		}
		if err := seal.RotateFile(c.Keys.KeysetFile); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s has a new primary key; restart the server to use it\n", c.Keys.KeysetFile)
		return err
	}
	cmd.AddCommand(rotate)
	return cmd
}

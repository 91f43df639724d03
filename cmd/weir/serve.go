package main

import (
	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/app"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: cobra.NoArgs,
		Long: "Runs the registry. Without any settings it keeps everything in ./data, listens on 127.0.0.1:5000 and, on its first start,\ncreates an administrator and the registry main/all in front of the public registries.",
	}
	load := settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return app.Serve(cmd.Context(), c, cmd.ErrOrStderr())
	}
	return cmd
}

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/app"
	"github.com/weir-registry/weir/internal/config"
)

// settingsFlags adds the flags that name or override server settings, and returns what loads them.
func settingsFlags(cmd *cobra.Command) func() (config.Config, error) {
	file := cmd.Flags().String("config", os.Getenv("WEIR_CONFIG"), "settings file (YAML); every setting is also a WEIR_… variable")
	listen := cmd.Flags().String("listen", "", "address to listen on, instead of the settings'")
	return func() (config.Config, error) {
		return config.Load(config.Source{File: *file, Environ: os.Environ(), Override: func(c *config.Config) {
			if data := cmd.Flags().Lookup("data"); data != nil && data.Changed {
				c.Data = data.Value.String()
			}
			if *listen != "" {
				c.Listen = *listen
			}
		}})
	}
}

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show or check the server's settings"}
	cmd.AddCommand(newConfigPrintCommand(), newConfigCheckCommand())
	return cmd
}

func newConfigPrintCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "print", Short: "Print the settings in effect, secrets masked", Args: cobra.NoArgs}
	load := settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		text, err := config.Print(c)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), text)
		return err
	}
	return cmd
}

func newConfigCheckCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check", Short: "Check the settings and the files they name, and report every problem at once", Args: cobra.NoArgs}
	load := settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range app.UnknownVariables() {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: the variable %s is no setting\n", name)
		}
		c, err := load()
		if err != nil {
			return err
		}
		if err := app.CheckSettings(c); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "the settings are fine")
		return err
	}
	return cmd
}

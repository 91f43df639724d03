package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/app"
	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/serve/api"
)

func newCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Compare rows with bytes, both ways", Args: cobra.NoArgs,
		Long: "Asks the running server to compare rows with bytes. With --offline it opens the store itself, which no server may have open then.\nThe exit code is 1 when there are problems.",
	}
	deep := cmd.Flags().Bool("deep", false, "read all bytes and compare their digests")
	offline := cmd.Flags().Bool("offline", false, "open the store itself; the server must be stopped")
	repair := cmd.Flags().Bool("repair", false, "with --offline: drop bytes nobody knows, and blobs whose bytes are lost or wrong, so that they are fetched or pushed again")
	connect, settings := clientFlags(cmd), settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *repair && !*offline {
			return usage("--repair needs --offline: stop the server first")
		}
		p := working(cmd, "checking")
		report := func(f client.Finding) { p.above(func() { tellFinding(cmd, f) }) }
		far := func(f client.CheckProgress) { p.far("checking", "blobs", f.Blobs, f.TotalBlobs, f.Bytes, f.TotalBytes) }
		var sum client.CheckSummary
		var err error
		if *offline {
			sum, err = checkOffline(cmd, settings, *deep, *repair, report, far)
		} else {
			sum, err = checkOnline(cmd, connect, *deep, report, far)
		}
		p.stop()
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s, %s: %s (%d repaired), %s\n", counted(sum.Blobs, "blob"), counted(sum.Bytes, "byte"), counted(sum.Problems, "problem"), sum.Repaired, counted(sum.Warnings, "warning"))
		if sum.Problems > sum.Repaired {
			return errReported
		}
		return nil
	}
	return cmd
}

// tellFinding shows what must not be, and what to do.
func tellFinding(cmd *cobra.Command, f client.Finding) {
	word := "problem"
	switch {
	case f.Repaired:
		word = "repaired"
	case f.Warning:
		word = "warning"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s: %s\n", word, f.Kind, f.Subject, f.Detail)
	if !f.Repaired {
		fmt.Fprintf(cmd.OutOrStdout(), "    %s\n", f.Advice)
	}
}

func checkOnline(cmd *cobra.Command, connect func() (*client.Client, error), deep bool, report func(client.Finding), far func(client.CheckProgress)) (client.CheckSummary, error) {
	c, err := connect()
	if err != nil {
		return client.CheckSummary{}, err
	}
	return c.Check(cmd.Context(), deep, report, far)
}

func checkOffline(cmd *cobra.Command, settings func() (config.Config, error), deep, repair bool,
	report func(client.Finding), far func(client.CheckProgress),
) (client.CheckSummary, error) {
	c, err := settings()
	if err != nil {
		return client.CheckSummary{}, err
	}
	sum, err := app.CheckOffline(cmd.Context(), c, deep, repair,
		func(f api.Finding) { report(client.Finding(f)) }, func(f api.CheckProgress) { far(client.CheckProgress(f)) }, cmd.ErrOrStderr())
	return client.CheckSummary{Blobs: sum.Blobs, Bytes: sum.Bytes, Problems: sum.Problems, Warnings: sum.Warnings, Repaired: sum.Repaired}, err
}

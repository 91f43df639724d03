package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

func newRefreshCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "refresh IMAGE", Short: "Confirm cached references with their upstreams although they are fresh", Args: cobra.MaximumNArgs(1),
		Example: "  weir refresh main/all/library/alpine:3.20\n" +
			"  weir refresh --repository main/all/library/alpine\n" +
			"  weir refresh --upstream main/dockerhub",
	}
	repository := cmd.Flags().String("repository", "", "every cached tag of a repository, GROUP/REGISTRY/NAME")
	upstream := cmd.Flags().String("upstream", "", "everything cached from an upstream, GROUP/NAME")
	connect, show := clientFlags(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = completeImages(connect, 1)
	_ = cmd.RegisterFlagCompletionFunc("repository", completeImages(connect, 1)) // the flag exists
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, name, err := refreshTarget(args, *repository, *upstream)
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		p := working(cmd, "refreshing "+name)
		out, err := c.Refresh(cmd.Context(), kind, name, func(f client.RefreshProgress) {
			p.show("refreshing "+name, "references", int64(f.References), int64(f.TotalReferences), 0, 0)
		})
		p.stop()
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), out, name); done || err != nil {
			if err == nil && len(out.Kept) > 0 {
				err = errReported
			}
			return err
		}
		if out.Deferred {
			fmt.Fprintf(cmd.OutOrStdout(), "everything cached from %s will be confirmed when next asked for\n", name)
			return nil
		}
		for _, k := range out.Kept {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: kept (stale): %s\n", k.Image, k.Reason)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s refreshed\n", kind, name, references(out.References))
		if len(out.Kept) > 0 {
			return errReported
		}
		return nil
	}
	return cmd
}

func refreshTarget(args []string, repository, upstream string) (kind, name string, err error) {
	given := 0
	if len(args) == 1 {
		kind, name, given = client.RefreshImage, args[0], given+1
	}
	if repository != "" {
		kind, name, given = client.RefreshRepository, repository, given+1
	}
	if upstream != "" {
		kind, name, given = client.RefreshUpstream, upstream, given+1
	}
	if given != 1 {
		return "", "", usage("name exactly one of an image, --repository and --upstream")
	}
	return kind, name, nil
}

func references(n int) string {
	if n == 1 {
		return "1 reference"
	}
	return strconv.Itoa(n) + " references"
}

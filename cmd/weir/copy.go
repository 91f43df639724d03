package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

func newCopyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "copy SOURCE TARGET", Short: "Copy or promote an image into a hosted repository, without moving bytes", Args: cobra.ExactArgs(2),
		Long: "Both are named as for docker pull. Digests stay what they are; what refers to the image (signatures, attestations) comes too.\n" +
			"What of a cached image is not here is fetched through its cache first.",
		Example: "  weir copy acme/hub/library/alpine:3.20 acme/base/alpine:3.20\n  weir copy acme/team/app@sha256:… acme/released/app:1.0",
	}
	referrers := cmd.Flags().Bool("referrers", true, "copy what refers to the image, too")
	platforms := cmd.Flags().StringSlice("platforms", nil, "of an index only these: os/architecture or os/architecture/variant")
	dryRun := cmd.Flags().Bool("dry-run", false, "only tell what would be copied")
	connect, show := clientFlags(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = completeImages(connect, 2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		p := working(cmd, "copying "+args[0])
		out, err := c.Copy(cmd.Context(), groupIn(args[1]), client.CopyRequest{
			Source: args[0], Target: args[1], Referrers: referrers, Platforms: *platforms, DryRun: *dryRun,
		}, func(f client.CopyProgress) {
			p.show("copying "+args[0], "manifests", int64(f.Manifests), int64(f.TotalManifests), f.Bytes, f.TotalBytes)
		})
		p.stop()
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), out, out.Target); done || err != nil {
			return err
		}
		if *dryRun {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "would copy %s: %d manifests, %d blobs, %s\n", out.Digest, out.Manifests, out.Blobs, byteSize(out.Bytes))
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is %s: %d manifests, %d blobs, %d of them fetched, %s\n",
			out.Target, out.Digest, out.Manifests, out.Blobs, out.Fetched, byteSize(out.Bytes))
		return err
	}
	return cmd
}

// groupIn is the group in an image's name, which may begin with a host.
func groupIn(image string) string {
	first, rest, _ := strings.Cut(image, "/")
	if strings.ContainsAny(first, ".:") || first == "localhost" {
		first, _, _ = strings.Cut(rest, "/")
	}
	return first
}

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/lab"
)

func newLabCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "lab", Short: "Try your installation against upstreams in trouble"}
	cmd.AddCommand(newLabUpstreamCommand())
	return cmd
}

const labUpstreamLong = `Runs a small registry with made-up images that misbehaves when told to: it is late, limits, hangs, resets, lies. Put it behind your
Weir (or any other cache, or a client) and see what happens. It says how when it has started; what to change while it runs goes to its
control door, /_lab/, with curl. docs/how-to/faults.md walks through it; docs/reference/faults.md has what Weir does with each fault.

The images are the same for the same flags: demo/app1, demo/app2, …, each with the tags 1, 2, … and latest, an index of two platforms. Clients
can pull and unpack them; there is nothing in them to run. Nothing can be pushed.

Faults, for --fault and for PUT and POST /_lab/faults:

`

const labUpstreamExample = `  weir lab upstream
  weir lab upstream --fault 429,retry-after=7,kind=manifest --fault hang,kind=blob,at=1000
  weir lab upstream --listen '[::1]:5050' --layer-size 100MiB --fault bearer,user=ci,password=secret,life=30s`

func newLabUpstreamCommand() *cobra.Command {
	var o lab.Options
	sample := lab.Sample{Repositories: 2, Tags: 3, Layers: 3}
	var faults []string
	size := config.Bytes(1 << 20)
	cmd := &cobra.Command{
		Use: "upstream", Short: "Run an upstream that misbehaves when told to", Args: cobra.NoArgs,
		Long: labUpstreamLong + lab.Catalogue(), Example: labUpstreamExample,
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:5050", "address of the registry; [::1]:5050 is an upstream with IPv6 only")
	f.StringVar(&o.StorageListen, "storage-listen", "", "address of the host that blobs are redirected to (default a free port of the same host)")
	f.BoolVar(&o.TLS, "tls", false, "speak TLS, with a certificate of its own that /_lab/apply.yaml has in it")
	f.StringArrayVar(&faults, "fault", nil, "what is wrong from the start; may be given several times")
	f.IntVar(&sample.Repositories, "repositories", sample.Repositories, "repositories")
	f.IntVar(&sample.Tags, "tags", sample.Tags, "images of each repository")
	f.IntVar(&sample.Layers, "layers", sample.Layers, "layers of each image")
	f.TextVar(&size, "layer-size", size, "size of each layer: bytes, or with a unit, such as 512KiB or 100MB")
	f.Uint64Var(&sample.Seed, "seed", 1, "other images for another number")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sample.LayerSize = int64(size)
		return runLab(cmd, o, sample, faults)
	}
	return cmd
}

// runLab runs an upstream until the command's context ends.
func runLab(cmd *cobra.Command, o lab.Options, sample lab.Sample, faults []string) (err error) {
	out := cmd.OutOrStdout()
	o.Leaked = func(http.Header) {
		_, _ = io.WriteString(out, "CREDENTIALS REACHED THE STORAGE HOST: a client must not send them where it is redirected to\n")
	}
	u, err := lab.New(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	if err := errors.Join(u.Fill(sample), u.Play(faults...)); err != nil {
		return err
	}
	for _, p := range u.Playing() {
		if _, err := fmt.Fprintf(out, "Wrong from the start: %s\n", p.Fault); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(out, lab.Guide(u.URL(), u.StorageURL(), u.Example())); err != nil {
		return err
	}
	<-cmd.Context().Done()
	return nil
}

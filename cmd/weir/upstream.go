package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// upstreamCommands are what an upstream can do beyond the verbs that all have.
func upstreamCommands(r *resource, connect connector) []*cobra.Command {
	return []*cobra.Command{purgeCommand(r, connect)}
}

// taken says what a purge took.
func taken(p client.Purged) string {
	least := ""
	if p.AtLeast {
		least = "at least "
	}
	text := fmt.Sprintf("%s%d tags, %d manifests, %s", least, p.Tags, p.Manifests, byteSize(p.Bytes))
	if p.InUse > 0 {
		text += fmt.Sprintf("; %d manifests in use go later", p.InUse)
	}
	return text
}

func purgeCommand(r *resource, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "purge UPSTREAM", Short: "Take content out of an upstream's cache", Args: cobra.ExactArgs(1),
		Long:    "Takes out all of it, one repository, or one tag or digest. The next pull fetches it anew; pulls under way are not disturbed.",
		Example: "  weir upstream purge dockerhub --repository library/alpine --reference 3.20",
	}
	repository := cmd.Flags().String("repository", "", "one repository, as the upstream names it; all without it")
	reference := cmd.Flags().String("reference", "", "one tag or digest of the repository")
	dryRun, yes, show := dryRunFlag(cmd), yesFlag(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = completeNames(connect, "upstream")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *reference != "" && *repository == "" {
			return usage("--reference takes --repository")
		}
		t, err := r.at(cmd, connect, r.path, args, nil)
		if err != nil {
			return err
		}
		if !*dryRun {
			if err := confirm(cmd, *yes, "purge what is cached from "+args[0]+in(t.group)+"?"); err != nil {
				return err
			}
		}
		p := working(cmd, "purging "+args[0])
		sum, err := t.client.Purge(cmd.Context(), t.group, args[0], *repository, *reference, *dryRun, func(sum client.Purged) { p.stage("purged " + taken(sum)) })
		p.stop()
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		if done, err := show(cmd.OutOrStdout(), sum); done || err != nil {
			return err
		}
		word := "purged"
		if *dryRun {
			word = "would purge"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", word, taken(sum))
		return err
	}
	return cmd
}

// credentialCommands are what a credential can do beyond the verbs that all have.
func credentialCommands(r *resource, connect connector) []*cobra.Command {
	usage := &cobra.Command{
		Use: "usage NAME", Short: "Tell which upstreams use a credential, and where it may be sent", Args: cobra.ExactArgs(1), ValidArgsFunction: r.complete(connect),
	}
	show := outputFlag(usage)
	usage.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.path+"/usage", args, nil)
		if err != nil {
			return err
		}
		a, err := t.do(cmd.Context(), http.MethodGet, nil)
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		if done, err := show(cmd.OutOrStdout(), a.Body); done || err != nil {
			return err
		}
		var out struct {
			Upstreams []json.RawMessage
			Hosts     []string
		}
		if err := decode(a, &out); err != nil {
			return err
		}
		for _, host := range out.Hosts {
			fmt.Fprintf(cmd.OutOrStdout(), "may be sent to %s\n", host)
		}
		return table(cmd.OutOrStdout(), columns{"name=upstream", "url", "registries"}.rows(out.Upstreams))
	}
	return []*cobra.Command{usage, rotateCommand(r, connect)}
}

func rotateCommand(r *resource, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "Give a credential a new secret", Args: cobra.ExactArgs(1), ValidArgsFunction: r.complete(connect),
		Long: "Replaces the secret. What is cached stays, and pulls go on: requests that are under way end with the old one.",
	}
	secret := fieldFlags(cmd, fieldsOf(r.formType(), []string{"name", "kind", "username", "hosts"}))
	show, ifMatch := outputFlag(cmd), ifMatchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		document := map[string]any{}
		if err := secret(cmd, document); err != nil {
			return err
		}
		if len(document) == 0 {
			return usage("give the new secret with --password-stdin or --password-env")
		}
		t, err := r.at(cmd, connect, r.path, args, url.Values{})
		if err != nil {
			return err
		}
		a, err := r.change(cmd, t, client.Request{Method: http.MethodPatch, Body: document, IfMatch: *ifMatch}, false)
		return r.told(cmd, a, r.orNear(cmd, t, args, err), false, show, args, "has a new secret")
	}
	return cmd
}

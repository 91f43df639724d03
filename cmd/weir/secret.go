package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

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
		var out struct {
			Upstreams []json.RawMessage
			Hosts     []string
		}
		if err := decode(a, &out); err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), a.Body, keysOf(out.Upstreams, "name")...); done || err != nil {
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

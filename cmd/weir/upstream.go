package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/client/setup"
	"github.com/weir-registry/weir/internal/serve/api"
)

// upstreamCommands are what an upstream can do beyond the verbs that all have.
func upstreamCommands(r *resource, connect connector) []*cobra.Command {
	return []*cobra.Command{testCommand(r, connect), healthCommand(r, connect), purgeCommand(r, connect)}
}

func testCommand(r *resource, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "test UPSTREAM", Short: "Try an upstream step by step", Args: cobra.ExactArgs(1), ValidArgsFunction: completeNames(connect, "upstream"),
		Long: "Tries name, connection, TLS, API, login and, if one is named, a repository, from the server. The exit code is 1 when a step fails.",
	}
	repository := cmd.Flags().String("repository", "", "try to read the tags of this repository too")
	show := namelessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]string{}
		if *repository != "" {
			body["repository"] = *repository
		}
		t, err := r.at(cmd, connect, r.path+"/test", args, nil)
		if err != nil {
			return err
		}
		p := working(cmd, "testing "+args[0])
		a, err := t.do(cmd.Context(), http.MethodPost, body)
		p.stop()
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		var out api.TestReport
		if err := decode(a, &out); err != nil {
			return err
		}
		done, err := show(cmd.OutOrStdout(), a.Body)
		if !done && err == nil {
			for _, s := range out.Steps {
				tellStep(cmd, setup.Step{Name: s.Step, Result: s.Detail, OK: s.OK, Advice: s.Advice})
			}
		}
		if err == nil && !out.OK {
			err = errReported
		}
		return err
	}
	return cmd
}

func healthCommand(r *resource, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "health UPSTREAM", Short: "Tell how an upstream is, as the server knows from its own traffic", Args: cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(connect, "upstream"),
		Long:              "rate_limit is the upstream's bound on the server's requests, as it last described it; -1 stands for what it did not say.",
	}
	show := outputOr(cmd, "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.path+"/health", args, nil)
		if err != nil {
			return err
		}
		a, err := t.do(cmd.Context(), http.MethodGet, nil)
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		if done, err := show(cmd.OutOrStdout(), a.Body, args[0]); done || err != nil {
			return err
		}
		c := columns{"host", "status", "answered_at:time=answered", "failed_at:time=failed", "failure", "rate_limit.remaining=remaining"}
		return table(cmd.OutOrStdout(), c.rows([]json.RawMessage{a.Body}))
	}
	return cmd
}

// taken says what a purge took.
func taken(p client.Purged) string {
	least := ""
	if p.AtLeast {
		least = "at least "
	}
	text := fmt.Sprintf("%s%d tags, %d manifests, %s", least, p.Tags, p.Manifests, byteSize(p.Bytes))
	if p.InUse > 0 {
		text += fmt.Sprintf("; %d manifests in use go in ten minutes", p.InUse)
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
		word := "purged"
		if *dryRun {
			word = "would purge"
		}
		p := working(cmd, "purging "+args[0])
		sum, err := t.client.Purge(cmd.Context(), t.group, args[0], *repository, *reference, *dryRun, func(sum client.Purged) { p.stage(word + " " + taken(sum)) })
		p.stop()
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		if done, err := show(cmd.OutOrStdout(), sum, args[0]); done || err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", word, taken(sum))
		return err
	}
	return cmd
}

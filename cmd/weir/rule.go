package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// newRuleCommand has the commands of rules. A rule has no name: it is what it says, and belongs to a registry or an upstream.
func newRuleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rule", Short: "Rules: what a registry, or an upstream in all registries, allows and denies",
		Long: "Any rule that denies excludes; if any allows, one of them must match. Patterns are of repositories, or of\n" +
			"repository:tag; * stands for any letters, ? for one.",
		Example: "  weir rule create --registry hub --deny \"*:*-rc\"\n  weir rule delete --registry hub --deny \"*:*-rc\"",
	}
	connect := clientFlags(cmd)
	groupFlag(cmd, connect)
	registry := cmd.PersistentFlags().String("registry", "", "registry whose rules they are")
	upstream := cmd.PersistentFlags().String("upstream", "", "upstream whose rules they are")
	for _, name := range []string{"registry", "upstream"} {
		_ = cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) {
			return offerParam(cmd, connect, name, part)
		}) // the flags exist
	}
	at := func(cmd *cobra.Command) (target, error) {
		path, name := "/groups/{group}/registries/{registry}/rules", *registry
		if (*registry == "") == (*upstream == "") {
			return target{}, usage("say whose rules: --registry or --upstream")
		}
		if *upstream != "" {
			path, name = "/groups/{group}/upstreams/{upstream}/rules", *upstream
		}
		r := resource{path: path}
		return r.at(cmd, connect, path, []string{name}, url.Values{})
	}
	cmd.AddCommand(ruleList(at), ruleChange(at, "create", "Add a rule", addRule), ruleChange(at, "delete", "Remove a rule", removeRule))
	return cmd
}

type ruleTarget = func(*cobra.Command) (target, error)

func ruleList(at ruleTarget) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List them", Args: cobra.NoArgs}
	show := namelessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := at(cmd)
		if err != nil {
			return err
		}
		items, err := t.client.Items(cmd.Context(), t.path, nil, 0)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), items); done || err != nil {
			return err
		}
		return table(cmd.OutOrStdout(), columns{"allow", "deny", "upstream=for member"}.rows(items))
	}
	return cmd
}

// ruleChange changes the list of rules as a whole, on condition that it is what it was.
func ruleChange(at ruleTarget, word, short string, change func([]desired.Rule, desired.Rule) ([]desired.Rule, error)) *cobra.Command {
	cmd := &cobra.Command{Use: word, Short: short, Args: cobra.NoArgs}
	var rule desired.Rule
	cmd.Flags().StringVar(&rule.Allow, "allow", "", "pattern that it allows")
	cmd.Flags().StringVar(&rule.Deny, "deny", "", "pattern that it denies")
	cmd.Flags().StringVar(&rule.Upstream, "for-member", "", "of a registry: for this member alone")
	cmd.MarkFlagsOneRequired("allow", "deny")
	cmd.MarkFlagsMutuallyExclusive("allow", "deny")
	dryRun, show := dryRunFlag(cmd), namelessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := at(cmd)
		if err != nil {
			return err
		}
		a, err := t.do(cmd.Context(), http.MethodGet, nil)
		if err != nil {
			return err
		}
		var now struct{ Items []desired.Rule }
		if err := decode(a, &now); err != nil {
			return err
		}
		rules, err := change(now.Items, rule)
		if err != nil {
			return err
		}
		r := resource{path: t.path}
		a, err = r.change(cmd, t, client.Request{Method: http.MethodPut, Body: map[string]any{"items": rules}, IfMatch: a.ETag}, *dryRun)
		switch {
		case err != nil:
			return err
		case *dryRun:
			return outcome(cmd, a, show)
		}
		if done, err := show(cmd.OutOrStdout(), a.Body); done || err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "the rule is %s\n", past(word))
		return err
	}
	return cmd
}

func addRule(now []desired.Rule, rule desired.Rule) ([]desired.Rule, error) {
	if slices.Contains(now, rule) {
		return nil, &codeError{fmt.Errorf("there is this rule already"), exitConflict}
	}
	return append(now, rule), nil
}

func removeRule(now []desired.Rule, rule desired.Rule) ([]desired.Rule, error) {
	i := slices.Index(now, rule)
	if i < 0 {
		return nil, &codeError{fmt.Errorf("there is no such rule; list shows them"), exitNotFound}
	}
	return slices.Delete(now, i, i+1), nil
}

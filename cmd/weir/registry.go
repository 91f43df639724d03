package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// registryCommands are what a registry can do beyond the verbs that all have: its list of members changes by these.
func registryCommands(r *resource, connect connector) []*cobra.Command {
	return []*cobra.Command{attachCommand(connect), detachCommand(connect), moveCommand(connect), reorderCommand(r, connect), evaluateCommand(r, connect)}
}

func attachCommand(connect connector) *cobra.Command {
	m := members()
	cmd := &cobra.Command{
		Use: "attach REGISTRY UPSTREAM", Short: "Make an upstream a member of a registry", Args: cobra.ExactArgs(2),
		Example: `  weir registry attach hub own --position 1 --claims "team/*"`,
	}
	position := cmd.Flags().Int("position", 0, "where it is asked: 1 is first; left out, it comes last")
	form, dryRun, show := fieldFlags(cmd, fieldsOf(m.formType(), []string{m.key})), dryRunFlag(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = completeNames(connect, "registry", "upstream")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		document := map[string]any{}
		if *position > 0 {
			document["position"] = *position
		}
		if err := form(cmd, document); err != nil {
			return err
		}
		t, err := m.at(cmd, connect, m.path, args, map[string][]string{})
		if err != nil {
			return err
		}
		a, err := m.change(cmd, t, client.Request{Method: http.MethodPut, Body: document, IfNoneMatch: "*"}, *dryRun)
		if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusPreconditionFailed {
			return &codeError{fmt.Errorf("%s is a member of %s already; move changes its position", args[1], args[0]), exitConflict}
		}
		return m.told(cmd, a, err, *dryRun, show, args, "is attached")
	}
	return cmd
}

func detachCommand(connect connector) *cobra.Command {
	m := *members()
	m.warning = "Members below move up; claims and rules that were about it alone go with it. The upstream stays."
	cmd := m.remove("detach", connect)
	cmd.Short = "Take an upstream out of a registry"
	cmd.ValidArgsFunction = m.complete(connect)
	return cmd
}

func moveCommand(connect connector) *cobra.Command {
	m := members()
	cmd := &cobra.Command{Use: "move REGISTRY UPSTREAM POSITION", Short: "Move a member: 1 is asked first", Args: cobra.ExactArgs(3)}
	dryRun, show, ifMatch := dryRunFlag(cmd), outputFlag(cmd), ifMatchFlag(cmd)
	cmd.ValidArgsFunction = m.complete(connect)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		position, err := strconv.Atoi(args[2])
		if err != nil || position < 1 {
			return usage("the position must be a number from 1")
		}
		t, err := m.at(cmd, connect, m.path, args[:2], map[string][]string{})
		if err != nil {
			return err
		}
		before, err := t.do(cmd.Context(), http.MethodGet, nil)
		if err != nil {
			return m.orNear(cmd, t, args[:2], err)
		}
		request := client.Request{Method: http.MethodPatch, Body: map[string]any{"position": position}, IfMatch: *ifMatch}
		a, err := m.change(cmd, t, request, *dryRun)
		return m.told(cmd, a, err, *dryRun, show, args[:2], movement(before, a))
	}
	return cmd
}

// movement says where a member is now, which is the end for a position beyond it, and that it was there before.
func movement(before, after client.Answer) string {
	var was, is struct{ Position int }
	if decode(before, &was) != nil || decode(after, &is) != nil {
		return "is moved"
	}
	text := fmt.Sprintf("is at position %d", is.Position)
	if was == is {
		text += " already"
	}
	return text
}

// reorderCommand changes the whole list at once. Who leaves a member out has forgotten it, as detach is another command.
func reorderCommand(r *resource, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "reorder REGISTRY UPSTREAM…", Short: "Put all members in a new order, at once", Args: cobra.MinimumNArgs(2),
		Example: "  weir registry reorder hub own ghcr dockerhub",
	}
	dryRun, show := dryRunFlag(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return offerParam(cmd, connect, "registry", part)
		}
		names, directive := offered(cmd, connect, members().all(), "upstream", part, args[0])
		return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(args[1:], n) }), directive
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, members().all(), args[:1], map[string][]string{})
		if err != nil {
			return err
		}
		a, err := t.do(cmd.Context(), http.MethodGet, nil)
		if err != nil {
			return err
		}
		var now struct{ Items []desired.Member }
		if err := decode(a, &now); err != nil {
			return err
		}
		order, err := reordered(now.Items, args[1:])
		if err != nil {
			return err
		}
		request := client.Request{Method: http.MethodPut, Body: map[string]any{"items": order}, IfMatch: a.ETag}
		a, err = r.change(cmd, t, request, *dryRun)
		return r.told(cmd, a, err, *dryRun, show, args[:1], "is reordered")
	}
	return cmd
}

// reordered is the members in a new order, with all that is said of them.
func reordered(now []desired.Member, order []string) ([]desired.Member, error) {
	var out []desired.Member
	for _, name := range order {
		i := slices.IndexFunc(now, func(m desired.Member) bool { return m.Upstream == name })
		if i < 0 {
			return nil, &codeError{fmt.Errorf("the registry has no member %s", name), exitNotFound}
		}
		if slices.ContainsFunc(out, func(m desired.Member) bool { return m.Upstream == name }) {
			return nil, usage(name + " is named twice")
		}
		out = append(out, now[i])
	}
	var forgotten []string
	for _, m := range now {
		if !slices.Contains(order, m.Upstream) {
			forgotten = append(forgotten, m.Upstream)
		}
	}
	if len(forgotten) > 0 {
		return nil, usage("name every member in the new order; missing: " + strings.Join(forgotten, ", "))
	}
	return out, nil
}

func evaluateCommand(r *resource, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "evaluate REGISTRY REFERENCE", Short: "Tell by which rules and claims a reference is allowed or denied", Args: cobra.ExactArgs(2),
		Long:    "Looks at rules and claims alone, for each member. No upstream is asked. The exit code is 1 when no member may answer.",
		Example: "  weir registry evaluate hub library/alpine:3.20",
	}
	show := outputFlag(cmd)
	cmd.ValidArgsFunction = completeBehind(connect)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.path, args[:1], nil)
		if err != nil {
			return err
		}
		out, err := t.client.Evaluate(cmd.Context(), t.group, args[0], args[1])
		if err != nil {
			return r.orNear(cmd, t, args[:1], err)
		}
		var may []string
		for _, m := range out.Members {
			if m.Allowed && out.Allowed {
				may = append(may, m.Member)
			}
		}
		done, err := show(cmd.OutOrStdout(), out, may...)
		if !done && err == nil {
			rows := [][]string{{"MEMBER", "REPOSITORY", "VERDICT", "WHY"}}
			for _, m := range out.Members {
				rows = append(rows, []string{m.Member, m.Repository, m.Verdict, cmp.Or(m.Why, m.ClaimedBy)})
			}
			if err = table(cmd.OutOrStdout(), rows); err == nil && out.Why != "" {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), out.Why)
			}
		}
		if err == nil && !out.Allowed {
			err = errReported
		}
		return err
	}
	return cmd
}

package main

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// groupFlag adds --group to a command and those below it.
func groupFlag(cmd *cobra.Command, connect connector) {
	cmd.PersistentFlags().StringP("group", "g", "", "the `GROUP` that it is about (default: $WEIR_GROUP, that of weir login --group, or the only one)")
	_ = cmd.RegisterFlagCompletionFunc("group", func(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) {
		return offered(cmd, connect, "/groups", "name", part)
	}) // the flag exists
}

// groupOf is the group that a command is about.
func groupOf(cmd *cobra.Command, c *client.Client) (string, error) {
	if name := givenGroup(cmd, c); name != "" {
		return name, nil
	}
	groups, err := c.Items(cmd.Context(), "/groups", url.Values{"limit": {"20"}}, 20)
	if err != nil {
		return "", err
	}
	switch names := keysOf(groups, "name"); len(names) {
	case 0:
		return "", errors.New("there is no group, or you may not see it; `weir group create NAME` makes one")
	case 1:
		return names[0], nil
	default:
		return "", usage("there are several groups: name one with --group or WEIR_GROUP: " + strings.Join(names, ", "))
	}
}

// givenGroup is the group that the command line, the environment or the login names; empty for none.
func givenGroup(cmd *cobra.Command, c *client.Client) string {
	if flag := cmd.Flag("group"); flag != nil && flag.Value.String() != "" {
		return flag.Value.String()
	}
	return envOr("WEIR_GROUP", c.DefaultGroup())
}

// completionTime bounds how long a completion waits for the server.
const completionTime = time.Second

// offered are the names in a list of the server that begin with part.
func offered(cmd *cobra.Command, connect connector, path, key, part string, args ...string) ([]string, cobra.ShellCompDirective) {
	names := within(cmd, connect, func(ctx context.Context, c *client.Client) []string {
		group, query := "", url.Values{}
		if strings.Contains(path, "{group}") {
			var err error
			if group, err = groupOf(cmd, c); err != nil {
				return nil
			}
		}
		if strings.Contains(path, "/repositories") { // there may be many, and cached ones are an upstream's
			query.Set("prefix", part)
			if flag := cmd.Flag("upstream"); flag != nil && flag.Changed && strings.Contains(path, "{repository}") {
				query.Set("upstream", flag.Value.String())
			}
		}
		if strings.HasSuffix(path, "/manifests") {
			query.Del("prefix")
		}
		return asked(ctx, c, fill(path, group, args), query, key)
	})
	var out []string
	for _, name := range names {
		if strings.HasPrefix(name, part) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// lists are where the names in paths are found, and the field that holds them.
var lists = map[string][2]string{
	"registry":   {"/groups/{group}/registries", "name"},
	"upstream":   {"/groups/{group}/upstreams", "name"},
	"credential": {"/groups/{group}/credentials", "name"},
	"role":       {"/groups/{group}/roles", "name"},
	"repository": {"/groups/{group}/repositories", "name"},
}

// complete offers names for each argument: of the resource's own kind for the last one.
func (r *resource) complete(connect connector) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		params := r.params()
		if cmd.Name() == "list" {
			params = params[:r.parents()]
		}
		switch {
		case len(args) >= len(params):
			return nil, cobra.ShellCompDirectiveNoFileComp
		case len(args) == r.parents():
			return offered(cmd, connect, r.all(), r.key, part, args...)
		}
		return offerParam(cmd, connect, params[len(args)], part)
	}
}

// completeParents offers names for the arguments before the last, which is a new name.
func (r *resource) completeParents(connect connector) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		if params := r.params(); len(args) < len(params)-1 {
			return offerParam(cmd, connect, params[len(args)], part)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNames offers names for arguments that are what params says.
func completeNames(connect connector, params ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		if len(args) < len(params) {
			return offerParam(cmd, connect, params[len(args)], part)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func offerParam(cmd *cobra.Command, connect connector, param, part string) ([]string, cobra.ShellCompDirective) {
	list, known := lists[param]
	if !known {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return offered(cmd, connect, list[0], list[1], part)
}

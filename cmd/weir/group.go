package main

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	"robot":      {"/groups/{group}/robots", "name"},
	"user":       {"/users", "name"},
	"job":        {"/jobs", "kind"},
}

// flagLists are the flags that take a name in one of lists, or of an account, and what it is of; those that have a completion keep it.
var flagLists = map[string]string{
	"credential": "credential", "role": "role", "upstream": "upstream", "registry": "registry", "repository": "repository", "robot": "robot",
	"user": "user", "as": account, "actor": account,
}

// account is what grants are given to, and who may be asked about: users by their names, robots and trust rules as GROUP/NAME.
const account = "account"

// completeFlags completes the flags of flagLists with what the server has, in a command and those below it.
func completeFlags(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		completeFlags(sub)
	}
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		param, named := flagLists[flag.Name]
		if _, has := cmd.GetFlagCompletionFunc(flag.Name); !named || has || flag.Value.Type() != "string" {
			return
		}
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, func(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) { // the flag exists
			return offerParam(cmd, connectorOf(cmd), param, part)
		})
	})
}

// offerAccounts offers users, and the robots and trust rules of the group.
func offerAccounts(cmd *cobra.Command, connect connector, part string) ([]string, cobra.ShellCompDirective) {
	names := within(cmd, connect, func(ctx context.Context, c *client.Client) []string {
		out := asked(ctx, c, "/users", nil, "name")
		group, err := groupOf(cmd, c)
		if err != nil {
			return out
		}
		for _, list := range []string{"/robots", "/trust-rules"} {
			out = append(out, followed(asked(ctx, c, "/groups/"+url.PathEscape(group)+list, nil, "name"), group+"/", "")...)
		}
		return out
	})
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, part) }), cobra.ShellCompDirectiveNoFileComp
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
	if param == account {
		return offerAccounts(cmd, connect, part)
	}
	list, known := lists[param]
	if !known {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return offered(cmd, connect, list[0], list[1], part)
}

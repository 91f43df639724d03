package main

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// offer completes a flag with values, and each in a list of them.
func offer(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) { // the flag exists
		before := ""
		if cmd.Flags().Lookup(flag).Value.Type() == "stringSlice" {
			before = part[:strings.LastIndex(part, ",")+1]
		}
		given := strings.Split(before, ",")
		left := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return slices.Contains(given, v) })
		return followed(left, before, ""), cobra.ShellCompDirectiveNoFileComp
	})
}

// completeImages offers images for the first n arguments, part by part: groups, what is below them, repositories, tags.
func completeImages(connect connector, n int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offerImages(cmd, connect, part)
	}
}

// completeRegistries offers GROUP/REGISTRY.
func completeRegistries(connect connector) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) {
		names, directive := offerImages(cmd, connect, part)
		if !strings.Contains(part, "/") {
			return names, directive
		}
		var out []string
		for _, name := range names {
			if registry, ok := strings.CutSuffix(name, "/"); ok {
				out = append(out, registry)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// offerImages goes on from part of an image's name. What ends with a slash or a repository is not the end of a word.
func offerImages(cmd *cobra.Command, connect connector, part string) ([]string, cobra.ShellCompDirective) {
	names := within(cmd, connect, func(ctx context.Context, c *client.Client) []string {
		group, rest, below := strings.Cut(part, "/")
		if !below {
			return followed(asked(ctx, c, "/groups", nil, "name"), "", "/")
		}
		i := imagesOf{ctx, c, "/groups/" + url.PathEscape(group)}
		if name, tag, tagged := strings.Cut(rest, ":"); tagged {
			return followed(i.tags(name, tag), group+"/"+name+":", "")
		}
		return followed(i.below(rest), group+"/", "")
	})
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, part) })
	directive := cobra.ShellCompDirectiveNoFileComp
	if !strings.Contains(part, ":") {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return names, directive
}

// imagesOf looks for images of one group.
type imagesOf struct {
	ctx   context.Context
	c     *client.Client
	group string // path of the group
}

// below are registries and repositories whose names begin with part, as they stand behind the group.
func (i imagesOf) below(part string) []string {
	registry, name, inside := strings.Cut(part, "/")
	registries := asked(i.ctx, i.c, i.group+"/registries", nil, "name")
	if inside && slices.Contains(registries, registry) {
		return followed(asked(i.ctx, i.c, i.group+"/repositories", url.Values{"registry": {registry}, "prefix": {name}}, "name"), registry+"/", "")
	}
	hosted := asked(i.ctx, i.c, i.group+"/repositories", url.Values{"kind": {"hosted"}, "prefix": {part}}, "name")
	return slices.Concat(followed(registries, "", "/"), hosted)
}

// tags are those of a repository: hosted, or cached behind a registry, where each of several upstreams may have some.
func (i imagesOf) tags(name, part string) []string {
	registry, behind, _ := strings.Cut(name, "/")
	query := url.Values{"registry": {registry}, "prefix": {behind}}
	if behind == "" || !slices.Contains(asked(i.ctx, i.c, i.group+"/registries", nil, "name"), registry) {
		behind, query = name, url.Values{"kind": {"hosted"}, "prefix": {name}}
	}
	var out []string
	for _, item := range askedFor(i.ctx, i.c, i.group+"/repositories", query) {
		var repository struct{ Name, Upstream string }
		if json.Unmarshal(item, &repository) != nil || repository.Name != behind {
			continue
		}
		query := url.Values{"prefix": {part}}
		if repository.Upstream != "" {
			query.Set("upstream", repository.Upstream)
		}
		out = append(out, asked(i.ctx, i.c, i.group+"/repositories/"+url.PathEscape(behind)+"/tags", query, "name")...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// askedFor is a list of the server, its beginning if it is long; none if it cannot be had.
func askedFor(ctx context.Context, c *client.Client, path string, query url.Values) []json.RawMessage {
	items, err := c.Items(ctx, path, query, nearest)
	if err != nil {
		return nil
	}
	return items
}

func asked(ctx context.Context, c *client.Client, path string, query url.Values, key string) []string {
	return keysOf(askedFor(ctx, c, path, query), key)
}

// followed puts names between what stands before and after each.
func followed(names []string, before, after string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = before + name + after
	}
	return out
}

// within asks the server for no longer than a completion may take. Whatever goes wrong, there is nothing: a completion says nothing.
func within(cmd *cobra.Command, connect connector, ask func(context.Context, *client.Client) []string) []string {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	cmd.SetContext(ctx)
	defer cmd.SetContext(parent)
	c, err := connect()
	if err != nil {
		return nil
	}
	return ask(ctx, c)
}

// completeBehind offers what is behind a registry that the first argument names: repositories, then tags.
func completeBehind(connect connector) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return completeNames(connect, "registry")(cmd, args, part)
		}
		above := ""
		within(cmd, connect, func(_ context.Context, c *client.Client) []string {
			if group, err := groupOf(cmd, c); err == nil {
				above = group + "/" + args[0] + "/"
			}
			return nil
		})
		if above == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, directive := offerImages(cmd, connect, above+part)
		for i, name := range names {
			names[i] = strings.TrimPrefix(name, above)
		}
		return names, directive
	}
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

func newSearchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "search", Short: "Find images that a group hosts or has cached", Args: cobra.NoArgs,
		Long: "Looks through what the group hosts and what its upstreams' caches hold, and shows what you may pull.\n" +
			"What the flags ask must hold together.",
		Example: "  weir search --name alpine --stale\n" +
			"  weir search --group main --kind hosted --not-pulled-for 90d",
	}
	var s client.Search
	flags := cmd.Flags()
	flags.StringVar(&s.Name, "name", "", "part of the repository's name, or how the name that is shown begins: acme/hub/library/")
	flags.StringVar(&s.Tag, "tag", "", `a tag, or the beginning of one with "*" at its end`)
	flags.StringVar(&s.Digest, "digest", "", "a digest, or the beginning of one: sha256:4f53cd")
	flags.StringVar(&s.Platform, "platform", "", "os, os/architecture or os/architecture/variant")
	flags.StringVar(&s.Type, "type", "", "artifact type or media type")
	flags.StringArrayVar(&s.Labels, "label", nil, "a label of the image's config, KEY or KEY=VALUE; may be repeated")
	flags.StringVar(&s.Kind, "kind", "", "hosted or cached: only these")
	flags.StringVar(&s.Upstream, "upstream", "", "only what is cached from this upstream")
	flags.BoolVar(&s.Stale, "stale", false, "only what has a cached tag that is due for confirmation")
	unused := flags.String("not-pulled-for", "", "only what nobody has pulled for so long, such as 12h or 90d")
	most := flags.Int("limit", 50, "how many at most; 0 is all")
	connect, show := clientFlags(cmd), outputFlag(cmd)
	groupFlag(cmd, connect)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if *unused != "" {
			if s.NotPulledSince, err = ago(*unused, time.Now()); err != nil {
				return err
			}
		}
		c, err := connect()
		if err != nil {
			return err
		}
		if s.Group, err = groupOf(cmd, c); err != nil {
			return err
		}
		found, more, err := c.Search(cmd.Context(), s, *most)
		if err != nil {
			return otherUpstreams(cmd, c, s, err)
		}
		if more {
			fmt.Fprintf(cmd.ErrOrStderr(), "there may be more than these %d: --limit\n", len(found))
		}
		if done, err := show(cmd.OutOrStdout(), found, foundImages(found)...); done || err != nil {
			return err
		}
		return table(cmd.OutOrStdout(), foundRows(found))
	}
	return cmd
}

// otherUpstreams names the upstreams that there are where the one that was asked for is none.
func otherUpstreams(cmd *cobra.Command, c *client.Client, s client.Search, err error) error {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || !slices.ContainsFunc(p.Errors, func(e client.ProblemPart) bool { return e.Location == "query.upstream" }) {
		return err
	}
	items, failed := c.Items(cmd.Context(), "/groups/"+url.PathEscape(s.Group)+"/upstreams", nil, nearest)
	if failed != nil {
		return err
	}
	return &codeError{fmt.Errorf("--upstream: group %s has no upstream %q: want %s", s.Group, s.Upstream, strings.Join(keysOf(items, "name"), ", ")), exitNotFound}
}

// ago is the time so long before now.
func ago(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, fmt.Errorf("--not-pulled-for %q: want a time such as 12h or 90d", text)
	}
	return now.Add(-d), nil
}

// foundImages are names to pull by.
func foundImages(found []client.Found) (names []string) {
	for _, m := range found {
		names = append(names, m.Repository+"@"+m.Digest)
	}
	return names
}

func foundRows(found []client.Found) [][]string {
	rows := [][]string{{"REPOSITORY", "TAGS", "DIGEST", "PLATFORM", "SIZE", "FROM", "LAST PULLED"}}
	for _, m := range found {
		from, pulled := m.Upstream, "never"
		if from == "" {
			from = "hosted"
		}
		if m.LastPulledAt != nil {
			pulled = m.LastPulledAt.Local().Format(time.DateTime)
		}
		rows = append(rows, []string{m.Repository, tagNames(m), shortDigest(m.Digest), platforms(m), byteSize(m.Size), from, pulled})
	}
	return rows
}

// platforms are those of the images of an index that fit, if it was found by them.
func platforms(m client.Found) string {
	list := []string{}
	for _, image := range m.Images {
		if image.Platform != "" {
			list = append(list, image.Platform)
		}
	}
	return cmp.Or(m.Platform, strings.Join(list, ", "))
}

func tagNames(m client.Found) string {
	var names []string
	for _, t := range m.Tags {
		name := t.Name
		if t.Stale {
			name += " (stale)"
		}
		names = append(names, name)
	}
	if m.MoreTags {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// shortDigest is as much of a digest as `weir search --digest` needs to find it again.
func shortDigest(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) < 12 {
		return digest
	}
	return algorithm + ":" + hex[:12]
}

func byteSize(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, "KMGTP"
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}

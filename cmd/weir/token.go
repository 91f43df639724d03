package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke personal tokens"}
	user := cmd.PersistentFlags().String("user", "", "whose (default: yours; through the socket: admin's)")
	connect := clientFlags(cmd)
	cmd.AddCommand(newTokenCreate(connect, user), newTokenList(connect, user), newTokenRevoke(connect, user))
	return cmd
}

func newTokenCreate(connect func() (*client.Client, error), user *string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create --name NAME", Short: "Make a token and print it, this once", Args: cobra.NoArgs,
		Example: "  weir token create --name laptop --expires 90d\n  weir token create --name ci --limit pull,push:acme/team",
	}
	name := cmd.Flags().String("name", "", "what the token is for")
	expires := cmd.Flags().String("expires", "", "when it ends: a time such as 90d or 12h from now, or a date such as 2030-01-31 (default: never)")
	limits := cmd.Flags().StringArray("limit", nil, "limit the token to ACTIONS or ACTIONS:PATH, such as pull:acme/team or pull,push:acme; may be given several times")
	_ = cmd.MarkFlagRequired("name") // the flag exists
	show := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		end, err := parseExpiry(*expires, time.Now())
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		t, err := c.CreateToken(cmd.Context(), *user, *name, end, parseLimits(*limits)...)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), t); done || err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), t.Text) // alone on standard output, for scripts
		fmt.Fprintf(cmd.ErrOrStderr(), "token %s (%s) of %s, expires %s; it is not shown again\n", t.Name, t.ID, t.User, moment(t.ExpiresAt))
		return nil
	}
	return cmd
}

// parseLimits reads what --limit gives; the server knows the actions.
func parseLimits(limits []string) (out []client.Scope) {
	for _, limit := range limits {
		actions, path, _ := strings.Cut(limit, ":")
		out = append(out, client.Scope{Path: path, Actions: strings.Split(actions, ",")})
	}
	return out
}

func newTokenList(connect func() (*client.Client, error), user *string) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List tokens", Args: cobra.NoArgs}
	show := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		tokens, err := c.Tokens(cmd.Context(), *user)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), tokens); done || err != nil {
			return err
		}
		rows := [][]string{{"ID", "NAME", "USER", "CREATED", "EXPIRES", "LAST USED", "REVOKED"}}
		for _, t := range tokens {
			rows = append(rows, []string{
				t.ID, t.Name, t.User, moment(&t.CreatedAt), moment(t.ExpiresAt), moment(t.LastUsedAt), moment(t.RevokedAt),
			})
		}
		return table(cmd.OutOrStdout(), rows)
	}
	return cmd
}

func newTokenRevoke(connect func() (*client.Client, error), user *string) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Revoke a token", Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		if err := c.RevokeToken(cmd.Context(), *user, args[0]); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "token %s is revoked\n", args[0])
		return nil
	}
	return cmd
}

func moment(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// parseExpiry reads "90d", "12h", a date (its end, UTC) or an RFC 3339 time; empty is never.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 {
			return now.AddDate(0, 0, n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d), nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t.AddDate(0, 0, 1), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--expires %q: want a time such as 90d or 12h, or a date such as 2030-01-31", text)
}

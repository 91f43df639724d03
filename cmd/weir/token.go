package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// tokenHolder is whose tokens a command is about: a user's, or a robot's.
type tokenHolder struct {
	connect     connector
	user, robot *string
}

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Tokens: of users and robots", Example: "  weir token create --name laptop --expires 90d\n  weir token rotate 1234567 --overlap 1h"}
	h := tokenHolder{
		user:  cmd.PersistentFlags().String("user", "", "whose (default: yours; through the socket: admin's)"),
		robot: cmd.PersistentFlags().String("robot", "", "of this robot of the group"),
	}
	h.connect = clientFlags(cmd)
	groupFlag(cmd, h.connect)
	cmd.MarkFlagsMutuallyExclusive("user", "robot")
	cmd.AddCommand(h.create(), h.list(), h.rotate(), h.revoke())
	return cmd
}

// at is where the tokens are.
func (h tokenHolder) at(cmd *cobra.Command, more ...string) (target, error) {
	r, args, query := resource{path: "/tokens"}, []string{}, url.Values{}
	if *h.robot != "" {
		r.path, args = "/groups/{group}/robots/{robot}/tokens", []string{*h.robot}
	} else if *h.user != "" {
		query.Set("user", *h.user)
	}
	for _, part := range more {
		r.path += "/" + url.PathEscape(part)
	}
	return r.at(cmd, h.connect, r.path, args, query)
}

func (h tokenHolder) create() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create --name NAME", Short: "Make a token and print it, this once", Args: cobra.NoArgs,
		Example: "  weir token create --name laptop --expires 90d\n  weir token create --robot ci --name pipeline --limit pull,push:acme/team",
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
		t, err := h.at(cmd)
		if err != nil {
			return err
		}
		body := map[string]any{"name": *name}
		if user := t.query.Get("user"); user != "" {
			body["user"], t.query = user, nil
		}
		if !end.IsZero() {
			body["expires_at"] = end
		}
		if len(*limits) > 0 {
			body["limit"] = map[string]any{"scopes": parseLimits(*limits)}
		}
		return made(cmd, t, body, show)
	}
	return cmd
}

// made has a token made and prints it: alone on standard output, for scripts.
func made(cmd *cobra.Command, t target, body any, show printer) error {
	a, err := t.do(cmd.Context(), http.MethodPost, body)
	if err != nil {
		return err
	}
	var token client.Token
	if err := decode(a, &token); err != nil {
		return err
	}
	if done, err := show(cmd.OutOrStdout(), token, token.Text); done || err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), token.Text)
	fmt.Fprintf(cmd.ErrOrStderr(), "token %s (%s) of %s, expires %s; it is not shown again\n", token.Name, token.ID, token.User, moment(token.ExpiresAt))
	return nil
}

// parseLimits reads what --limit gives; the server knows the actions.
func parseLimits(limits []string) (out []client.Scope) {
	for _, limit := range limits {
		actions, path, _ := strings.Cut(limit, ":")
		out = append(out, client.Scope{Path: path, Actions: strings.Split(actions, ",")})
	}
	return out
}

func (h tokenHolder) list() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List tokens, revoked and expired ones included", Args: cobra.NoArgs}
	filters := queryFlags(cmd, h.connect, []filter{{name: "state", doc: "active, expired or revoked: only those", of: []string{"active", "expired", "revoked"}}})
	show := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := h.at(cmd)
		if err != nil {
			return err
		}
		maps.Copy(t.query, filters())
		tokens, err := t.client.Items(cmd.Context(), t.path, t.query, 0)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), tokens, keysOf(tokens, "id")...); done || err != nil {
			return err
		}
		c := columns{"id", "name", "user", "created_at:time=created", "expires_at:time=expires", "last_used_at:time=last used", "revoked_at:time=revoked"}
		return table(cmd.OutOrStdout(), c.rows(tokens))
	}
	return cmd
}

func (h tokenHolder) rotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate ID", Short: "Make the token that follows one, and print it", Args: cobra.ExactArgs(1), ValidArgsFunction: h.complete,
		Long: "The new token has the name, limit and life of the old one, which ends after the overlap.",
	}
	expires := cmd.Flags().String("expires", "", "when the new one ends (default: it lives as long as the old one was to live)")
	overlap := cmd.Flags().Duration("overlap", 0, "how long the old one goes on working, such as 1h")
	show := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		end, err := parseExpiry(*expires, time.Now())
		if err != nil {
			return err
		}
		t, err := h.at(cmd, args[0], "rotate")
		if err != nil {
			return err
		}
		body := map[string]any{"overlap_seconds": int64(overlap.Seconds())}
		if !end.IsZero() {
			body["expires_at"] = end
		}
		return h.orWhose(made(cmd, t, body, show))
	}
	return cmd
}

// orWhose adds to the error of a token that is not there where others are: a robot's are the robot's, not those of who made them.
func (h tokenHolder) orWhose(err error) error {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != http.StatusNotFound || *h.robot != "" || *h.user != "" {
		return err
	}
	return fmt.Errorf("%w; a robot's token takes --robot NAME, another user's --user NAME", err)
}

func (h tokenHolder) revoke() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Revoke a token", Args: cobra.ExactArgs(1), ValidArgsFunction: h.complete}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := h.at(cmd, args[0])
		if err != nil {
			return err
		}
		if err := confirm(cmd, *yes, "revoke token "+args[0]+"? What uses it is refused from now on."); err != nil {
			return err
		}
		if _, err := t.do(cmd.Context(), http.MethodDelete, nil); err != nil {
			return h.orWhose(err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "token %s is revoked\n", args[0])
		return err
	}
	return cmd
}

func (h tokenHolder) complete(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || *h.robot != "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return offered(cmd, h.connect, "/tokens", "id", part)
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
	return time.Time{}, usage(fmt.Sprintf("--expires %q: want a time such as 90d or 12h, or a date such as 2030-01-31", text))
}

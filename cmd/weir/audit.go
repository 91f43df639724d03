package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "The audit trail: who did what, and who pulled what",
		Long: "Changes, and with --pulls pulls, refusals and logins. Of a group it takes the action audit there, with --instance an administrator.",
	}
	cmd.AddCommand(newAuditList(), newAuditExport(), newAuditVerify())
	return cmd
}

// eventFlags are the filters of events; the function makes the query of the API of them.
func eventFlags(cmd *cobra.Command) (func(now time.Time) (url.Values, error), *bool) {
	flags, texts := cmd.Flags(), map[string]*string{}
	for _, f := range []struct{ flag, field, doc string }{
		{"kind", "kind", "a kind of event, or a pattern: tag.* or *.denied"},
		{"actor", "actor", "who: a user, GROUP/NAME of a robot or trust rule, an id, or anonymous"},
		{"subject", "subject", "what it is about, or a pattern: acme/hub/*"},
		{"outcome", "outcome", "ok, denied or failed"},
		{"request", "request_id", "id of a request, as in X-Request-Id"},
	} {
		texts[f.field] = flags.String(f.flag, "", f.doc)
	}
	from := flags.String("from", "", "not before: 2026-05-01, 2026-05-01T12:00:00Z, or so long ago: 24h or 90d")
	to := flags.String("to", "", "before, in the same forms")
	pulls := flags.Bool("pulls", false, "pulls, refusals and logins instead of changes")
	instance := flags.Bool("instance", false, "of all groups and the instance; takes an administrator")
	return func(now time.Time) (url.Values, error) {
		q := url.Values{"stream": {"changes"}}
		if *pulls {
			q.Set("stream", "pulls")
		}
		for field, text := range texts {
			if *text != "" {
				q.Set(field, *text)
			}
		}
		for field, text := range map[string]string{"from": *from, "to": *to} {
			if text == "" {
				continue
			}
			at, err := pastTime(text, now)
			if err != nil {
				return nil, usage(fmt.Sprintf("--%s %q: %v", field, text, err))
			}
			q.Set(field, at.UTC().Format(time.RFC3339))
		}
		return q, nil
	}, instance
}

// pastTime reads a time, a day, or how long ago it was.
func pastTime(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, fmt.Errorf("want a day, a time, or how long ago, such as 24h or 90d")
	}
	return now.Add(-d), nil
}

// place is the group that events are asked of; empty with --instance.
func place(cmd *cobra.Command, c *client.Client, instance bool) (string, error) {
	if instance {
		return "", nil
	}
	return groupOf(cmd, c)
}

func newAuditList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "Show what happened, newest first", Args: cobra.NoArgs,
		Example: "  weir audit list --group acme --kind \"tag.*\" --from 7d\n" +
			"  weir audit list --group acme --pulls --subject \"acme/hub/library/*\"\n" +
			"  weir audit list --instance --pulls --outcome denied --from 24h",
	}
	query, instance := eventFlags(cmd)
	most := cmd.Flags().Int("limit", 50, "how many at most; 0 is all")
	connect, show := clientFlags(cmd), outputFlag(cmd)
	groupFlag(cmd, connect)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query(time.Now())
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		group, err := place(cmd, c, *instance)
		if err != nil {
			return err
		}
		q.Set("limit", strconv.Itoa(max(1, min(*most, 1000))))
		events, err := c.Events(cmd.Context(), group, q, *most)
		if err != nil {
			return err
		}
		names := make([]string, len(events))
		for i, e := range events {
			names[i] = e.ID
		}
		if done, err := show(cmd.OutOrStdout(), events, names...); done || err != nil {
			return err
		}
		return table(cmd.OutOrStdout(), eventRows(events))
	}
	return cmd
}

func eventRows(events []client.Event) [][]string {
	rows := [][]string{{"TIME", "KIND", "OUTCOME", "ACTOR", "ADDRESS", "SUBJECT", "REFERENCE"}}
	for _, e := range events {
		var detail struct {
			Reference string `json:"reference"`
		}
		_ = json.Unmarshal(e.Detail, &detail) // changes have none
		who := e.Actor.Name
		if who == "" {
			who = strings.TrimSpace(e.Actor.Kind + " " + e.Actor.ID)
		}
		rows = append(rows, []string{e.At.Local().Format(time.DateTime), e.Kind, e.Outcome, who, e.Address, e.Subject, detail.Reference})
	}
	return rows
}

func newAuditExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Write all of what happened as JSON lines or CSV", Args: cobra.NoArgs,
		Long:    "Writes to standard output as it reads, newest first. The exit code is 0 only when everything was written.",
		Example: "  weir audit export --group acme --from 90d --format csv > events.csv",
	}
	query, instance := eventFlags(cmd)
	format := cmd.Flags().String("format", "jsonl", "jsonl or csv")
	connect := clientFlags(cmd)
	groupFlag(cmd, connect)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query(time.Now())
		if err != nil {
			return err
		}
		q.Set("format", *format)
		c, err := connect()
		if err != nil {
			return err
		}
		group, err := place(cmd, c, *instance)
		if err != nil {
			return err
		}
		return c.ExportEvents(cmd.Context(), cmd.OutOrStdout(), group, q)
	}
	return cmd
}

func newAuditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Recompute every hash and signature of the audit trail", Args: cobra.NoArgs,
		Long: "Prints what is not as it was sealed, then the public keys and the end of each chain. Keep those elsewhere: they show later that\n" +
			"nothing was cut off. The exit code is 1 when something was changed.",
	}
	connect, show := clientFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		p := working(cmd, "verifying")
		v, err := c.VerifyEvents(cmd.Context(), func(f client.SealFinding) {
			if f.Problem != "" {
				p.above(func() {
					fmt.Fprintf(cmd.ErrOrStderr(), "problem: %s of replica %d, seal %d (%s): %s %s\n", f.Stream, f.Replica, f.Number, f.Day, f.Problem, f.Row)
				})
			}
		})
		p.stop()
		if err != nil {
			return err
		}
		done, err := show(cmd.OutOrStdout(), v)
		if err != nil {
			return err
		}
		if !done {
			showVerification(cmd, v)
		}
		if v.Problems > 0 {
			return errReported
		}
		return nil
	}
	return cmd
}

func showVerification(cmd *cobra.Command, v client.Verification) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%d rows in %d seals are as they were sealed, %d were dropped: %d problems\n", v.Events, v.Seals, v.Dropped, v.Problems)
	for _, k := range v.Keys {
		fmt.Fprintf(w, "key %s: ed25519 %s\n", k.ID, k.PublicKey)
	}
	for _, h := range v.Heads {
		fmt.Fprintf(w, "end of %s of replica %d: seal %d, sha256 %s\n", h.Stream, h.Replica, h.Number, h.Sum)
	}
}

func newUserErase(connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "erase NAME", Short: "Delete a user, its name and the addresses it came from", Args: cobra.ExactArgs(1),
		Long: "Events stay as they are: they have the user's id alone. NAME may be that of a user deleted before, or an id.",
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := confirm(cmd, *yes, "Erase "+args[0]+"? Nobody will be able to tell whose its events were."); err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		if err := c.EraseUser(cmd.Context(), args[0]); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "user %s is erased\n", args[0])
		return nil
	}
	return cmd
}

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/event/audit"
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
		{"request", "request_id", "id of a request, as in X-Request-Id; list shows its events of both streams"},
	} {
		texts[f.field] = flags.String(f.flag, "", f.doc)
	}
	from := flags.String("from", "", "not before: 2026-05-01, 2026-05-01T12:00:00Z, or so long ago: 24h or 90d")
	to := flags.String("to", "", "before, in the same forms")
	pulls := flags.Bool("pulls", false, "pulls, refusals and logins instead of changes")
	instance := flags.Bool("instance", false, "of all groups and the instance; takes an administrator")
	offer(cmd, "outcome", audit.OK, audit.Denied, audit.Failed)
	_ = cmd.RegisterFlagCompletionFunc("kind", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { // the flags exist
		stream := audit.Changes
		if *pulls {
			stream = audit.Pulls
		}
		return audit.Kinds(stream, "*"), cobra.ShellCompDirectiveNoFileComp
	})
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
		if from, to := q.Get("from"), q.Get("to"); from != "" && to != "" && from >= to {
			return nil, usage("--from " + from + " is not before --to " + to + ": nothing can be between them")
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
		events, err := listEvents(cmd.Context(), c, group, q, *most)
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

// listEvents asks one stream, or for what happened in one request both, unless the kind is of one alone.
func listEvents(ctx context.Context, c *client.Client, group string, q url.Values, most int) ([]client.Event, error) {
	streams := []string{q.Get("stream")}
	if kind := cmp.Or(q.Get("kind"), "*"); q.Get("request_id") != "" && q.Get("stream") == audit.Changes && len(audit.Kinds(audit.Pulls, kind)) > 0 {
		if streams = []string{audit.Changes, audit.Pulls}; len(audit.Kinds(audit.Changes, kind)) == 0 {
			streams = streams[1:]
		}
	}
	out := []client.Event{}
	for _, stream := range streams {
		q.Set("stream", stream)
		events, err := c.Events(ctx, group, q, most)
		if err != nil {
			return nil, err
		}
		out = append(out, events...)
	}
	if len(streams) > 1 {
		slices.SortStableFunc(out, func(a, b client.Event) int { return b.At.Compare(a.At) })
	}
	if most > 0 && len(out) > most {
		out = out[:most]
	}
	return out, nil
}

func eventRows(events []client.Event) [][]string {
	rows := [][]string{{"TIME", "KIND", "OUTCOME", "ACTOR", "ADDRESS", "SUBJECT", "REFERENCE", "REASON"}}
	for _, e := range events {
		var detail struct {
			Reference string `json:"reference"`
			Reason    string `json:"reason"`
		}
		_ = json.Unmarshal(e.Detail, &detail) // most changes have none of these
		reason := ""
		if e.Outcome != audit.OK {
			reason = detail.Reason
		}
		who := e.Actor.Name
		if who == "" {
			who = strings.TrimSpace(e.Actor.Kind + " " + e.Actor.ID)
		}
		rows = append(rows, []string{e.At.Local().Format(time.DateTime), e.Kind, e.Outcome, who, e.Address, aboutWhom(e), detail.Reference, reason})
	}
	return rows
}

// aboutWhom is the subject with the name of an account instead of its id.
func aboutWhom(e client.Event) string {
	words := strings.Fields(e.Subject)
	for i := 1; i < len(words) && e.Account != ""; i++ {
		if words[i-1] == "account" || words[i-1] == "user" {
			words[i] = e.Account
			return strings.Join(words, " ")
		}
	}
	return e.Subject
}

func newAuditExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Write all of what happened as JSON lines or CSV", Args: cobra.NoArgs,
		Long: "Writes to standard output as it reads, newest first. The exit code is 0 only when everything was written.",
		Example: "  weir audit export --group acme --from 90d --format csv > events.csv\n" +
			"  weir audit export --sealed --from 2026-05-01 > trail.jsonl",
	}
	query, instance := eventFlags(cmd)
	format := cmd.Flags().String("format", "jsonl", "jsonl or csv")
	offer(cmd, "format", "jsonl", "csv")
	sealed := cmd.Flags().Bool("sealed", false, "seals with all they cover, for weir audit verify FILE; takes an administrator")
	connect := clientFlags(cmd)
	groupFlag(cmd, connect)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query(time.Now())
		if err != nil {
			return err
		}
		q.Set("format", *format)
		if *sealed {
			return exportSealed(cmd, connect, q)
		}
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

// exportSealed is export --sealed: what is sealed is exported as a whole, or what it shows would be worth nothing.
func exportSealed(cmd *cobra.Command, connect connector, q url.Values) error {
	for _, name := range []string{"kind", "actor", "subject", "outcome", "request", "pulls", "format", "group"} {
		if cmd.Flags().Changed(name) {
			return usage("--sealed exports all that is sealed: it goes with --from and --to, not with --" + name)
		}
	}
	c, err := connect()
	if err != nil {
		return err
	}
	out := url.Values{}
	for _, bound := range []string{"from", "to"} {
		if at := q.Get(bound); at != "" {
			out.Set(bound, at)
		}
	}
	return c.ExportSealed(cmd.Context(), cmd.OutOrStdout(), out)
}

func newAuditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify [FILE]", Short: "Recompute every hash and signature of the audit trail", Args: cobra.MaximumNArgs(1),
		Long: "Prints what is not as it was sealed, then the public keys and the end of each chain. Keep those elsewhere: they show later that\n" +
			"nothing was cut off. The exit code is 1 when something was changed.\n\n" +
			"With a file of weir audit export --sealed (- is standard input) it needs no server. Say with --key which keys you trust: those in\n" +
			"the file are from whoever has made it.",
		Example: "  weir audit verify\n  weir audit verify trail.jsonl --key 3b6a… --sum 9f86…",
	}
	keys := cmd.Flags().StringSlice("key", nil, "with FILE: a public key that may have signed, hexadecimal; can be repeated")
	sums := cmd.Flags().StringSlice("sum", nil, "with FILE: the end of a chain as noted before, which must be there, hexadecimal; can be repeated")
	entries := cmd.Flags().Bool("print", false, "with FILE: print each event that is as it was sealed as a JSON line, and the rest on standard error")
	connect, show := clientFlags(cmd), namelessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		report := func(f client.SealFinding) {
			if f.Problem != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), problemLine(f))
			}
		}
		verify := func() (client.Verification, error) { return verifyServer(cmd, connect) }
		if len(args) == 1 {
			c, err := newCheck(cmd, *keys, *sums, *entries, report)
			if err != nil {
				return err
			}
			verify = func() (client.Verification, error) { return verifyFile(cmd, args[0], c) }
		} else if len(*keys) > 0 || len(*sums) > 0 || *entries {
			return usage("--key, --sum and --print go with a FILE")
		}
		v, err := verify()
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if *entries {
			out = cmd.ErrOrStderr()
		}
		done, err := show(out, v)
		if err != nil {
			return err
		}
		if !done {
			showVerification(out, v)
		}
		if v.Problems > 0 {
			return errReported
		}
		return nil
	}
	return cmd
}

func problemLine(f client.SealFinding) string {
	if f.Stream == "" {
		return "problem: " + f.Problem
	}
	return strings.TrimSpace(fmt.Sprintf("problem: %s of replica %d, seal %d (%s): %s %s", f.Stream, f.Replica, f.Number, f.Day, f.Problem, f.Row))
}

// verifyServer has the server verify its trail.
func verifyServer(cmd *cobra.Command, connect connector) (client.Verification, error) {
	c, err := connect()
	if err != nil {
		return client.Verification{}, err
	}
	p := working(cmd, "verifying")
	defer p.stop()
	return c.VerifyEvents(cmd.Context(), func(f client.SealFinding) {
		if f.Problem != "" {
			p.above(func() { fmt.Fprintln(cmd.ErrOrStderr(), problemLine(f)) })
		}
	})
}

// newCheck says what a sealed export is verified against.
func newCheck(cmd *cobra.Command, keys, sums []string, entries bool, report func(client.SealFinding)) (c audit.Check, err error) {
	for _, list := range []struct {
		flag  string
		texts []string
		to    *[][]byte
	}{{"key", keys, &c.Keys}, {"sum", sums, &c.Sums}} {
		for _, text := range list.texts {
			bytes, err := hex.DecodeString(text)
			if err != nil || len(bytes) != 32 {
				return c, usage(fmt.Sprintf("--%s %q: want 64 hexadecimal digits, as weir audit verify prints them", list.flag, text))
			}
			*list.to = append(*list.to, bytes)
		}
	}
	c.Report = func(f audit.Finding) {
		report(client.SealFinding{Stream: f.Stream, Replica: f.Replica, Number: f.Number, Day: f.Day, Events: f.Events, Problem: f.Problem, Row: f.Row})
	}
	if entries {
		out := json.NewEncoder(cmd.OutOrStdout())
		c.Entry = func(e audit.Entry) error { return out.Encode(e) }
	}
	return c, nil
}

// verifyFile verifies a sealed export without any server.
func verifyFile(cmd *cobra.Command, path string, c audit.Check) (out client.Verification, err error) {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return out, err
		}
		defer f.Close()
		in = f
	}
	v, err := c.Verify(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return out, fmt.Errorf("%s: %w", path, err)
	}
	out = client.Verification{Seals: v.Seals, Events: v.Events, Dropped: v.Dropped, Problems: v.Problems}
	for _, k := range v.Keys {
		out.Keys = append(out.Keys, client.SealKey(k))
	}
	for _, h := range v.Starts {
		out.Starts = append(out.Starts, client.ChainHead(h))
	}
	for _, h := range v.Heads {
		out.Heads = append(out.Heads, client.ChainHead(h))
	}
	return out, nil
}

func showVerification(w io.Writer, v client.Verification) {
	fmt.Fprintf(w, "%d rows in %d seals are as they were sealed, %d were dropped: %s\n", v.Events, v.Seals, v.Dropped, counted(v.Problems, "problem"))
	for _, k := range v.Keys {
		fmt.Fprintf(w, "key %s: ed25519 %s\n", k.ID, k.PublicKey)
	}
	for _, h := range v.Starts {
		fmt.Fprintf(w, "begins after seal %d of %s of replica %d, sha256 %s\n", h.Number, h.Stream, h.Replica, h.Sum)
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

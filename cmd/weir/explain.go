package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

func newExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain IMAGE", Short: "Explain how a pull would be answered, and why", Args: cobra.ExactArgs(1),
		Long: "Takes the way of a pull without pulling. Without --probe no upstream hears of it: members that would be asked are shown as such.\n" +
			"Everybody may ask about a pull of his own, and is told what it would tell him; what becomes of each member, and the pulls of others,\n" +
			"are for those who may configure the group. The exit code is 0 if the pull would be answered or that depends on upstreams not asked,\n" +
			"3 if nothing would be found, 4 if it would be denied, and 1 for every other failure.",
		Example: "  weir explain main/all/library/alpine:3.20\n" +
			"  weir explain main/all/library/alpine:3.20 --as ann --probe",
	}
	as := cmd.Flags().String("as", "", `user whose pull it would be, "anonymous" for nobody (default: you)`)
	probe := cmd.Flags().Bool("probe", false, "ask the upstreams (HEAD), changing nothing")
	connect, show := clientFlags(cmd), namelessFlag(cmd)
	cmd.ValidArgsFunction = completeImages(connect, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		out, err := c.Explain(cmd.Context(), args[0], *as, *probe)
		if p, ok := errors.AsType[*client.Problem](err); ok && (p.Status == http.StatusUnprocessableEntity || p.Status == http.StatusBadRequest) {
			return &codeError{err, exitUsage}
		}
		if err != nil {
			return err
		}
		done, err := show(cmd.OutOrStdout(), out)
		if !done && err == nil {
			err = explain(cmd.OutOrStdout(), out)
		}
		if err != nil {
			return err
		}
		return pullFails(out)
	}
	return cmd
}

// pullFails is the exit code of a pull that would fail.
func pullFails(e client.Explanation) error {
	switch {
	case !e.Allowed, e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return &codeError{errReported, exitDenied}
	case e.Status == http.StatusNotFound:
		return &codeError{errReported, exitNotFound}
	case e.Status >= http.StatusBadRequest:
		return errReported
	}
	return nil
}

func explain(w io.Writer, e client.Explanation) error {
	allowed := "no"
	if e.Allowed {
		allowed = "yes"
	}
	rows := [][]string{{"image", e.Image}, {"as", e.As}, {"allowed", allowed + ": " + e.Access}}
	if e.Kind != "" {
		rows = append(rows, []string{"leads to", e.Kind})
	}
	switch {
	case e.Status != 0:
		text := e.Message
		if text == "" || text == e.Access { // which says it already
			text = http.StatusText(e.Status)
		}
		rows = append(rows, []string{"answer", strconv.Itoa(e.Status) + " " + text})
	case e.Allowed:
		rows = append(rows, []string{"answer", "depends on the upstreams that would be asked; --probe asks them"})
	}
	d := e.Decision
	if d != nil && d.Rule != "" {
		rows = append(rows, []string{"rule", d.Rule})
	}
	if d != nil && d.Member != "" {
		rows = append(rows, []string{"served by", d.Member})
	}
	if e.Advice != "" {
		rows = append(rows, []string{"what to do", e.Advice})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if d == nil || len(d.Members) == 0 {
		return nil
	}
	members := [][]string{{"#", "MEMBER", "REPOSITORY", "VERDICT", "HELD", "THEN"}}
	for i, m := range d.Members {
		members = append(members, []string{strconv.Itoa(i + 1), m.Member, m.Repository, verdict(m), held(m), then(m)})
	}
	fmt.Fprintln(w)
	return table(w, members)
}

func verdict(m virtual.Considered) string {
	switch {
	case m.Rule != "":
		return m.Verdict + " (" + m.Rule + ")"
	case m.Claimed != "":
		return m.Verdict + " by " + m.Claimed
	}
	return m.Verdict
}

func held(m virtual.Considered) string {
	if m.Held == "" || m.HeldAge == 0 {
		return m.Held
	}
	return m.Held + ", " + time.Duration(m.HeldAge*float64(time.Second)).Round(time.Second).String() + " old"
}

func then(m virtual.Considered) string {
	if m.Answer == 0 {
		return m.Would
	}
	text := m.Answer.String()
	if m.Cache == "stale" {
		text = "served stale"
	}
	if m.Status != 0 {
		text += fmt.Sprintf(" (%d)", m.Status)
	}
	if m.Reason != "" {
		text += ": " + m.Reason
	}
	if m.At != nil {
		text += ", at " + m.At.Format(time.TimeOnly) + " UTC"
	}
	if m.RetryAfter > 0 {
		text += fmt.Sprintf("; asked again in %s", max(time.Duration(m.RetryAfter*float64(time.Second)).Round(time.Second), time.Second))
	}
	return text
}

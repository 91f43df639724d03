package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// The verbs that every resource has in common.

func (r *resource) list(word string, connect connector) *cobra.Command {
	cmd := &cobra.Command{Use: r.usage(word, r.parents()), Short: "List them", Args: cobra.ExactArgs(r.parents())}
	query := queryFlags(cmd, connect, r.query, r.filters)
	most := cmd.Flags().Int("limit", 0, "how many at most; 0 is all")
	show := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.all(), args, query())
		if err != nil {
			return err
		}
		if *most > 0 {
			t.query.Set("limit", fmt.Sprint(min(*most, nearest)))
		}
		items, err := t.client.Items(cmd.Context(), t.path, t.query, *most)
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), items, keysOf(items, r.key)...); done || err != nil {
			return err
		}
		return table(cmd.OutOrStdout(), r.columns.rows(items))
	}
	return cmd
}

func (r *resource) get(word string, connect connector) *cobra.Command {
	cmd := &cobra.Command{Use: r.usage(word, len(r.params())), Short: "Show " + article(r.noun), Args: cobra.ExactArgs(len(r.params()))}
	query := queryFlags(cmd, connect, r.query)
	show := outputOr(cmd, "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.path, args, query())
		if err != nil {
			return err
		}
		a, err := t.do(cmd.Context(), http.MethodGet, nil)
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		out := cmd.OutOrStdout()
		if cmd.Flag("output").Value.String() == "yaml" && a.ETag != "" {
			fmt.Fprintf(out, "# etag: %s\n", a.ETag)
		}
		if done, err := show(out, a.Body, keysOf([]json.RawMessage{a.Body}, r.key)...); done || err != nil {
			return err
		}
		return table(out, r.columns.rows([]json.RawMessage{a.Body}))
	}
	return cmd
}

// formFlags adds what create and update have in common: a file, or a flag for each field.
func (r *resource) formFlags(cmd *cobra.Command, skip []string) func(cmd *cobra.Command) (document map[string]any, whole bool, err error) {
	file := cmd.Flags().StringP("file", "f", "", `file with the whole definition, as get prints it; "-" for standard input`)
	set := fieldFlags(cmd, fieldsOf(r.formType(), append([]string{r.key}, skip...)))
	for flag, values := range r.values {
		offer(cmd, flag, values...)
	}
	return func(cmd *cobra.Command) (document map[string]any, whole bool, err error) {
		document = map[string]any{}
		if *file != "" {
			if document, err = readForm(cmd, *file, r.formType(), append([]string{}, r.shown...)); err != nil {
				return nil, false, err
			}
		}
		return document, *file != "", set(cmd, document)
	}
}

func (r *resource) create(word string, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: r.usage(word, len(r.params())), Short: "Create " + article(r.noun), Args: cobra.ExactArgs(len(r.params())),
		Long: "Creates one with the fields that flags or a file give; what is left out gets its default. It fails if there is one by that name.",
	}
	if r.upsert {
		cmd.Short, cmd.Long = "Create or replace "+article(r.noun), ""
	}
	form, query, dryRun, show := r.formFlags(cmd, nil), queryFlags(cmd, connect, r.query), r.tryFlag(cmd, "create"), outputFlag(cmd)
	cmd.ValidArgsFunction = r.completeParents(connect)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		document, _, err := form(cmd)
		if err != nil {
			return err
		}
		t, err := r.at(cmd, connect, r.path, args, query())
		if err != nil {
			return err
		}
		request := client.Request{Method: http.MethodPut, Body: document}
		if !r.upsert {
			request.IfNoneMatch = "*"
		}
		a, err := r.change(cmd, t, request, *dryRun)
		if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusPreconditionFailed {
			return &codeError{fmt.Errorf("%s exists already; update changes it", r.title(args)), exitConflict}
		}
		return r.told(cmd, a, err, *dryRun, show, args, "is "+past(word))
	}
	return cmd
}

func article(noun string) string {
	if strings.ContainsAny(noun[:1], "aeio") || noun == "upstream" {
		return "an " + noun
	}
	return "a " + noun
}

// past is what has been done to a thing that a verb names.
func past(word string) string {
	if word == "set" {
		return word
	}
	return strings.TrimSuffix(word, "e") + "ed"
}

func (r *resource) update(word string, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: r.usage(word, len(r.params())), Short: "Change " + article(r.noun), Args: cobra.ExactArgs(len(r.params())),
		Long: "Changes the fields that flags give, and no other. With --file the whole definition is replaced: what the file leaves out gets its default, secrets stay.",
	}
	form, query, dryRun, show := r.formFlags(cmd, r.fixed), queryFlags(cmd, connect, r.query), r.tryFlag(cmd, "update"), outputFlag(cmd)
	ifMatch := ifMatchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		document, whole, err := form(cmd)
		if err != nil {
			return err
		}
		if len(document) == 0 && !whole {
			return usage("nothing to change: give a field, or --file; see " + cmd.CommandPath() + " --help")
		}
		t, err := r.at(cmd, connect, r.path, args, query())
		if err != nil {
			return err
		}
		request := client.Request{Method: http.MethodPatch, Body: document, IfMatch: *ifMatch}
		if whole {
			request.Method = http.MethodPut
			if *ifMatch == "" {
				request.IfMatch = "*" // to update is not to create
			}
		}
		a, err := r.change(cmd, t, request, *dryRun)
		if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusPreconditionFailed && *ifMatch == "" {
			p.Status, p.Detail, p.Errors = http.StatusNotFound, "there is no "+r.title(args)+"; create makes one", nil
		}
		return r.told(cmd, a, r.orNear(cmd, t, args, err), *dryRun, show, args, "is updated")
	}
	return cmd
}

// change sends a change, or tries it.
func (r *resource) change(cmd *cobra.Command, t target, request client.Request, dryRun bool) (client.Answer, error) {
	request.Path, request.Query = t.path, t.query
	if dryRun {
		request.Query.Set("dry_run", "true")
	}
	return t.client.Do(cmd.Context(), request)
}

// told says what a change did.
func (r *resource) told(cmd *cobra.Command, a client.Answer, err error, dryRun bool, show printer, args []string, what string) error {
	switch {
	case err != nil:
		return err
	case dryRun:
		return outcome(cmd, a, show)
	}
	if done, err := show(cmd.OutOrStdout(), a.Body, args[len(args)-1]); done || err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", r.title(args), what)
	return err
}

func (r *resource) remove(word string, connect connector) *cobra.Command {
	cmd := &cobra.Command{Use: r.usage(word, len(r.params())), Short: strings.ToUpper(word[:1]) + word[1:] + " " + article(r.noun), Long: r.warning, Args: cobra.ExactArgs(len(r.params()))}
	query, dryRun, yes := queryFlags(cmd, connect, r.query, r.deleted), r.tryFlag(cmd, "delete"), yesFlag(cmd)
	ifMatch, show := new(string), outputFlag(cmd)
	if slices.Contains(r.verbs, "get") { // which tells ETags
		ifMatch = ifMatchFlag(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := r.at(cmd, connect, r.path, args, query())
		if err != nil {
			return err
		}
		if !*dryRun {
			if err := confirm(cmd, *yes, word+" "+r.title(args)+in(t.group)+"? "+r.warning); err != nil {
				return err
			}
		}
		a, err := r.change(cmd, t, client.Request{Method: http.MethodDelete, IfMatch: *ifMatch}, *dryRun)
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		var left client.Purged
		switch {
		case *dryRun && r.content:
			if err := decode(a, &left); err != nil {
				return err
			}
			if done, err := show(cmd.OutOrStdout(), a.Body, args[len(args)-1]); done || err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: would delete %s\n", r.title(args), taken(left))
			return err
		case *dryRun:
			return outcome(cmd, a, show)
		}
		later := ""
		if json.Unmarshal(a.Body, &left) == nil && left.InUse > 0 {
			later = "; what of it was pulled in the last ten minutes goes in ten minutes"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is %s%s\n", r.title(args), past(word), later)
		return err
	}
	return cmd
}

func in(group string) string {
	if group == "" {
		return ""
	}
	return " in group " + group
}

// keysOf are the names of things.
func keysOf(items []json.RawMessage, key string) []string {
	var out []string
	for _, item := range items {
		var fields map[string]any
		if json.Unmarshal(item, &fields) == nil {
			out = append(out, cell(fields[key], ""))
		}
	}
	return out
}

func decode(a client.Answer, v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	return nil
}

// near reports whether a name may be what somebody meant: a part of it, or up to two letters away.
func near(name, wanted string) bool {
	return wanted != "" && (strings.Contains(name, wanted) || distance(name, wanted) <= 2)
}

// distance is the edit distance of two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

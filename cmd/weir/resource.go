package main

import (
	"context"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// resource is a noun of the command line: what the API keeps under one path, with the commands that list, show, make, change and
// remove it. resources has them all; what a resource can do beyond that has commands in a file of its own.
type resource struct {
	noun    string
	short   string
	long    string
	path    string            // of one, as in the API: /groups/{group}/upstreams/{upstream}
	key     string            // field with its name
	form    any               // what is declared of it: its fields become flags; nil: nothing
	shown   []string          // fields that are read and never sent, beside those that the form marks so
	dry     []string          // verbs that can be tried
	content bool              // a deletion tells what goes in tags, manifests and bytes
	upsert  bool              // create also replaces
	global  bool              // the instance has such things too
	listed  string            // path of the list, if it is not path without its last part
	columns columns           // of its lists
	filters []filter          // of its lists
	query   []filter          // of every command
	verbs   []string          // list, get, create, update, delete
	called  map[string]string // other words for verbs
	warning string            // what is lost with one that is deleted
	deleted []filter          // of delete
	fixed   []string          // fields that only create sets by flags
	whole   string            // what the last name is when it is left out; empty: it must not be
	more    func(*resource, connector) []*cobra.Command
	example string
	values  map[string][]string // that flags of its fields take
}

// filter is a parameter of a request that a flag gives.
type filter struct {
	name string // as in the API
	doc  string
	yes  bool     // true or false
	of   []string // what it can be; nil: anything
}

var placeholder = regexp.MustCompile(`\{([a-z]+)\}`)

// params are the names in the path other than the group's; the last one is the resource's own.
func (r *resource) params() []string {
	var out []string
	for _, m := range placeholder.FindAllStringSubmatch(r.path, -1) {
		if m[1] != "group" {
			out = append(out, m[1])
		}
	}
	return out
}

func (r *resource) grouped() bool { return strings.Contains(r.path, "{group}") }

// all is the path of the list.
func (r *resource) all() string {
	if r.listed != "" {
		return r.listed
	}
	return r.path[:strings.LastIndex(r.path, "/")]
}

// parents is how many names the list's path has.
func (r *resource) parents() int {
	return strings.Count(r.all(), "{") - strings.Count(r.all(), "{group}")
}

// fill puts names into a path.
func fill(path, group string, args []string) string {
	return placeholder.ReplaceAllStringFunc(path, func(p string) string {
		name := group
		if p != "{group}" {
			name, args = args[0], args[1:]
		}
		return url.PathEscape(name)
	})
}

// usage is a command with the first n names.
func (r *resource) usage(word string, n int) string {
	for _, p := range r.params()[:n] {
		word += " " + strings.ToUpper(p)
	}
	return word
}

// command is the noun with its verbs.
func (r *resource) command() *cobra.Command {
	cmd := &cobra.Command{Use: r.noun, Short: r.short, Long: r.long, Example: r.example}
	connect := clientFlags(cmd)
	if r.grouped() {
		groupFlag(cmd, connect)
	}
	if r.global {
		cmd.PersistentFlags().Bool("instance", false, "of the whole instance, instead of a group")
	}
	verbs := map[string]func(*resource, string, connector) *cobra.Command{
		"list": (*resource).list, "get": (*resource).get, "create": (*resource).create, "update": (*resource).update, "delete": (*resource).remove,
	}
	for _, verb := range r.verbs {
		word := verb
		if other, ok := r.called[verb]; ok {
			word = other
		}
		sub := verbs[verb](r, word, connect)
		if sub.ValidArgsFunction == nil {
			sub.ValidArgsFunction = r.complete(connect)
		}
		if r.whole != "" && verb != "list" {
			mayLeaveOut(sub, len(r.params()), r.whole)
		}
		cmd.AddCommand(sub)
	}
	if r.more != nil {
		cmd.AddCommand(r.more(r, connect)...)
	}
	return cmd
}

// mayLeaveOut makes the last of n arguments one that is value unless it is given.
func mayLeaveOut(cmd *cobra.Command, n int, value string) {
	words := strings.Fields(cmd.Use)
	words[n] = "[" + words[n] + "]"
	cmd.Use, cmd.Args = strings.Join(words, " "), cobra.RangeArgs(n-1, n)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			args = append(slices.Clone(args), value)
		}
		return run(cmd, args)
	}
}

// target is a resource, or a list, that a command is about.
type target struct {
	client *client.Client
	group  string
	path   string
	query  url.Values
}

// queryFlags adds flags for parameters. Those that name something of the group are completed with what there is.
func queryFlags(cmd *cobra.Command, connect connector, filters ...[]filter) func() url.Values {
	var names []filter
	for _, f := range slices.Concat(filters...) {
		if f.yes {
			cmd.Flags().Bool(flagName([]string{f.name}), false, f.doc)
		} else {
			cmd.Flags().String(flagName([]string{f.name}), "", f.doc)
			offerValue(cmd, connect, f)
		}
		names = append(names, f)
	}
	return func() url.Values {
		q := url.Values{}
		for _, f := range names {
			if flag := cmd.Flags().Lookup(flagName([]string{f.name})); flag.Changed {
				q.Set(f.name, flag.Value.String())
			}
		}
		return q
	}
}

func offerValue(cmd *cobra.Command, connect connector, f filter) {
	flag := flagName([]string{f.name})
	if _, named := lists[f.name]; !named {
		offer(cmd, flag, f.of...)
		return
	}
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) { // the flag exists
		return offerParam(cmd, connect, f.name, part)
	})
}

// at finds the server and the group that a command is about.
func (r *resource) at(cmd *cobra.Command, connect connector, path string, args []string, query url.Values) (target, error) {
	c, err := connect()
	if err != nil {
		return target{}, err
	}
	t := target{client: c, query: query}
	if r.global && cmd.Flag("instance").Value.String() == "true" {
		t.path = strings.TrimSuffix(fill(strings.TrimPrefix(path, "/groups/{group}"), "", args), "/-")
		return t, nil
	}
	if r.grouped() {
		if t.group, err = groupOf(cmd, c); err != nil {
			return target{}, err
		}
	}
	t.path = fill(path, t.group, args)
	return t, nil
}

func (t target) do(ctx context.Context, method string, body any) (client.Answer, error) {
	return t.client.Do(ctx, client.Request{Method: method, Path: t.path, Query: t.query, Body: body})
}

// orNear adds names to the error of one that does not exist which somebody may have meant.
func (r *resource) orNear(cmd *cobra.Command, t target, args []string, err error) error {
	if exitCode(err) != exitNotFound || !slices.Contains(r.verbs, "list") {
		return err
	}
	wanted := args[len(args)-1]
	items, listErr := t.client.Items(cmd.Context(), fill(r.all(), t.group, args[:r.parents()]), nil, nearest)
	if listErr != nil {
		return err
	}
	var similar []string
	for _, name := range keysOf(items, r.key) {
		if name == wanted { // something below it is missing
			return err
		}
		if near(name, wanted) {
			similar = append(similar, name)
		}
	}
	if len(similar) == 0 {
		return err
	}
	return fmt.Errorf("%w; did you mean %s?", err, strings.Join(similar, " or "))
}

// nearest is how many names are looked at for one that was meant.
const nearest = 1000

// formType is the type of what is declared.
func (r *resource) formType() reflect.Type { return reflect.TypeOf(r.form) }

// tryFlag adds --dry-run to a verb that can be tried.
func (r *resource) tryFlag(cmd *cobra.Command, verb string) *bool {
	if !slices.Contains(r.dry, verb) {
		return new(bool)
	}
	return dryRunFlag(cmd)
}

// title is how messages call one: upstream dockerhub, member dockerhub of hub.
func (r *resource) title(args []string) string {
	text := r.noun + " " + args[len(args)-1]
	for _, above := range slices.Backward(args[:len(args)-1]) {
		text += " of " + above
	}
	return text
}

// outcome is what a change answers when it is only tried.
func outcome(cmd *cobra.Command, a client.Answer, show printer) error {
	var out client.Applied
	if err := decode(a, &out); err != nil {
		return err
	}
	if done, err := show(cmd.OutOrStdout(), a.Body, namesOf(out.Changes)...); done || err != nil {
		return err
	}
	fmt.Fprint(cmd.OutOrStdout(), out.Text)
	_, err := fmt.Fprintln(cmd.OutOrStdout(), "dry run: nothing was changed")
	return err
}

func dryRunFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("dry-run", false, "only show what would change")
}

func ifMatchFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("if-match", "", "only if this is its ETag now, as get prints it")
}

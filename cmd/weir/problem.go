package main

import (
	"cmp"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// inWords turns an error of the server into the words of the command line: fields become the flags, arguments or keys of a file that
// gave them, headers the flags that stand for them, and every text is said once.
func inWords(cmd *cobra.Command, err error) error {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		return err
	}
	if p.Status == http.StatusPreconditionFailed {
		exists := slices.ContainsFunc(p.Errors, func(e client.ProblemPart) bool { return e.Location == "header.If-None-Match" })
		p.Errors, p.Detail = nil, "it has changed meanwhile: get shows what it is now, and its ETag for --if-match"
		if exists {
			p.Detail = "it exists already; update changes it"
		}
		return err
	}
	group := "GROUP"
	if flag := cmd.Flag("group"); flag != nil {
		group = cmp.Or(flag.Value.String(), envOr("WEIR_GROUP", group))
	}
	p.Detail = strings.ReplaceAll(p.Detail, `PATCH /groups/{group} {"enabled": true}`, "`weir group update "+group+" --enabled`")
	if p.Status == http.StatusUnauthorized && strings.HasPrefix(p.Detail, "log in: send a token") {
		p.Detail = "you are not logged in there: `weir login SERVER` logs in, or give a token in WEIR_TOKEN"
	}
	var parts []client.ProblemPart
	for _, e := range p.Errors {
		e = required(e)
		e.Location = whereFrom(cmd, e.Location)
		if !slices.Contains(parts, e) {
			parts = append(parts, e)
		}
	}
	if p.Errors = parts; p.Detail == "validation failed" {
		p.Detail = "this cannot be; nothing was changed"
	}
	if len(parts) == 1 && (parts[0].Message == p.Detail || p.Detail == "this cannot be; nothing was changed") {
		p.Detail, p.Errors = said(parts[0]), nil
	}
	return err
}

// required makes a field that is missing what the problem is about, instead of what it is missing in.
func required(e client.ProblemPart) client.ProblemPart {
	if m := missingField.FindStringSubmatch(e.Message); m != nil {
		e.Location, e.Message = e.Location+"."+m[1], "is needed"
	}
	return e
}

var (
	missingField = regexp.MustCompile(`^expected required property (\S+) to be present$`)
	elsewhere    = regexp.MustCompile(`^groups\[([^\]]+)\]\.(\w+)\[([^\]]+)\](?:\.(.+))?$`)
)

// inPlain names another definition that stands in the way as people do: hosts of credential ci in group acme. A command that sends a file
// of declarations keeps its keys.
func inPlain(cmd *cobra.Command, location string) string {
	m := elsewhere.FindStringSubmatch(location)
	if m == nil || slices.Contains([]string{"apply", "diff"}, cmd.Name()) {
		return location
	}
	what := strings.TrimSuffix(strings.ReplaceAll(m[2], "_", " "), "s")
	if m[2] == "registries" {
		what = "registry"
	}
	text := what + " " + m[3] + " of group " + m[1]
	if m[4] != "" {
		text = m[4] + " of " + text
	}
	return text
}

func said(e client.ProblemPart) string {
	if e.Location == "" {
		return e.Message
	}
	return e.Location + ": " + e.Message
}

// whereFrom is where the command line has what the server knows by a location: a flag, an argument as the command's usage calls it, or the
// key in the file that was given.
func whereFrom(cmd *cobra.Command, location string) string {
	var field string
	for _, part := range []string{"body", "query", "path", "header"} {
		if location == part {
			return lastArgument(cmd, part)
		}
		if rest, ok := strings.CutPrefix(location, part+"."); ok {
			field = rest
		}
	}
	if field == "" {
		return inPlain(cmd, location)
	}
	list, _, _ := strings.Cut(field, "[") // of a list, the list
	name := flagName(strings.Split(list, "."))
	switch {
	case cmd.Flags().Lookup(name) != nil:
		return "--" + name
	case cmd.Flags().Lookup(strings.TrimSuffix(name, "-at")) != nil: // of times
		return "--" + strings.TrimSuffix(name, "-at")
	case cmd.Flags().Lookup(name+"-stdin") != nil && cmd.Flags().Lookup(name+"-env") != nil:
		return "--" + name + "-stdin or --" + name + "-env"
	case slices.Contains(strings.Fields(cmd.Use), strings.ToUpper(name)):
		return strings.ToUpper(name)
	}
	return field
}

// lastArgument is what a command calls its last argument, of a problem with the path; the whole of a body has no place.
func lastArgument(cmd *cobra.Command, part string) string {
	words := strings.Fields(cmd.Use)
	if part != "path" || len(words) < 2 {
		return ""
	}
	return strings.Trim(words[len(words)-1], "[]")
}

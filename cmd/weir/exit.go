package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/client"
)

// Exit codes, which scripts may rely on. docs/reference/cli.md has them too.
const (
	exitOK          = 0
	exitFailed      = 1 // it failed, or the answer is no: a check found problems, a diff a difference
	exitUsage       = 2 // there is no such command, flag or form of an argument
	exitNotFound    = 3 // what was named does not exist, or you may not see it
	exitDenied      = 4 // you are not logged in, or may not do it
	exitConflict    = 5 // it exists already, is in use, or has changed meanwhile
	exitUnreachable = 6 // no server answers
)

// errReported ends a command with exit code 1 whose output has said all there is to say.
var errReported = errors.New("reported")

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage makes a usageError.
func usage(text string) error { return &usageError{errors.New(text)} }

// codeError is an error with an exit code of its own.
type codeError struct {
	err  error
	code int
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

// exitCode is the exit code for the error of a command.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*codeError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*usageError](err); ok || strings.HasPrefix(err.Error(), "required flag") {
		return exitUsage
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		switch p.Status {
		case http.StatusNotFound:
			return exitNotFound
		case http.StatusUnauthorized, http.StatusForbidden:
			return exitDenied
		case http.StatusConflict, http.StatusPreconditionFailed:
			return exitConflict
		case http.StatusUnprocessableEntity, http.StatusBadRequest:
			if ofForm(p) {
				return exitUsage
			}
		}
	}
	switch {
	case errors.Is(err, client.ErrNoServer):
		return exitUnreachable
	case errors.Is(err, client.ErrNoLogin):
		return exitDenied
	}
	return exitFailed
}

// ofForm reports whether all that is wrong are parameters of a query: what is wrong with names and bodies has other reasons than their form.
func ofForm(p *client.Problem) bool {
	for _, e := range p.Errors {
		if !strings.HasPrefix(e.Location, "query.") {
			return false
		}
	}
	return len(p.Errors) > 0
}

// checkUsage makes what cobra finds wrong with flags and arguments usageErrors, and gives commands that have only subcommands an
// answer to a word that is none of them.
func checkUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(wrongValue(err.Error()) + "; see " + cmd.CommandPath() + " --help")
	})
	check := cmd.Args
	if check == nil && cmd.HasSubCommands() {
		check = noSuchCommand
	}
	if check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil {
				return nil
			}
			if !cmd.HasSubCommands() {
				return usage(err.Error() + ": " + cmd.UseLine())
			}
			return usage(err.Error())
		}
	}
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range cmd.Commands() {
		checkUsage(sub)
	}
}

// wrongValue says of a flag's value what is wanted, instead of which function did not want it.
func wrongValue(text string) string {
	before, function, ok := strings.Cut(text, ": strconv.Parse")
	switch {
	case !ok:
		return text
	case strings.HasPrefix(function, "Bool"):
		return before + ": want true or false"
	default:
		return before + ": want a number"
	}
}

// flagGroup is the error of flags that exclude each other, or of which one is needed, in the words of a command line; any other as it is.
func flagGroup(err error) error {
	if err == nil {
		return nil
	}
	for _, form := range []struct{ begins, after, between string }{
		{"if any flags in the group [", " exclude each other", " and "},
		{"at least one of the flags in the group [", ": one is needed", " or "},
	} {
		if rest, ok := strings.CutPrefix(err.Error(), form.begins); ok {
			names, _, _ := strings.Cut(rest, "]")
			return usage("--" + strings.Join(strings.Fields(names), form.between+"--") + form.after)
		}
	}
	return err
}

// checkBuiltin makes the commands that come with cobra refuse what they do not know.
func checkBuiltin(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.Args = nil
			checkUsage(cmd)
		case "help":
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err != nil || found == nil {
					found, rest = root, args
				}
				if err := noSuchCommand(found, rest); err != nil {
					return usage(err.Error())
				}
				return nil
			}
		}
	}
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := `there is no command "` + cmd.CommandPath() + " " + args[0] + `"`
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return errors.New(text + "; did you mean " + strings.Join(near, " or ") + "?")
	}
	return errors.New(text + "; see " + cmd.CommandPath() + " --help")
}

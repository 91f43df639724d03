package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/reference/cli.md")

const manual = "../../docs/reference/cli.md"

// TestReference fails when docs/reference/cli.md is not what the commands say of themselves.
func TestReference(t *testing.T) {
	for _, name := range []string{"WEIR_DATA", "WEIR_SERVER", "WEIR_CONFIG"} {
		t.Setenv(name, "")
	}
	got := reference(newRootCommand())
	if *update {
		if err := os.WriteFile(manual, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(manual)
	if err != nil || string(want) != got {
		t.Errorf("%s is not what the commands say: go test ./cmd/weir -run Reference -update writes it (%v)", manual, err)
	}
}

const referenceHead = `# The command line

<!-- Written by go test ./cmd/weir -run Reference -update. -->

Every command that talks to a server finds it so: the address of ` + "`--server`" + ` or ` + "`WEIR_SERVER`" + `; else the socket in the data folder of
` + "`--data`" + ` or ` + "`WEIR_DATA`" + ` (` + "`./data`" + `), which only the user who runs the server may use; else where you are logged in (` + "`weir login`" + `). A
server over the network takes the token of the login, or ` + "`WEIR_TOKEN`" + `.

What belongs to a group takes ` + "`--group`" + ` (` + "`-g`" + `); without it ` + "`WEIR_GROUP`" + `, the group of ` + "`weir login --group`" + `, or the only one there is.

` + "`--output`" + ` (` + "`-o`" + `) is ` + "`table`" + `, ` + "`json`" + `, ` + "`yaml`" + ` or ` + "`name`" + `, which prints names alone, a line each, of commands whose answer has some. JSON and YAML have the fields of the
[API](openapi.json); what ` + "`get -o yaml`" + ` prints, ` + "`create -f`" + ` and ` + "`update -f`" + ` take. Flags that set fields have the fields' names.

Commands that destroy something ask on a terminal; ` + "`--yes`" + ` (` + "`-y`" + `) answers. ` + "`--dry-run`" + `, on commands that have it, only shows what would change: deletions
but those of tokens, changes of definitions, ` + "`apply`" + `, ` + "`purge`" + ` and ` + "`copy`" + `. ` + "`--if-match`" + ` takes the ETag
that ` + "`get`" + ` prints: the change is refused if somebody else came first.

Work that takes long (` + "`copy`" + `, ` + "`refresh`" + `, ` + "`check`" + `, ` + "`purge`" + `, ` + "`repository delete`" + `, ` + "`job run --wait`" + `) shows on a terminal how far it is, on standard error.

| exit code | |
|---|---|
| 0 | done |
| 1 | it failed, the server refuses a name or a value, or the answer is no: ` + "`diff`" + ` found a difference, ` + "`check`" + ` problems, ` + "`evaluate`" + ` nobody who may answer, ` + "`explain`" + ` a pull that would fail |
| 2 | there is no such command, flag or form of an argument; for ` + "`diff`" + ` also: it failed |
| 3 | what was named does not exist, or you may not see it; for ` + "`explain`" + `: a pull would find nothing |
| 4 | you are not logged in, or may not do it; for ` + "`explain`" + `: a pull would be denied |
| 5 | it exists already, is in use, or has changed meanwhile |
| 6 | no server answers |

` + "`weir completion bash`" + `, ` + "`zsh`" + ` and ` + "`fish`" + ` print completions for your shell, which offer names and images from the server too; ` + "`weir completion bash --help`" + `
says where to put them.
`

func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID == group.ID {
				describe(&b, cmd)
			}
		}
	}
	return b.String()
}

// describe writes a command and those below it.
func describe(b *strings.Builder, cmd *cobra.Command) {
	level := strings.Repeat("#", 2+strings.Count(cmd.CommandPath(), " "))
	name := cmd.CommandPath()
	if _, args, ok := strings.Cut(cmd.Use, " "); ok {
		name += " " + args
	}
	fmt.Fprintf(b, "\n%s %s\n\n%s.\n", level, name, cmd.Short)
	paragraphs(b, cmd.Long)
	if cmd.Example != "" {
		b.WriteString("\n```console\n")
		for line := range strings.Lines(cmd.Example) {
			b.WriteString("$ " + strings.TrimSpace(line) + "\n")
		}
		b.WriteString("```\n")
	}
	flags(b, cmd)
	for _, sub := range cmd.Commands() {
		describe(b, sub)
	}
}

// everywhere are flags that the page explains at its head.
const everywhere = " server data group output help dry-run yes if-match "

// paragraphs writes a text; what is indented stays as it is.
func paragraphs(b *strings.Builder, text string) {
	for part := range strings.SplitSeq(text, "\n\n") {
		switch part = strings.TrimRight(part, "\n"); {
		case part == "":
		case strings.HasPrefix(part, "  "):
			fmt.Fprintf(b, "\n```text\n%s\n```\n", part)
		default:
			fmt.Fprintf(b, "\n%s\n", strings.ReplaceAll(part, "\n", " "))
		}
	}
}

func flags(b *strings.Builder, cmd *cobra.Command) {
	first := true
	write := func(f *pflag.Flag) {
		own := cmd.Name() == "login" && f.Name == "group" // which login keeps
		if f.Hidden || strings.Contains(everywhere, " "+f.Name+" ") && !own {
			return
		}
		if first {
			b.WriteString("\n| flag | |\n|---|---|\n")
			first = false
		}
		name := "`--" + f.Name
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		kind, text := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" && f.DefValue != "0s" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "| %s` | %s |\n", name, strings.ReplaceAll(text, "|", `\|`))
	}
	cmd.LocalFlags().VisitAll(write)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/app"
)

// run is main without the process: it returns the exit code. The first SIGINT or SIGTERM cancels the command's context, so
// that it ends in order; a second one ends the process at once.
func run(program string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := untilSignal()
	defer stop()

	if isCredentialHelper(program) {
		return helpWithCredentials(ctx, args, stdin, stdout)
	}

	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	checkBuiltin(root)
	cmd, err := root.ExecuteContextC(ctx)
	err = flagGroup(err)
	code := exitCode(err) // of what the server said, before it is put into words
	if err != nil && !errors.Is(err, errReported) {
		fmt.Fprintf(stderr, "weir: %v\n", inWords(cmd, err))
	}
	return code
}

// untilSignal returns a context that the first signal cancels. By then signals must have their default effect again, or a second one
// that comes at once would be lost.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		defer close(done)
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "weir",
		Short:         "One registry in front of all the others",
		Version:       app.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().String("data", envOr("WEIR_DATA", "./data"), "data folder of the server; the command line finds its socket there")
	for _, part := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"server", "The server:", []*cobra.Command{newServeCommand(), newConfigCommand(), newKeysCommand(), newCheckCommand(), newAuditCommand(), newLabCommand(), newVersionCommand()}},
		{"login", "Logging in:", []*cobra.Command{newLoginCommand(), newLogoutCommand(), newWhoamiCommand()}},
		{"declare", "Declaring everything in files:", []*cobra.Command{newApplyCommand(), newDiffCommand(), newExportCommand()}},
		{"resource", "Things, one by one:", append(newResourceCommands(), newRuleCommand(), newTokenCommand(), newPermissionsCommand())},
		{"image", "Images:", []*cobra.Command{newSetupCommand(), newSearchCommand(), newExplainCommand(), newRefreshCommand(), newCopyCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: part.id, Title: part.title})
		for _, cmd := range part.commands {
			cmd.GroupID = part.id
			root.AddCommand(cmd)
		}
	}
	checkUsage(root)
	completeFlags(root)
	return root
}

func envOr(name, or string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return or
}

package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// userCommands are what a user can do beyond the verbs that all have.
func userCommands(r *resource, connect connector) []*cobra.Command {
	out := []*cobra.Command{
		newUserCreate(connect), newUserPassword(connect),
		newUserSwitch(connect, "disable", "Lock a user out, tokens included", false),
		newUserSwitch(connect, "enable", "Let a user in again", true), newUserErase(connect),
	}
	for _, cmd := range out[1:] {
		cmd.ValidArgsFunction = r.complete(connect)
	}
	return out
}

func newUserCreate(connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a user and print its password, this once", Args: cobra.ExactArgs(1),
		Example: "  weir user create ann\n  printf %s \"$PASSWORD\" | weir user create ann --password-stdin",
	}
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the password from standard input instead of making one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, made, err := newPassword(cmd, *fromStdin)
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		u, err := c.CreateUser(cmd.Context(), args[0], password)
		if err != nil {
			return err
		}
		showPassword(cmd, made, password)
		fmt.Fprintf(cmd.ErrOrStderr(), "user %s is created; it may nothing until `weir grant set` gives it a role\n", u.Name)
		return nil
	}
	return cmd
}

func newUserPassword(connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use: "password NAME", Short: "Set a user's password", Args: cobra.ExactArgs(1),
		Long: "Sets a user's password and ends what the old one gave. Through the socket, and for administrators, the old one is not needed;\nothers give it with --old-password-stdin, for the own account.",
	}
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the new password from standard input instead of making one")
	oldFromStdin := cmd.Flags().Bool("old-password-stdin", false, "read the old password from standard input, as its first line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, old := bufio.NewReader(cmd.InOrStdin()), ""
		cmd.SetIn(in)
		if *oldFromStdin {
			line, err := in.ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read the old password: %w", err)
			}
			old = strings.TrimRight(line, "\r\n")
		}
		password, made, err := newPassword(cmd, *fromStdin)
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		if err := c.SetPassword(cmd.Context(), args[0], password, old); err != nil {
			return err
		}
		showPassword(cmd, made, password)
		fmt.Fprintf(cmd.ErrOrStderr(), "the password of %s is changed\n", args[0])
		return nil
	}
	return cmd
}

// newPassword makes a password, or reads one: a line break at its end is not part of it.
func newPassword(cmd *cobra.Command, fromStdin bool) (password string, made bool, err error) {
	if !fromStdin {
		return rand.Text(), true, nil
	}
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 4096))
	if err != nil {
		return "", false, fmt.Errorf("read the password: %w", err)
	}
	password = strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", false, errors.New("standard input holds no password")
	}
	return password, false, nil
}

// showPassword prints a password that was made: alone on standard output, for scripts.
func showPassword(cmd *cobra.Command, made bool, password string) {
	if made {
		fmt.Fprintln(cmd.OutOrStdout(), password)
	}
}

func newUserSwitch(connect connector, word, short string, enabled bool) *cobra.Command {
	cmd := &cobra.Command{Use: word + " NAME", Short: short, Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		u, err := c.SetEnabled(cmd.Context(), args[0], enabled)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "user %s is %sd\n", u.Name, word)
		return nil
	}
	return cmd
}

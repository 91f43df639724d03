package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weir-registry/weir/internal/client"
)

// loginLife is how long the token of a login lives. The credential helper renews it in its last third.
const loginLife = 90 * 24 * time.Hour

func newLoginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "login SERVER", Short: "Log in at a server, for this command line and for docker", Args: cobra.ExactArgs(1),
		Long: "Makes a personal token with your user name and password and keeps it in a file that only you may read; the password is not kept.\n" +
			"Commands use the server of the last login when no data folder with a running server is at hand.",
		Example: "  weir login https://weir.example.com -u ann\n  printf %s \"$TOKEN\" | weir login weir.example.com --token-stdin",
	}
	user := cmd.Flags().StringP("user", "u", "", "user name (default: asked for)")
	passwordStdin := cmd.Flags().Bool("password-stdin", false, "read the password from standard input")
	tokenStdin := cmd.Flags().Bool("token-stdin", false, "read a personal token from standard input and keep that")
	group := cmd.Flags().String("group", "", "group that commands are about unless they are told")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "token-stdin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, err := client.ServerAddress(args[0])
		if err != nil {
			return err
		}
		name, secret, err := askWho(cmd, *user, *passwordStdin, *tokenStdin)
		if err != nil {
			return err
		}
		login, err := logIn(cmd.Context(), server, name, secret, *group)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "logged in at %s as %s\n", login.Server, login.User)
		return nil
	}
	return cmd
}

// askWho gets the user name and the password or token, from the terminal unless the flags say otherwise.
func askWho(cmd *cobra.Command, user string, passwordStdin, tokenStdin bool) (name, secret string, err error) {
	if passwordStdin || tokenStdin {
		if passwordStdin && user == "" {
			return "", "", errors.New("--password-stdin needs --user")
		}
		text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 64<<10))
		if err != nil {
			return "", "", fmt.Errorf("read standard input: %w", err)
		}
		return user, strings.TrimRight(string(text), "\r\n"), nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", "", errors.New("there is no terminal to ask at: use --password-stdin with --user, or --token-stdin")
	}
	if user == "" {
		fmt.Fprint(cmd.ErrOrStderr(), "User: ")
		if user, err = bufio.NewReader(in).ReadString('\n'); err != nil {
			return "", "", fmt.Errorf("read the user name: %w", err)
		}
		user = strings.TrimSpace(user)
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Password or token: ")
	text, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return "", "", fmt.Errorf("read the password: %w", err)
	}
	return user, string(text), nil
}

// logIn turns a password into a token, or checks a token, and keeps it.
func logIn(ctx context.Context, server, user, secret, group string) (client.Login, error) {
	logins, err := readLogins()
	if err != nil {
		return client.Login{}, err
	}
	var login client.Login
	if strings.HasPrefix(secret, "weir_") {
		login, err = keep(ctx, server, secret)
	} else {
		login, err = exchange(ctx, client.Options{Server: server, User: user, Password: secret})
	}
	if err != nil {
		return client.Login{}, err
	}
	if err := seesGroup(ctx, login, group); err != nil {
		_ = revoke(ctx, login) // nobody has it
		return client.Login{}, err
	}
	before := logins.Servers[login.Server]
	login.Group = group
	logins.Put(login)
	if err := logins.Save(); err != nil {
		return client.Login{}, err
	}
	if before.TokenID != "" {
		_ = revoke(ctx, before) // it ends by itself
	}
	return login, nil
}

// seesGroup is an error for a group that does not exist, or that the login may not see.
func seesGroup(ctx context.Context, login client.Login, group string) error {
	if group == "" {
		return nil
	}
	c, err := client.New(client.Options{Server: login.Server, Token: login.Token})
	if err != nil {
		return err
	}
	return c.Call(ctx, http.MethodGet, "/groups/"+url.PathEscape(group), nil, nil)
}

// keep checks a token that somebody made elsewhere.
func keep(ctx context.Context, server, token string) (client.Login, error) {
	c, err := client.New(client.Options{Server: server, Token: token})
	if err != nil {
		return client.Login{}, err
	}
	who, err := c.Whoami(ctx)
	if err != nil {
		return client.Login{}, err
	}
	return client.Login{Server: server, User: who.Name, Token: token, MadeAt: time.Now().UTC()}, nil
}

// exchange makes a token with what o has.
func exchange(ctx context.Context, o client.Options) (client.Login, error) {
	c, err := client.New(o)
	if err != nil {
		return client.Login{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	now := time.Now().UTC()
	// A name is taken until its token is revoked, and one person may be logged in at several machines and renew at any time.
	t, err := c.CreateToken(ctx, "", "login on "+host+" "+rand.Text()[:8], now.Add(loginLife))
	if err != nil {
		return client.Login{}, err
	}
	return client.Login{Server: o.Server, User: t.User, Token: t.Text, TokenID: t.ID, MadeAt: now, ExpiresAt: t.ExpiresAt}, nil
}

// renewed returns the login with a new token if its own is due, and revokes the old one. A server that cannot be reached
// leaves it as it is: the token is good for a while.
func renewed(ctx context.Context, logins *client.Logins, login client.Login) client.Login {
	if !login.Due(time.Now()) {
		return login
	}
	fresh, err := exchange(ctx, client.Options{Server: login.Server, Token: login.Token})
	if err != nil {
		return login
	}
	current := logins.Current
	fresh.Group = login.Group
	logins.Put(fresh)
	logins.Current = current
	if err := logins.Save(); err != nil {
		return login
	}
	_ = revoke(ctx, login) // it ends by itself soon
	return fresh
}

// revoke ends a token that a login made.
func revoke(ctx context.Context, login client.Login) error {
	if login.TokenID == "" {
		return nil
	}
	c, err := client.New(client.Options{Server: login.Server, Token: login.Token})
	if err != nil {
		return err
	}
	return c.RevokeToken(ctx, "", login.TokenID)
}

func newLogoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout [SERVER]", Short: "Forget a login and revoke its token", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			logins, err := readLogins()
			if err != nil {
				return err
			}
			server := logins.Current
			if len(args) > 0 {
				server = args[0]
			}
			if server == "" {
				return errors.New("you are not logged in")
			}
			login, err := logins.Find(server)
			if err != nil {
				return err
			}
			logins.Drop(login.Server)
			if err := logins.Save(); err != nil {
				return err
			}
			if err := revoke(cmd.Context(), login); err != nil {
				return fmt.Errorf("the login is forgotten here, but its token %s is not revoked: %w", login.TokenID, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "logged out of %s\n", login.Server)
			return nil
		},
	}
}

func newWhoamiCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "whoami", Short: "Tell who the server takes you for", Args: cobra.NoArgs}
	connect, show := clientFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		who, err := c.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), who, who.Name); done || err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s at %s\n", who.Name, c.Where())
		return nil
	}
	return cmd
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/weir-registry/weir/internal/client"
)

// credentialHelper is the name under which the binary is docker's credential helper "weir": a link to weir on PATH.
const credentialHelper = "docker-credential-weir"

// isCredentialHelper reports whether the program was started as the credential helper.
func isCredentialHelper(program string) bool {
	return strings.TrimSuffix(filepath.Base(program), ".exe") == credentialHelper
}

// credential is what goes over the pipe (docker-credential-helpers, README, "Development").
type credential struct {
	ServerURL string
	Username  string
	Secret    string
}

// noCredential is the answer that docker knows as "nothing is stored for this server".
const noCredential = "credentials not found in native keychain" //nolint:gosec // a message

// helpWithCredentials speaks the protocol of docker's credential helpers: one verb, standard input and output. Errors go to
// standard output, where docker looks for them.
func helpWithCredentials(ctx context.Context, args []string, in io.Reader, out io.Writer) int {
	err := errors.New("usage: " + credentialHelper + " get|store|erase|list; docker runs it")
	if len(args) == 1 {
		err = credentialVerb(ctx, args[0], io.LimitReader(in, 64<<10), out)
	}
	if err == nil {
		return 0
	}
	if errors.Is(err, client.ErrNoLogin) {
		fmt.Fprintln(out, noCredential)
		return 1
	}
	fmt.Fprintln(out, err)
	return 1
}

func credentialVerb(ctx context.Context, verb string, in io.Reader, out io.Writer) error {
	logins, err := readLogins()
	if err != nil {
		return err
	}
	if verb == "list" {
		users := map[string]string{}
		for server, l := range logins.Servers {
			users[server] = l.User
		}
		return json.NewEncoder(out).Encode(users)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	if verb == "store" {
		return storeCredential(ctx, text)
	}
	login, err := logins.Find(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	switch verb {
	case "get":
		login = renewed(ctx, logins, login)
		return json.NewEncoder(out).Encode(credential{ServerURL: strings.TrimSpace(string(text)), Username: login.User, Secret: login.Token})
	case "erase":
		logins.Drop(login.Server)
		if err := logins.Save(); err != nil {
			return err
		}
		_ = revoke(ctx, login) // docker shows no warnings of helpers; the token ends by itself
		return nil
	}
	return fmt.Errorf("%s knows get, store, erase and list, not %q", credentialHelper, verb)
}

// storeCredential is the end of a `docker login`: a password becomes a token, so that no password is kept.
func storeCredential(ctx context.Context, text []byte) error {
	var c credential
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("read the credential: %w", err)
	}
	server, err := client.ServerAddress(c.ServerURL)
	if err != nil {
		return err
	}
	_, err = logIn(ctx, server, c.Username, c.Secret, "")
	return err
}

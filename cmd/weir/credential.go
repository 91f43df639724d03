package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

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
			if l.Docker != nil {
				users[server] = l.Docker.User
			}
		}
		return json.NewEncoder(out).Encode(users)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	if verb == "store" {
		return storeCredential(ctx, logins, text)
	}
	login, err := logins.Find(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	switch verb {
	case "get":
		c := credential{ServerURL: strings.TrimSpace(string(text))}
		if login.Docker != nil {
			i := renewedIdentity(ctx, logins, login)
			c.Username, c.Secret = i.User, i.Secret
		} else {
			login = renewed(ctx, logins, login)
			c.Username, c.Secret = login.User, login.Token
		}
		return json.NewEncoder(out).Encode(c)
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

// storeCredential is the end of a `docker login`. Docker brings the refresh token that the server gave it ("identity token"), which ends
// with the password or token that was typed, so it is kept as it is, beside what `weir login` has left for commands; so is the token of a
// pipeline, which is no login of the API. Clients that bring a password get a token made of it, so that no password is kept.
func storeCredential(ctx context.Context, logins *client.Logins, text []byte) error {
	var c credential
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("read the credential: %w", err)
	}
	server, err := client.ServerAddress(c.ServerURL)
	if err != nil {
		return err
	}
	ends, signed := endOf(c.Secret)
	if c.Username != client.IdentityToken && !signed {
		_, err = logIn(ctx, server, c.Username, c.Secret, "")
		return err
	}
	if !signed {
		return errors.New("the identity token is not one of a Weir server")
	}
	login, err := logins.Find(server)
	if err != nil {
		login = client.Login{Server: server}
	}
	login.Docker = &client.DockerLogin{User: c.Username, Secret: c.Secret, MadeAt: time.Now().UTC(), ExpiresAt: ends}
	logins.Servers[login.Server] = login
	return logins.Save()
}

// renewedIdentity returns docker's login with a new refresh token if its own is due. A server that gives none leaves it as it is.
func renewedIdentity(ctx context.Context, logins *client.Logins, login client.Login) client.DockerLogin {
	i := *login.Docker
	if !i.Due(time.Now()) {
		return i
	}
	fresh, err := client.Refresh(ctx, login.Server, i.Secret)
	if err != nil {
		return i
	}
	ends, _ := endOf(fresh)
	login.Docker = &client.DockerLogin{User: i.User, Secret: fresh, MadeAt: time.Now().UTC(), ExpiresAt: ends}
	logins.Servers[login.Server] = login
	if err := logins.Save(); err != nil {
		return i
	}
	return *login.Docker
}

// endOf is when a signed token (RFC 7519) ends, zero if it does not say; false for what is none. Who signed it is the server's business.
func endOf(text string) (time.Time, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || !strings.HasPrefix(text, "eyJ") {
		return time.Time{}, false
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return time.Time{}, false
	}
	if claims.Expiry <= 0 || claims.Expiry > 1<<40 {
		return time.Time{}, true
	}
	return time.Unix(int64(claims.Expiry), 0).UTC(), true
}

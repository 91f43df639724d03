package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Login is what `weir login` keeps for one server.
type Login struct {
	Server    string       `json:"server"` // such as https://weir.example.com
	User      string       `json:"user"`
	Token     string       `json:"token"`
	TokenID   string       `json:"token_id,omitempty"` // of a token that the login made and may renew and revoke; empty: it was given one
	MadeAt    time.Time    `json:"made_at"`
	ExpiresAt *time.Time   `json:"expires_at,omitempty"`
	Group     string       `json:"group,omitempty"` // that commands are about unless they are told
	Docker    *DockerLogin `json:"docker,omitempty"`
}

// DockerLogin is what a `docker login` left with the credential helper, for docker alone: the refresh token that the server gave it for
// the password or token that somebody typed, or the token of a pipeline. It goes before Token.
type DockerLogin struct {
	User      string    `json:"user"` // IdentityToken for a refresh token
	Secret    string    `json:"secret"`
	MadeAt    time.Time `json:"made_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// IdentityToken is the user name that tells docker and its kin that the secret is a refresh token.
const IdentityToken = "<token>"

// Due reports whether a refresh token is in the last third of its life, when another should be asked for.
func (i DockerLogin) Due(now time.Time) bool {
	return i.User == IdentityToken && !i.ExpiresAt.IsZero() && now.After(i.ExpiresAt.Add(-i.ExpiresAt.Sub(i.MadeAt)/3))
}

// Due reports whether the login's own token is in the last third of its life, when it should be renewed.
func (l Login) Due(now time.Time) bool {
	if l.TokenID == "" || l.ExpiresAt == nil {
		return false
	}
	return now.After(l.ExpiresAt.Add(-l.ExpiresAt.Sub(l.MadeAt) / 3))
}

// Logins are the servers somebody is logged in at, and the one that commands talk to unless they are told.
type Logins struct {
	Current string           `json:"current,omitempty"`
	Servers map[string]Login `json:"servers,omitempty"` // by Server
	path    string
}

// ErrNoLogin is returned for a server that nobody is logged in at.
var ErrNoLogin = errors.New("not logged in")

// LoginsPath is the file of the logins: logins.json in $WEIR_CONFIG_HOME, else in weir below the user's configuration folder.
func LoginsPath() (string, error) {
	folder := os.Getenv("WEIR_CONFIG_HOME")
	if folder == "" {
		home, err := os.UserConfigDir()
		if err != nil {
			return "", fmt.Errorf("find the folder for logins (WEIR_CONFIG_HOME names one): %w", err)
		}
		folder = filepath.Join(home, "weir")
	}
	return filepath.Join(folder, "logins.json"), nil
}

// ReadLogins reads the file at path. A file that is not there holds none.
func ReadLogins(path string) (*Logins, error) {
	l := &Logins{path: path}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the logins: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(text, l); err != nil {
			return nil, fmt.Errorf("%s is damaged (%w); remove it and log in again", path, err)
		}
	}
	if l.Servers == nil {
		l.Servers = map[string]Login{}
	}
	return l, nil
}

// Save replaces the file, which only its owner may read.
func (l *Logins) Save() error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	folder := filepath.Dir(l.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("save the logins: %w", err)
	}
	f, err := os.CreateTemp(folder, ".logins-*") // mode 0600
	if err != nil {
		return fmt.Errorf("save the logins: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), l.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("save the logins: %w", err)
	}
	return nil
}

// Find returns the login for a server as people and docker write it: a URL, or a host with or without port. ErrNoLogin.
func (l *Logins) Find(server string) (Login, error) {
	if login, ok := l.Servers[server]; ok {
		return login, nil
	}
	if address, err := ServerAddress(server); err == nil {
		if login, ok := l.Servers[address]; ok {
			return login, nil
		}
		host := hostOf(address)
		for _, login := range l.Servers {
			if hostOf(login.Server) == host {
				return login, nil
			}
		}
	}
	return Login{}, fmt.Errorf("%w at %s: run `weir login %s`", ErrNoLogin, server, server)
}

// Put adds or replaces a login and makes it the current one.
func (l *Logins) Put(login Login) {
	l.Servers[login.Server] = login
	l.Current = login.Server
}

// Drop forgets a login. If it was the current one, there is none then.
func (l *Logins) Drop(server string) {
	delete(l.Servers, server)
	if l.Current == server {
		l.Current = ""
	}
}

// ServerAddress completes what people type: "weir.example.com" is https, a loopback address with a port is http, a path is cut.
func ServerAddress(text string) (string, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		scheme := "https://"
		if loopback(text) {
			scheme = "http://"
		}
		text = scheme + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return "", errors.New("want the server's address, such as https://weir.example.com")
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && a.IsLoopback()
}

func hostOf(address string) string {
	_, host, _ := strings.Cut(address, "://")
	return host
}

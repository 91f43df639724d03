// Package client is the command line's side of the API: it reads the files of `weir apply` and calls /api/v1, by the unix socket
// in the server's data folder or over the network with a token. It opens no store.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// SocketName is the unix socket in the data folder of a running server.
const SocketName = "weir.sock"

// ErrNoServer is returned when nothing answers at the address.
var ErrNoServer = errors.New("no server answers")

// Options say where the server is.
type Options struct {
	Server         string // URL, such as https://weir.example.com; empty: the unix socket in Data
	Token          string // sent with requests to Server
	User, Password string // sent instead of a Token, to make one
	Data           string // data folder of a server on this machine
	Group          string // that calls are about by default
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base, token, where string
	user, password     string
	group              string
	http               *http.Client
}

const maxAnswer = 64 << 20 // bytes

// New returns a client. It connects with the first call.
func New(o Options) (*Client, error) {
	if o.Server == "" {
		return local(filepath.Join(o.Data, SocketName)), nil
	}
	u, err := url.Parse(o.Server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("the server's address must be a URL such as https://weir.example.com, without user name and query")
	}
	c := &http.Client{
		Timeout: 5 * time.Minute,
		// A redirect must not carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{base: strings.TrimRight(o.Server, "/") + prefix, token: o.Token, user: o.User, password: o.Password, where: o.Server, group: o.Group, http: c}, nil
}

const prefix = "/api/v1"

func local(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{
		base: "http://weir" + prefix, where: socket,
		http: &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// Where is the server's address, or the socket, for people.
func (c *Client) Where() string { return c.where }

// DefaultGroup is the group that calls are about unless told; empty for none.
func (c *Client) DefaultGroup() string { return c.group }

// Problem is an error that the server answered (RFC 9457).
type Problem struct {
	Status int           `json:"status"`
	Title  string        `json:"title"`
	Detail string        `json:"detail"`
	Errors []ProblemPart `json:"errors"`
}

// ProblemPart is one of several reasons.
type ProblemPart struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

// Error implements error: the detail, then every part on a line of its own.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		fmt.Fprintf(&b, "the server answered %d %s", p.Status, p.Title)
	}
	for _, e := range p.Errors {
		b.WriteString("\n  ")
		if e.Location != "" {
			b.WriteString(e.Location + ": ")
		}
		b.WriteString(e.Message)
	}
	return b.String()
}

// Call sends in as JSON (nil: no body) and decodes the answer into out (nil: none expected). *Problem, ErrNoServer.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var content io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	response, err := c.send(ctx, c.http, method, path, content)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.where, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the answer of %s: %w", c.where, err)
	}
	return nil
}

// send sends a request and returns a good answer, whose body the caller closes.
func (c *Client) send(ctx context.Context, h *http.Client, method, path string, content io.Reader) (*http.Response, error) {
	return c.sendWith(ctx, h, method, path, content, http.Header{})
}

func (c *Client) sendWith(ctx context.Context, h *http.Client, method, path string, content io.Reader, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	r.Header = header
	if header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, application/problem+json")
	r.Header.Set("User-Agent", "weir-cli")
	switch {
	case c.token != "":
		r.Header.Set("Authorization", "Bearer "+c.token)
	case c.password != "":
		r.SetBasicAuth(c.user, c.password)
	}
	response, err := h.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.where, err)
	}
	p := &Problem{Status: response.StatusCode, Title: http.StatusText(response.StatusCode)}
	_ = json.Unmarshal(answer, p) // what is no problem document has the status alone
	return nil, p
}

func (c *Client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: only the user who runs the server may use its socket; or use --server with WEIR_TOKEN: %w", c.where, err)
	}
	hint := "is it running? --data names its data folder, --server its address"
	return fmt.Errorf("%w at %s (%s): %w", ErrNoServer, c.where, hint, err)
}

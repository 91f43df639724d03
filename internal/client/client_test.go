package client_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
)

func newClient(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "weir") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, client.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a token was sent to the socket")
		}
		_, _ = w.Write([]byte(`{"version": "` + r.URL.Path + `"}`))
	})}}
	s.Start()
	t.Cleanup(s.Close)
	version, err := newClient(t, client.Options{Data: dir}).Version(t.Context())
	if err != nil || version != "/api/v1/version" {
		t.Errorf("%q %v", version, err)
	}
}

func TestServer(t *testing.T) {
	var body map[string]any
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer weir_x" {
			t.Errorf("token %q", r.Header.Get("Authorization"))
		}
		switch r.URL.Path {
		case "/api/v1/apply":
			body = nil
			_ = json.NewDecoder(r.Body).Decode(&body)
			_, _ = w.Write([]byte(`{"applied": true, "text": "done", "changes": []}`))
		case "/api/v1/groups/a/declaration":
			http.Redirect(w, r, "http://elsewhere.test/", http.StatusFound)
		case "/api/v1/tokens":
			if r.URL.Query().Get("user") != "a b" {
				t.Errorf("query %q", r.URL.RawQuery)
			}
			_, _ = w.Write([]byte(`{"items": [{"id": "1"}]}`))
		default:
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"status": 422, "detail": "bad", "errors": [{"location": "l", "message": "m"}]}`))
		}
	}))
	t.Cleanup(s.Close)
	c := newClient(t, client.Options{Server: s.URL + "/", Token: "weir_x"})
	password := desired.Password("s3cret")
	d := desired.Document{Groups: []desired.Group{{Name: "a", Credentials: []desired.Credential{{Name: "c", Password: &password}}}}}
	out, err := c.Apply(t.Context(), d, true, false)
	if err != nil || !out.Applied || body["prune"] != true || body["dry_run"] != nil {
		t.Errorf("%+v %v %v", out, body, err)
	}
	if sent, _ := json.Marshal(body); !strings.Contains(string(sent), "s3cret") {
		t.Errorf("the secret was not sent: %s", sent)
	}
	if tokens, err := client.All[client.Token](t.Context(), c, "/tokens?user=a+b"); err != nil || len(tokens) != 1 {
		t.Error(tokens, err)
	}
	var problem *client.Problem
	if _, err := c.Group(t.Context(), "a"); !errors.As(err, &problem) || problem.Status != http.StatusFound {
		t.Errorf("a redirect was followed: %v", err)
	}
	if _, err := c.Version(t.Context()); !errors.As(err, &problem) || problem.Error() != "bad\n  l: m" {
		t.Errorf("got %v", err)
	}
}

func TestNoServer(t *testing.T) {
	_, err := newClient(t, client.Options{Data: t.TempDir()}).Version(t.Context())
	if !errors.Is(err, client.ErrNoServer) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("got %v", err)
	}
	for _, server := range []string{"weir.example.com", "ftp://x", "https://u:p@x", "https://x?y"} {
		if _, err := client.New(client.Options{Server: server}); err == nil {
			t.Errorf("%s is accepted", server)
		}
	}
}

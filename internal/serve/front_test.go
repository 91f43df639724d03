package serve

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// logged collects access lines.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) lines(t *testing.T) (out []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func newLogged() (*logged, *slog.Logger) {
	l := &logged{}
	return l, slog.New(slog.NewJSONHandler(l, nil))
}

type counter struct {
	mu     sync.Mutex
	now    int
	routes []string
}

func (c *counter) InFlight(delta int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += delta
}

func (c *counter) Request(route, method string, status int, _ time.Duration, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.routes = append(c.routes, strings.Join([]string{route, method, http.StatusText(status)}, " "))
}

func TestAccessLine(t *testing.T) {
	out, log := newLogged()
	seen := &counter{}
	h := NewFront(Options{Log: log, Observer: seen}).Handle("distribution", func(w http.ResponseWriter, r *http.Request) error {
		info := FromContext(r.Context())
		info.SetPrincipal("ann")
		info.SetOperation("manifest")
		info.SetReference("3.20")
		registry.TraceFrom(r.Context()).Update(func(v *registry.TraceValues) {
			*v = registry.TraceValues{Group: "acme", Registry: "hub", Repository: "library/alpine", Member: "dockerhub",
				Cache: registry.CacheStale, UpstreamTime: time.Second, DecisionID: "d1"}
		})
		_, err := w.Write([]byte("hello"))
		return err
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/acme/hub/library/alpine/manifests/3.20?token=query-secret", nil)
	r.Header.Set("Authorization", "Bearer header-secret")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)

	lines := out.lines(t)
	if len(lines) != 1 {
		t.Fatalf("%d lines, want one", len(lines))
	}
	for key, want := range map[string]any{
		"msg": "request", "id": w.Header().Get("X-Request-Id"), "route": "distribution.manifest", "method": "GET", "status": 200.0, "bytes": 5.0,
		"path": "/v2/acme/hub/library/alpine/manifests/3.20", "principal": "ann", "group": "acme", "registry": "hub", "repository": "library/alpine",
		"reference": "3.20", "member": "dockerhub", "cache": "stale", "upstream_ms": 1000.0, "decision": "d1", "client": "192.0.2.1",
	} {
		if lines[0][key] != want {
			t.Errorf("%s: %v, want %v", key, lines[0][key], want)
		}
	}
	if strings.Contains(out.buf.String(), "secret") {
		t.Errorf("a secret in the log: %s", out.buf.String())
	}
	if !slices.Equal(seen.routes, []string{"distribution.manifest GET OK"}) || seen.now != 0 {
		t.Errorf("observed %v, %d in flight", seen.routes, seen.now)
	}
}

func TestPanic(t *testing.T) {
	out, log := newLogged()
	f := NewFront(Options{Log: log})
	mux := http.NewServeMux()
	mux.Handle("/early", f.Handle("d", func(http.ResponseWriter, *http.Request) error { panic("secret state") }))
	mux.Handle("/late", f.Handle("d", func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("begin"))
		w.(http.Flusher).Flush()
		panic("late")
	}))
	mux.Handle("/late-error", f.Handle("d", func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("begin"))
		return errors.New("late")
	}))
	s := httptest.NewServer(mux)
	defer s.Close()
	resp, err := http.Get(s.URL + "/early")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 500 || bytes.Contains(b, []byte("secret")) || !bytes.Contains(b, []byte(resp.Header.Get("X-Request-Id"))) {
		t.Errorf("early: %s %s", resp.Status, b)
	}
	for _, path := range []string{"/late", "/late-error"} {
		resp, err := http.Get(s.URL + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the response looks complete", path)
		}
	}
	s.Close() // every line is written then
	if n := strings.Count(out.buf.String(), `"msg":"request"`); n != 3 {
		t.Errorf("%d access lines, want 3:\n%s", n, out.buf.String())
	}
}

func TestIdentify(t *testing.T) {
	f := NewFront(Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	for _, c := range []struct {
		name, peer               string
		header                   http.Header
		client, scheme, host, id string
		forwarded                bool
	}{
		{"direct", "192.0.2.9:1", nil, "192.0.2.9", "http", "weir.test", "", false},
		{"lies are not believed", "192.0.2.9:1", http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil"}, "X-Request-Id": {"mine"}},
			"192.0.2.9", "http", "weir.test", "", true},
		{"proxy", "10.1.1.1:1", http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"hub.test"}, "X-Request-Id": {"abc-1"}},
			"198.51.100.7", "https", "hub.test", "abc-1", true},
		{"two proxies and a forged hop", "10.1.1.1:1", http.Header{"X-Forwarded-For": {"1.1.1.1, 198.51.100.7", "10.9.9.9:80"}}, "198.51.100.7", "http", "weir.test", "", true},
		{"only proxies", "[::1]:9", http.Header{"X-Forwarded-For": {"10.0.0.2"}}, "10.0.0.2", "http", "weir.test", "", true},
		{"nonsense", "10.1.1.1:1", http.Header{"X-Forwarded-For": {"unknown"}, "X-Forwarded-Proto": {"gopher"}, "X-Forwarded-Host": {"a/b"}, "X-Request-Id": {"a b"}},
			"10.1.1.1", "http", "weir.test", "", true},
		{"unix socket", "@", http.Header{"X-Forwarded-For": {"1.2.3.4"}}, "invalid IP", "http", "weir.test", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.peer, Host: "weir.test", Header: c.header}
			i := &Info{}
			f.identify(i, r, nil)
			if i.Client.String() != c.client || i.Scheme != c.scheme || i.Host != c.host || i.Forwarded != c.forwarded {
				t.Errorf("%s %s %s %v", i.Client, i.Scheme, i.Host, i.Forwarded)
			}
			if c.id != "" && i.ID != c.id || c.id == "" && len(i.ID) != 26 {
				t.Errorf("id %q", i.ID)
			}
		})
	}
}

// spyListener sees what is given to the connection's ReadFrom, where net decides about sendfile.
type spyListener struct {
	net.Listener
	files *int64
}

type spyConn struct {
	*net.TCPConn
	files *int64
}

func (l spyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return spyConn{c.(*net.TCPConn), l.files}, nil
}

func (c spyConn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	n, err := c.TCPConn.ReadFrom(r)
	if ok {
		if _, isFile := limited.R.(*os.File); isFile {
			*c.files += n
		}
	}
	return n, err
}

// TestSendfile proves that a file reaches the TCP connection as a file, through the wrapper and in several chunks.
func TestSendfile(t *testing.T) {
	const size = 3*sendChunk + 17
	content := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, log := newLogged()
	h := NewFront(Options{Log: log}).Handle("d", func(w http.ResponseWriter, _ *http.Request) error {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, err = io.Copy(w, io.LimitReader(file, size))
		return err
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var files int64
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = spyListener{l, &files}
	s.Start()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	s.Close() // before files is read: the handler has ended
	if err != nil || !bytes.Equal(b, content) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if files < size-1024 { // net/http copies the first 512 bytes itself
		t.Errorf("%d of %d bytes went out as a file", files, size)
	}
	if line := out.lines(t)[0]; line["bytes"] != float64(size) {
		t.Errorf("logged %v bytes", line["bytes"])
	}
}

// TestFollow proves that a client sees what a slow source has, while it waits for more.
func TestFollow(t *testing.T) {
	pr, pw := io.Pipe()
	h := NewFront(Options{}).Handle("d", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "10")
		_, err := io.Copy(w, io.LimitReader(pr, 10))
		return err
	})
	s := httptest.NewServer(h)
	defer s.Close()
	go func() { _, _ = pw.Write([]byte("first")) }()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	five := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, five); err != nil || string(five) != "first" {
		t.Fatalf("%q %v", five, err)
	}
	go func() { _, _ = pw.Write([]byte("later")) }()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "later" {
		t.Fatalf("%q %v", b, err)
	}
}

func TestForwarded(t *testing.T) {
	for line, want := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n":                           false,
		"GET / HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 squid\r\n\r\n":         true,
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Port: 443\r\n\r\n":  true,
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For:\r\n\r\n":       true,
		"GET / HTTP/1.0\r\nHost: 127.0.0.1:5000\r\nConnection: close\r\n\r\n": true, // nginx with nothing but a proxy_pass
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line)))
		if err != nil {
			t.Fatal(err)
		}
		info := &Info{}
		if NewFront(Options{}).identify(info, r, nil); info.Forwarded != want {
			t.Errorf("%q: %v, want %v", line, info.Forwarded, want)
		}
	}
}

// TestRefusedBody: a client whose connection ends with the request sees why it was refused, however much it still had to send.
func TestRefusedBody(t *testing.T) {
	f := NewFront(Options{})
	srv := httptest.NewServer(f.Handle("test", func(http.ResponseWriter, *http.Request) error {
		return oci.NewError(oci.CodeDenied, "no")
	}))
	defer srv.Close()
	for _, size := range []int{1, 100_000, 3 << 20} {
		for range 30 {
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			// All of it is sent before the answer is read, as proxies do.
			_, err = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			answer, err := io.ReadAll(c)
			if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 403")) || !bytes.Contains(answer, []byte(`"no"`)) {
				t.Fatalf("%d bytes: %q, %v", size, answer, err)
			}
			_ = c.Close()
		}
	}
}

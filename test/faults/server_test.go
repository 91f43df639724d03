package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/test/stack"
)

// server is a server with an open hosted group "acme" and a look at its metrics.
type server struct {
	*stack.Process
	ops string
}

const openGroup = `groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}]}]`

// start starts a server whose administrator is the caller of every request.
func start(t *testing.T, env ...string) *server {
	t.Helper()
	s := &server{ops: freeAddress(t)}
	s.Process = stack.StartProcess(t, append([]string{"WEIR_OPS_LISTEN=" + s.ops}, env...)...)
	s.Token = s.NewToken(t, "admin")
	return s
}

// address is where the server listens.
func (s *server) address() string { return strings.TrimPrefix(s.URL, "http://") }

// metrics are the present values, by name with labels; families are summed under their bare names too.
func (s *server) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.ops+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("metrics: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			name, value = lines.Text()[:i], lines.Text()[i+1:]
		}
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil || strings.HasPrefix(name, "#") {
			continue
		}
		out[name] = v
		if bare, _, labels := strings.Cut(name, "{"); labels {
			out[bare] += v
		}
	}
	return out
}

// eventually waits until a condition holds, as it must soon; the long limit only keeps a failing test from hanging.
func eventually(t *testing.T, what string, holds func() (state string, ok bool)) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		state, ok := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: %s", what, state)
			return
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// quiet waits until nothing of earlier requests is left: no request in flight, and no more goroutines and open files than before.
func (s *server) quiet(t *testing.T, before map[string]float64) {
	t.Helper()
	const slack = 24 // readers of the database (4, each with 2 files), connections to upstreams and of the client come and go; who leaks does so per request
	eventually(t, "something is left of earlier requests", func() (string, bool) {
		now := s.metrics(t)
		state, ok := "", now["weir_http_requests_in_flight"] == 0
		for _, name := range []string{"weir_http_requests_in_flight", "go_goroutines", "process_open_fds"} {
			state += fmt.Sprintf("%s %v (before %v) ", name, now[name], before[name])
			ok = ok && now[name] <= before[name]+slack
		}
		return state, ok
	})
}

// stages are the staged files of uploads and fills.
func (s *server) stages(t *testing.T) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Data, "blobs", "stage"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil // a stage may go at any time
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dial opens a connection.
func (s *server) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.address())
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return c.(*net.TCPConn)
}

// request is a request as it goes over the line. The connection is closed after its answer.
func (s *server) request(method, path string, body []byte, header ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer %s\r\n", method, path, s.address(), s.Token)
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return append([]byte(b.String()+"\r\n"), body...)
}

// answer sends a request and returns all of the answer.
func (s *server) answer(t *testing.T, request []byte) []byte {
	t.Helper()
	c := s.dial(t)
	defer func() { _ = c.Close() }()
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

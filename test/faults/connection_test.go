package faults

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestIdleConnections keeps 10,000 connections (2,000 in the short form) open that do nothing but hold what they have, and works beside
// them.
func TestIdleConnections(t *testing.T) {
	s := start(t) // not in parallel with others: it measures memory, and takes most of the descriptors there are
	s.Apply(t, openGroup)
	image := registrytest.RandomImage(1, 1, 100_000)
	s.Push(t, "acme/app", []string{"1"}, image)
	before := s.metrics(t)
	want := 2000
	if faultTime(t, 0) > 0 {
		want = 10_000
	}
	n := min(want, descriptors(t)*5/8)
	if n < want {
		t.Logf("only %d connections: no more file descriptors are allowed here", n)
	}
	idle := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range idle {
			_ = c.Close()
		}
	}()
	hello := []byte("GET /healthz-not-here HTTP/1.1\r\nHost: x\r\n\r\n") // answered, and then silent
	for range n {
		c := s.dial(t)
		idle = append(idle, c)
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range idle {
		if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
			t.Fatalf("a connection was not served: %v", err)
		}
	}
	during := s.metrics(t)
	s.Pull(t, "acme/app", "1", image)
	s.Push(t, "acme/app", []string{"2"}, image)
	if during["process_open_fds"] < before["process_open_fds"]+float64(n)-10 {
		t.Errorf("%v files open, %v before: where are the connections?", during["process_open_fds"], before["process_open_fds"])
	}
	rss := during["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]
	t.Logf("%d idle connections: %.1f KiB of memory each, %.0f MiB in all", n, rss/1024/float64(n), during["process_resident_memory_bytes"]/(1<<20))
	if rss/float64(n) > 64<<10 {
		t.Errorf("an idle connection costs %.0f bytes", rss/float64(n))
	}
	for _, c := range idle {
		_ = c.Close()
	}
	idle = nil
	s.quiet(t, before)
}

// descriptors is how many files this process may open; a server that it starts has the same bound.
func descriptors(t *testing.T) int {
	t.Helper()
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return int(min(l.Cur, 1<<20))
}

// TestSlowClients drips requests. Headers have ten seconds, whatever comes; a body must move, or the request ends within a
// minute or so (only tried in the long form: FAULT_TIME). A client that is merely slow gets its upload through.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Apply(t, openGroup)
	image := registrytest.RandomImage(1, 1, 100_000)
	s.Push(t, "acme/app", []string{"1"}, image)
	before := s.metrics(t)
	b := registrytest.RandomBlob(5, 400)
	put := s.request("POST", "/v2/acme/app/blobs/uploads/?digest="+string(b.Digest), b.Bytes())
	long := s.request("GET", "/v2/", nil, "X-Padding", strings.Repeat("x", 4000))
	var work sync.WaitGroup
	for range 50 {
		work.Go(func() {
			if answer, ended := s.drip(t, long, 100*time.Millisecond, time.Minute); !ended {
				t.Errorf("a client that drips its headers is still connected after a minute: %q", answer)
			}
		})
	}
	work.Go(func() {
		answer, ended := s.drip(t, put, 5*time.Millisecond, time.Minute)
		if !ended || !strings.HasPrefix(answer, "HTTP/1.1 201") {
			t.Errorf("a slow upload: %.100q", answer)
		}
	})
	if faultTime(t, 0) > 0 {
		work.Go(func() {
			if answer, ended := s.drip(t, append(put[:len(put)-400:len(put)-400], make([]byte, 400)...), 500*time.Millisecond, 3*time.Minute); !ended || strings.HasPrefix(answer, "HTTP/1.1 2") {
				t.Errorf("a client that drips a body: %q", answer)
			}
		})
	}
	s.Pull(t, "acme/app", "1", image)
	work.Wait()
	s.quiet(t, before)
	if n := s.stages(t); n != 0 {
		t.Errorf("%d staged files are left", n)
	}
}

// drip sends a request a byte at a time until the server answers or ends the connection, which ended tells, or for long.
func (s *server) drip(t *testing.T, request []byte, every, long time.Duration) (answer string, ended bool) {
	c := s.dial(t)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(long))
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range request {
			if _, err := c.Write(request[i : i+1]); err != nil {
				return
			}
			select {
			case <-done:
				return
			case <-time.After(every):
			}
		}
	})
	text, err := io.ReadAll(c)
	close(done)
	writing.Wait()
	return string(text), err == nil || !os.IsTimeout(err)
}

// TestDescriptors takes the file descriptors away while the server runs: it goes on accepting when there are some again, answers what
// it can, says "again" to the rest, and does not fill the log with it.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	s := start(t, "WEIR_LOG_LEVEL=info")
	s.Apply(t, openGroup)
	image := registrytest.RandomImage(1, 2, 100_000)
	s.Push(t, "acme/app", []string{"1"}, image)
	s.Pull(t, "acme/app", "1", image)
	before := s.metrics(t)

	s.LimitFiles(t, int(before["process_open_fds"])+20)
	var idle []net.Conn
	for range 40 { // more than there are descriptors: some wait to be accepted
		c := s.dial(t)
		idle = append(idle, c)
		if _, err := io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	first := make([]byte, 12)
	if _, err := io.ReadFull(idle[0], first); err != nil {
		t.Errorf("a connection that was open: %v", err)
	}
	s.Log.Find(t, "the trouble is told", func(l stack.Line) bool {
		return l["level"] == "WARN" && l["msg"] == "cannot accept connections; clients wait"
	})
	for _, c := range idle[:20] {
		_ = c.Close()
	}
	for _, b := range image.Blobs { // each needs a connection and a file, of the few that are left
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				a := s.Do(t, "GET", "acme/app/blobs/"+string(b.Digest))
				if a.Err != nil || a.Status != 200 && (a.Status != 503 || a.Header.Get("Retry-After") == "") {
					t.Errorf("with few descriptors: %d, %v, %.200s", a.Status, a.Err, a.Body)
				}
			})
		}
		all.Wait()
	}
	for _, c := range idle {
		_ = c.Close()
	}
	s.LimitFiles(t, descriptors(t))
	eventually(t, "it works again", func() (string, bool) {
		a := s.Do(t, "GET", "acme/app/manifests/1")
		return fmt.Sprint(a.Status, a.Err), a.Status == 200
	})
	s.Pull(t, "acme/app", "1", image)
	s.Push(t, "acme/app", []string{"2"}, registrytest.RandomImage(2, 2, 100_000))
	if n := strings.Count(s.Log.String(), "cannot accept"); n > 3 {
		t.Errorf("%d lines about it in the log", n)
	}
	s.quiet(t, before)
}

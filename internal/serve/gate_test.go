package serve

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMaxConnections(t *testing.T) {
	log, logger := newLogged()
	s := NewServer(ServerOptions{Log: logger, MaxConnections: 2})
	l := listen(t)
	entered, release := make(chan struct{}), make(chan struct{})
	s.Add("main", l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			entered <- struct{}{}
			<-release
		}
		_, _ = w.Write([]byte("done"))
	}), nil)
	stop, done := running(s)
	get := func(path string) { // on a connection of its own, which stays open
		resp, err := (&http.Client{Transport: &http.Transport{}}).Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		if b, _ := io.ReadAll(resp.Body); string(b) != "done" {
			t.Errorf("%s: %q", path, b)
		}
	}
	for range 5 {
		get("/") // idle connections make room
	}
	var busy, late sync.WaitGroup
	for range 2 {
		busy.Go(func() { get("/busy") })
		<-entered
	}
	answered := make(chan struct{})
	late.Go(func() { get("/"); close(answered) })
	select {
	case <-answered:
		t.Error("a third connection was served beside two busy ones")
	case <-time.After(100 * time.Millisecond): // it waits: nothing to see but that
	}
	close(release)
	busy.Wait()
	late.Wait()
	stop()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	warned := 0
	for _, line := range log.lines(t) {
		if line["level"] == "WARN" && strings.HasPrefix(line["msg"].(string), "as many connections") {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("%d warnings, want one a minute", warned)
	}
}

// exhausted is a listener of a process without file descriptors.
type exhausted struct {
	net.Listener
	fails int
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.fails > 0 {
		e.fails--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return e.Listener.Accept()
}

func TestAcceptWithoutDescriptors(t *testing.T) {
	var log bytes.Buffer
	g := newGate(&exhausted{listen(t), 3}, 1, slog.New(slog.NewTextHandler(&log, nil)))
	defer func() { _ = g.Close() }()
	for range 3 {
		if _, err := g.Accept(); !isTemporary(err) {
			t.Errorf("accept: %v", err)
		}
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	c, err := g.Accept()
	if err != nil {
		t.Fatalf("accept after the trouble: %v", err)
	}
	_ = c.Close()
	if n := strings.Count(log.String(), "cannot accept"); n != 1 {
		t.Errorf("%d warnings, want one a minute:\n%s", n, &log)
	}
}

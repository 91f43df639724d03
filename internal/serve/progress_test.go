package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// TestProgress: a client that goes on sending is served however long it takes, one that stops or only drips is cut off, and a handler
// that thinks longer than the deadline after the body is not disturbed.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const progress = time.Minute
		l := make(pipes)
		s := &http.Server{Handler: NewFront(Options{Progress: progress}).Handle("d", func(w http.ResponseWriter, r *http.Request) error {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return oci.NewError(oci.CodeSizeInvalid, "broke off").WithCause(err)
			}
			select { // longer than a deadline: a read deadline left behind would cancel the context
			case <-r.Context().Done():
				return r.Context().Err()
			case <-time.After(3 * progress / 2):
			}
			_, err = w.Write([]byte{byte('0' + n/minProgress)})
			return err
		})}
		go func() { _ = s.Serve(l) }()
		defer func() { _ = s.Close() }()
		client := &http.Client{Transport: &http.Transport{DialContext: l.dial}}
		defer client.CloseIdleConnections()

		slowly := func(piece []byte) (answer string) {
			pr, pw := io.Pipe()
			var sending sync.WaitGroup
			sending.Go(func() {
				for range 8 { // twice the deadline in all
					time.Sleep(progress / 4)
					_, _ = pw.Write(piece)
				}
				_ = pw.Close()
			})
			defer sending.Wait()
			resp, err := client.Post("http://weir.test/", "", pr)
			if err != nil {
				return err.Error()
			}
			defer func() { _ = resp.Body.Close() }()
			b, _ := io.ReadAll(resp.Body)
			return string(b)
		}
		if got := slowly(make([]byte, minProgress)); got != "8" {
			t.Errorf("slow but steady: %q", got)
		}
		if got := slowly([]byte("x")); got == "0" {
			t.Error("a client that drips is served as long as it likes")
		}

		conn, err := l.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(time.Hour)) // the test's own patience
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
			t.Errorf("silent: %q, %v; want the connection to end without success", answer, err)
		}
	})
}

// pipes is a listener whose connections are in memory, so that their time is that of synctest.
type pipes chan net.Conn

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p <- there
	return here, nil
}

// Accept implements net.Listener.
func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (p pipes) Close() error { close(p); return nil }

// Addr implements net.Listener.
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// TestSlowDownload: a file goes out in large pieces, but a client that takes only a part of one within the period is served on.
func TestSlowDownload(t *testing.T) {
	t.Parallel() // it takes some seconds: the sockets are real, and so is their time
	const progress, size, buffer = time.Second, 3 * sendChunk / 2, 16 << 10
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(NewFront(Options{Progress: progress}).Handle("d", func(w http.ResponseWriter, _ *http.Request) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, err = io.Copy(w, &io.LimitedReader{R: f, N: size})
		return err
	}))
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(buffer)
		return ctx
	}
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.(*net.TCPConn).SetReadBuffer(buffer)
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // the test's own patience
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var n int64
	for err == nil {
		var some int64
		some, err = io.CopyN(io.Discard, conn, sendChunk/16)
		n += some
		time.Sleep(progress / 6)
	}
	if !errors.Is(err, io.EOF) || n < size {
		t.Errorf("%d bytes of %d: %v", n, size, err)
	}
}

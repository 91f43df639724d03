package conformance_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/hosted"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/distribution"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
	"github.com/weir-registry/weir/test/conformance"
)

// open is a namespace of one group "g" in which everybody may do everything.
type open struct{ hosted *hosted.Registry }

func (o open) Resolve(_ context.Context, d distribution.Door) (distribution.Target, error) {
	local, ok := strings.CutPrefix(d.Name, "g/")
	if !ok {
		return distribution.Target{Path: d.Name}, oci.NewError(oci.CodeNameUnknown, "no such group")
	}
	return distribution.Target{Path: d.Name, Group: "g", Name: local, Registry: o.hosted}, nil
}

func (o open) Repositories(ctx context.Context, page registry.Page) (*registry.RepositoryList, error) {
	return o.hosted.Repositories(ctx, page)
}

func (o open) Authenticate(r *http.Request) (context.Context, registry.Caller, error) {
	return r.Context(), registry.Caller{PrincipalID: 1, Principal: "anybody", Accepted: true}, nil
}

func (o open) Authorize(context.Context, distribution.Action, distribution.Target) error { return nil }

func (o open) ForPush(context.Context, distribution.Target) bool { return false }

func (o open) Challenge(*http.Request, string, error) string { return "" }

func newHosted(t *testing.T, engine string) open {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // nothing here stops the machine, and flushing to a disk is slow
	}
	db := metatest.Open(t, engine)
	err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return tx.InsertGroup(ctx, query.InsertGroupParams{ID: 1, Name: "g", Enabled: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := fs.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := store.New(db, blobs, store.Options{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return open{hosted.New(s, 1, nil)}
}

func handler(o open) http.Handler {
	return serve.NewFront(serve.Options{}).Handle("distribution", distribution.New(distribution.Options{Namespace: o, Access: o}).Serve)
}

func TestHosted(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			s := httptest.NewServer(handler(newHosted(t, engine)))
			defer s.Close()
			conformance.Run(t, conformance.Config{URL: s.URL, Name: "g/test"})
		})
	}
}

// spy sees what reaches the connection's ReadFrom, where net decides about sendfile.
type spy struct {
	net.Listener
	files atomic.Int64
}

type spyConn struct {
	*net.TCPConn
	spy *spy
}

func (s *spy) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return spyConn{c.(*net.TCPConn), s}, nil
}

func (c spyConn) ReadFrom(r io.Reader) (int64, error) {
	limited, _ := r.(*io.LimitedReader)
	n, err := c.TCPConn.ReadFrom(r)
	if limited != nil {
		if _, ok := limited.R.(*os.File); ok {
			c.spy.files.Add(n)
		}
	}
	return n, err
}

// TestBlobsLeaveBySendfile goes the whole way from the blob store to the connection.
func TestBlobsLeaveBySendfile(t *testing.T) {
	o := newHosted(t, meta.SQLite)
	c := registrytest.RandomBlob(1, 3<<20)
	registrytest.PushBlob(t, o.hosted, "a", c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counting := &spy{Listener: l}
	s := httptest.NewUnstartedServer(handler(o))
	_ = s.Listener.Close()
	s.Listener = counting
	s.Start()
	defer s.Close()
	resp, err := http.Get(s.URL + "/v2/g/a/blobs/" + string(c.Digest))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !bytes.Equal(b, c.Bytes()) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	s.Close()
	if sent := counting.files.Load(); sent < c.Size-1024 { // net/http copies the first 512 bytes itself
		t.Errorf("%d of %d bytes went out as a file", sent, c.Size)
	}
}

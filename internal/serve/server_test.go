package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// running starts a server and returns how to stop it and wait for its result.
func running(s *Server) (stop context.CancelFunc, done <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx) }()
	return cancel, result
}

func TestShutdownFinishesTransfers(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := NewServer(ServerOptions{})
	l := listen(t)
	s.Add("main", l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = w.Write([]byte("whole"))
	}), nil)
	stop, done := running(s)
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got <- string(b)
	}()
	<-begun
	stop()
	for { // the listener closes while the transfer goes on
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
	}
	close(release)
	if b := <-got; b != "whole" {
		t.Errorf("transfer during shutdown: %q", b)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCancelsAtTheDeadline(t *testing.T) {
	begun, cause := make(chan struct{}), make(chan error, 1)
	s := NewServer(ServerOptions{Drain: 20 * time.Millisecond, Grace: 5 * time.Second})
	l := listen(t)
	s.Add("main", l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		cause <- context.Cause(r.Context())
	}), nil)
	stop, done := running(s)
	go func() {
		if resp, err := http.Get("http://" + l.Addr().String()); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-begun
	stop()
	if err := <-cause; !errors.Is(err, errDeadline) {
		t.Errorf("cancelled with %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	s := NewServer(ServerOptions{Drain: 10 * time.Millisecond, Grace: 10 * time.Millisecond})
	l := listen(t)
	s.Add("main", l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	}), nil)
	stop, done := running(s)
	go func() {
		if resp, err := http.Get("http://" + l.Addr().String()); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-begun
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListenerFailureEndsServe(t *testing.T) {
	s := NewServer(ServerOptions{})
	good, bad := listen(t), listen(t)
	_ = bad.Close()
	s.Add("good", good, http.NotFoundHandler(), nil)
	s.Add("bad", bad, http.NotFoundHandler(), nil)
	if err := s.Serve(t.Context()); err == nil {
		t.Error("no error")
	}
}

// writePair makes a certificate for 127.0.0.1 with the serial number.
func writePair(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "weir"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	later := time.Now().Add(time.Duration(serial) * time.Minute) // file times may be coarse
	_ = os.Chtimes(certFile, later, later)
	return certFile, keyFile
}

func TestCertificateReload(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	certFile, keyFile := writePair(t, dir, 1)
	c, err := LoadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ServerOptions{})
	l := listen(t)
	s.Add("main", l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Proto)) }), c)
	stop, done := running(s)
	serial := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // the test looks at the certificate itself
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
			t.Errorf("protocol %q", p)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d", got)
	}
	writePair(t, dir, 2)
	now = now.Add(certificateCheck)
	if got := serial(); got != 2 {
		t.Errorf("after replacing: certificate %d", got)
	}
	if err := os.WriteFile(certFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(certificateCheck)
	if got := serial(); got != 2 {
		t.Errorf("after a broken replacement: certificate %d", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

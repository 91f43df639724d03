package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxConnections bounds the connections of one server; more wait to be accepted.
const maxConnections = 2048

// server is one of the two HTTP servers.
type server struct {
	url string

	mu       sync.Mutex
	http     *http.Server
	listener net.Listener
}

// listen starts a server.
func (u *Upstream) listen(address string, handle http.HandlerFunc) (*server, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("lab upstream: %w", err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(u.options.HTTP2)
	s := &server{url: "http://" + l.Addr().String(), http: &http.Server{
		Handler: u.entered(handle), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		Protocols: protocols, ErrorLog: log.New(io.Discard, "", 0), // a client that dislikes our certificate is no news
	}}
	l = &limitedListener{Listener: l, slots: make(chan struct{}, maxConnections)}
	s.listener = l
	h := s.http
	if u.cert == nil {
		u.serving.Go(func() { _ = h.Serve(l) })
		return s, nil
	}
	s.url = "https://" + l.Addr().String()
	h.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*u.cert}, MinVersion: tls.VersionTLS12}
	u.serving.Go(func() { _ = h.ServeTLS(l, "", "") })
	return s, nil
}

func (s *server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.listener.Close() // Serve may not have begun yet
	return s.http.Close()
}

// freePort is the address of any free port of the server's host.
func (s *server) freePort() string {
	host, _, _ := net.SplitHostPort(hostOf(s.url))
	return net.JoinHostPort(host, "0")
}

// entered counts the requests that Close must wait for.
func (u *Upstream) entered(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		u.serving.Add(1)
		u.ledger.open++
		u.mu.Unlock()
		defer func() {
			u.mu.Lock()
			u.ledger.open--
			u.mu.Unlock()
			u.serving.Done()
		}()
		handle(w, r)
	}
}

// CA is the PEM certificate that the TLS of both servers trusts to; empty without TLS.
func (u *Upstream) CA() string {
	if u.cert == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: u.cert.Certificate[0]}))
}

// selfSigned makes a certificate for this machine that is its own authority.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("lab upstream: make a key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "weir lab upstream"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("lab upstream: make a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// limitedListener accepts as long as there are slots.
type limitedListener struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

type limitedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// NetConn is the connection beneath, for resets.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }

//go:build clients

package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	upstreamUser     = "ci"
	upstreamPassword = "upstream-secret"
)

// upstream is a real registry with an image (team/debian:1) and a two-platform index (team/multi:1) in it.
type upstream struct {
	url, addr, user, caFile string
	transport               http.RoundTripper
	proc                    *process
}

// startDebianRegistry runs Debian's docker-registry with htpasswd logins over TLS with a private CA.
func startDebianRegistry(t *testing.T) *upstream {
	need(t, "docker-registry", "htpasswd")
	dir := t.TempDir()
	u := &upstream{addr: "127.0.0.1:" + freePort(t), user: upstreamUser, caFile: filepath.Join(dir, "ca.pem")}
	u.url = "https://" + u.addr
	pool := writeCertificates(t, dir)
	u.transport = tlsClient(pool).Transport
	htpasswd := writeFile(t, filepath.Join(dir, "htpasswd"), run(t, nil, "htpasswd", "-Bbn", upstreamUser, upstreamPassword))
	conf := writeFile(t, filepath.Join(dir, "config.yml"), fmt.Sprintf(`version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: %[1]s/storage}, delete: {enabled: true}}
http: {addr: %[2]s, tls: {certificate: %[1]s/cert.pem, key: %[1]s/key.pem}}
auth: {htpasswd: {realm: upstream, path: %[3]s}}
`, dir, u.addr, htpasswd))
	u.proc = start(t, nil, "docker-registry", "serve", conf)
	u.await(t)
	return u
}

// startDistribution runs CNCF distribution v3, which CI need not have: building it takes longer than all the other tests.
func startDistribution(t *testing.T) *upstream {
	wish(t, "registry")
	dir := t.TempDir()
	u := &upstream{addr: "127.0.0.1:" + freePort(t), transport: http.DefaultTransport}
	u.url = "http://" + u.addr
	conf := writeFile(t, filepath.Join(dir, "config.yml"), fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/storage}}\nhttp: {addr: %s}\n", dir, u.addr))
	u.proc = start(t, []string{"OTEL_TRACES_EXPORTER=none"}, "registry", "serve", conf)
	u.await(t)
	return u
}

func (u *upstream) await(t *testing.T) {
	t.Helper()
	eventually(t, "the upstream answers", func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.url+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := u.transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

// push puts the test's images into the upstream and returns them.
func (u *upstream) push(t *testing.T) *images {
	t.Helper()
	im := buildImages(t)
	opts := []remote.Option{remote.WithTransport(u.transport), remote.WithContext(t.Context())}
	if u.user != "" {
		opts = append(opts, remote.WithAuth(&authn.Basic{Username: u.user, Password: upstreamPassword}))
	}
	tag := func(s string) name.Reference {
		ref, err := name.ParseReference(u.addr + "/" + s)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	for _, err := range []error{
		remote.Write(tag("team/debian:1"), im.debian, opts...),
		remote.Write(tag("library/debian:1"), im.debian, opts...),
		remote.Write(tag("team/digestfirst:1"), im.small, opts...),
		remote.Write(tag("team/forbidden:1"), im.small, opts...),
		remote.WriteIndex(tag("team/multi:1"), im.multi, opts...),
	} {
		if err != nil {
			t.Fatalf("push to the upstream: %v", err)
		}
	}
	return im
}

func tlsClient(pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
}

// writeCertificates makes a private CA and a certificate for 127.0.0.1 and *.acme.test in dir.
func writeCertificates(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "upstream"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"*.acme.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	must(err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(err)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	writeFile(t, filepath.Join(dir, "ca.pem"), block("CERTIFICATE", caDER))
	writeFile(t, filepath.Join(dir, "cert.pem"), block("CERTIFICATE", leafDER))
	writeFile(t, filepath.Join(dir, "key.pem"), block("EC PRIVATE KEY", keyDER))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(block("CERTIFICATE", caDER)))
	return pool
}

package upstream_test

import (
	"bufio"
	"bytes"
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
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	crane "github.com/google/go-containerregistry/pkg/registry"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

// TestCraneRegistry: go-containerregistry's registry as an upstream. It cannot pass the suite, because every repository has
// every blob; and it answers 416 to ranges without an end.
func TestCraneRegistry(t *testing.T) {
	s := httptest.NewServer(crane.New(crane.Logger(log.New(io.Discard, "", 0)), crane.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	index := registrytest.RandomIndex(1, 2, 70_000)
	artifact := registrytest.RandomArtifact(2, index.Manifest.Descriptor, "application/vnd.test.signature")
	pusher{t: t, base: s.URL, client: s.Client()}.fixture(registrytest.Fixture{
		{Repository: app, Tags: []string{"v1", "v2"}, Image: index}, {Repository: app, Image: artifact},
	})
	r := open(t, s.URL)
	d, err := r.StatManifest(t.Context(), app, v1())
	m, err2 := r.Manifest(t.Context(), app, v1())
	if err != nil || err2 != nil || d.Digest != index.Manifest.Digest || d.Size != m.Size || !bytes.Equal(m.Payload, index.Manifest.Payload) {
		t.Errorf("%+v, %v, %v", d, err, err2)
	}
	layer := index.Children[0].Layers()[1]
	for _, rng := range []registry.Range{{}, {Length: 5}, {Offset: 10}, {Offset: 10, Length: 1 << 20}, {Offset: -7}, {Offset: -1 << 20}} {
		from, n, err := rng.Resolve(layer.Size)
		if got := registrytest.ReadBlob(t, r, app, layer.Digest, rng); err != nil || !bytes.Equal(got, layer.Bytes()[from:from+n]) {
			t.Errorf("range %+v: %d bytes, want %d", rng, len(got), n)
		}
	}
	_, err = r.Blob(t.Context(), app, layer.Digest, registry.Range{Offset: layer.Size})
	if oci.ErrorCode(err) != oci.CodeRangeInvalid {
		t.Errorf("beyond the end: %v", err)
	}
	if list, err := r.Tags(t.Context(), app, registry.Page{}); err != nil || len(list.Tags) != 2 {
		t.Errorf("tags: %+v, %v", list, err)
	}
	if list, err := r.Referrers(t.Context(), app, index.Manifest.Digest, ""); err != nil || len(list.Manifests) != 1 || list.Manifests[0].Digest != artifact.Manifest.Digest {
		t.Errorf("referrers: %+v, %v", list, err)
	}
	_, err = r.Manifest(t.Context(), app, oci.ByTag("nope"))
	want(t, err, registry.Absent, "404")
}

// TestDockerRegistry: Debian's docker-registry (distribution 2.8).
func TestDockerRegistry(t *testing.T) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		missing(t, "docker-registry is not installed (Debian: docker-registry)")
	}
	testDistribution(t, program)
}

// TestDistribution: distribution 3, where WEIR_TEST_DISTRIBUTION names its binary.
func TestDistribution(t *testing.T) {
	program := os.Getenv("WEIR_TEST_DISTRIBUTION")
	if program == "" {
		t.Skip("SKIPPED: WEIR_TEST_DISTRIBUTION does not name a distribution 3 binary")
	}
	testDistribution(t, program)
}

// missing skips what the machine lacks, loudly; where everything has to be there, it fails.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip("SKIPPED: " + what)
}

// testDistribution runs the suite against a real registry with htpasswd, over TLS with a private CA.
func testDistribution(t *testing.T, program string) {
	if _, err := exec.LookPath("htpasswd"); err != nil {
		missing(t, "htpasswd is not installed (Debian: apache2-utils)")
	}
	d := newProcess(t, program)
	registrytest.Run(t, registrytest.Options{Tags: true}, func(t *testing.T, f registrytest.Fixture) registry.Registry {
		url := d.start(t)
		pusher{t: t, base: url, client: d.client(t), user: "ci", password: "s3cret"}.fixture(f)
		return open(t, url, login("ci", "s3cret"), func(o *upstream.Options) { o.CA = d.ca })
	})
	t.Run("logins", func(t *testing.T) {
		url := d.start(t)
		ca := func(o *upstream.Options) { o.CA = d.ca }
		want(t, stat(t, open(t, url, ca, login("ci", "wrong"))), registry.Unknown, "the credentials were refused")
		want(t, stat(t, open(t, url, ca)), registry.Unknown, "a login is needed")
		want(t, stat(t, open(t, url, login("ci", "s3cret"))), registry.Unknown, "unknown authority")
		want(t, stat(t, open(t, url, ca, login("ci", "s3cret"))), registry.Absent, "404")
		r := open(t, url, ca, login("ci", "s3cret"))
		if list, err := r.Referrers(t.Context(), app, oci.DigestOf(oci.SHA256, nil), ""); err != nil || len(list.Manifests) != 0 {
			t.Errorf("referrers of a registry without the API: %+v, %v", list, err)
		}
	})
}

// process is a registry program with what it needs: certificates and a password file.
type process struct{ program, folder, ca string }

func newProcess(t *testing.T, program string) process {
	t.Helper()
	d := process{program: program, folder: t.TempDir()}
	d.ca = writeCertificates(t, d.folder)
	out, err := exec.CommandContext(t.Context(), "htpasswd", "-bnB", "ci", "s3cret").Output()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(d.folder, "htpasswd"), string(out))
	return d
}

// start runs a fresh registry until the test ends and returns its URL.
func (d process) start(t *testing.T) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yml")
	writeFile(t, config, fmt.Sprintf(`version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: "127.0.0.1:0", tls: {certificate: %q, key: %q}}
auth: {htpasswd: {realm: test, path: %q}}
`, t.TempDir(), filepath.Join(d.folder, "cert.pem"), filepath.Join(d.folder, "key.pem"), filepath.Join(d.folder, "htpasswd")))
	cmd := exec.Command(d.program, "serve", config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	address := make(chan string, 1)
	go func() {
		defer close(read)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if _, after, ok := strings.Cut(s.Text(), "listening on "); ok {
				host, _, _ := strings.Cut(after, ",")
				select {
				case address <- host:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	select {
	case host := <-address:
		return "https://" + host
	case <-read:
	case <-time.After(time.Minute):
	}
	t.Fatalf("%s did not start", d.program)
	return ""
}

func (d process) client(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(d.ca))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// writeCertificates writes cert.pem and key.pem for 127.0.0.1, and returns the authority's certificate.
func writeCertificates(t *testing.T, folder string) string {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	authorityKey, serverKey := newKey(t), newKey(t)
	ca := sign(t, authority, authority, &authorityKey.PublicKey, authorityKey)
	writeFile(t, filepath.Join(folder, "cert.pem"), sign(t, server, authority, &serverKey.PublicKey, authorityKey))
	der, err := x509.MarshalECPrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, c, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pusher pushes fixtures to a real registry by HTTP.
type pusher struct {
	t              *testing.T
	base           string
	client         *http.Client
	user, password string
}

func (p pusher) fixture(f registrytest.Fixture) {
	for _, item := range f {
		p.image(item.Repository, item.Tags, item.Image)
	}
}

func (p pusher) image(repository string, tags []string, image registrytest.Image) {
	for _, child := range image.Children {
		p.image(repository, nil, child)
	}
	for _, b := range image.Blobs {
		resp := p.send(http.MethodPost, p.base+"/v2/"+repository+"/blobs/uploads/", "", nil, http.StatusAccepted)
		next, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
		if err != nil {
			p.t.Fatal(err)
		}
		q := next.Query()
		q.Set("digest", string(b.Digest))
		next.RawQuery = q.Encode()
		p.send(http.MethodPut, next.String(), oci.MediaTypeOctets, b.Bytes(), http.StatusCreated)
	}
	for _, ref := range append([]string{string(image.Manifest.Digest)}, tags...) {
		p.send(http.MethodPut, p.base+"/v2/"+repository+"/manifests/"+url.PathEscape(ref), image.Manifest.MediaType, image.Manifest.Payload, http.StatusCreated)
	}
}

func (p pusher) send(method, target, contentType string, body []byte, status int) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if p.user != "" {
		req.SetBasicAuth(p.user, p.password)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != status {
		p.t.Fatalf("%s %s: %s %s", method, target, resp.Status, text)
	}
	return resp
}

//go:build clients

package clients

import (
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// names is an HTTP proxy that leads host names to servers on loopback. Clients that use it run with the very configuration that
// docs/how-to/clients.md shows, and check certificates, which they do not do for loopback addresses. Names it does not know do not
// exist, so that nothing leaves this machine.
type names struct {
	env []string // for clients

	mu    sync.Mutex
	to    map[string]string // address by "host:port"
	asked []string
	conns []net.Conn
}

// startNames starts a proxy without names.
func startNames(t *testing.T) *names {
	t.Helper()
	n := &names{to: map[string]string{}}
	var tunnels sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels.Add(1)
		defer tunnels.Done()
		n.tunnel(w, r)
	}))
	t.Cleanup(func() {
		n.mu.Lock()
		for _, c := range n.conns {
			c.Close()
		}
		n.mu.Unlock()
		server.Close()
		tunnels.Wait()
	})
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		n.env = append(n.env, v+"="+server.URL)
	}
	n.env = append(n.env, "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost")
	return n
}

// lead gives a host the address of a server that speaks TLS; an empty address takes the host away.
func (n *names) lead(host, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to[host+":443"] = addr
}

// address is where a host leads.
func (n *names) address(host string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.to[host+":443"]
}

// wasAsked reports whether a client wanted to connect to a host.
func (n *names) wasAsked(host string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.asked, host+":443")
}

func (n *names) tunnel(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.asked = append(n.asked, r.Host)
	to := n.to[r.Host]
	n.mu.Unlock()
	if r.Method != http.MethodConnect || to == "" {
		http.Error(w, "there is no "+r.Host+" in this test", http.StatusBadGateway)
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	n.mu.Lock()
	n.conns = append(n.conns, server, client)
	n.mu.Unlock()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	back := make(chan struct{})
	go func() { defer close(back); _, _ = io.Copy(client, server); client.Close() }()
	_, _ = io.Copy(server, client)
	server.Close()
	<-back
}

// startNamed starts the server as https://weir.acme.test, with a certificate from a private CA (the file ca), and declares what
// docs/how-to/clients.md does, with up in the place of the public registries.
func startNamed(t *testing.T, up *upstream) (w *weir, n *names, ca string) {
	t.Helper()
	dir := t.TempDir()
	pool := writeCertificates(t, dir)
	n = startNames(t)
	w = startWeir(t, "WEIR_EXTERNAL_URLS=https://weir.acme.test", "WEIR_TLS_CERT_FILE="+dir+"/cert.pem", "WEIR_TLS_KEY_FILE="+dir+"/key.pem")
	w.trust(pool)
	for _, host := range []string{"weir", "mirror", "ghcr"} {
		n.lead(host+".acme.test", w.addr)
	}
	w.cli("apply", "-f", writeFile(t, dir+"/shown.yaml", shown(t, "clients.yaml")))
	w.cli("apply", "-f", writeFile(t, dir+"/here.yaml", fmt.Sprintf(`groups:
  - name: acme
    credentials:
      - {name: dockerhub, kind: static, username: %[3]s, password: {env: UPSTREAM_PASSWORD}}
      - {name: ghcr, kind: static, username: %[3]s, password: {env: UPSTREAM_PASSWORD}}
      - {name: quay, kind: static, username: %[3]s, password: {env: UPSTREAM_PASSWORD}}
    upstreams:
      - {name: dockerhub, url: %[1]q, credential: dockerhub, ca: {file: %[2]s}, hosts: [docker.io]}
      - {name: ghcr, url: %[1]q, credential: ghcr, ca: {file: %[2]s}, hosts: [ghcr.io]}
      - {name: quay, url: %[1]q, credential: quay, ca: {file: %[2]s}, hosts: [quay.io]}
    registries:
      - {name: hub, rules: [{deny: team/forbidden}]}
      - {name: open, rules: [{deny: team/forbidden}]}
    host_bindings:
      - {host: mirror.acme.test, registry: open, mirror: true, networks: ["127.0.0.0/8"]}
`, up.url, up.caFile, up.user)))
	return w, n, filepath.Join(dir, "ca.pem")
}

// shown returns the configuration that docs/how-to/clients.md shows under the name of a file.
func shown(t *testing.T, name string) string {
	t.Helper()
	return shownIn(t, "clients.md", "`"+name+"`")
}

// shownIn returns the first code block after a heading or another text of a page of docs/how-to, so that what is tested is what is
// shown.
func shownIn(t *testing.T, page, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/how-to/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), name)
	if !ok {
		t.Fatalf("docs/how-to/%s shows no %s", page, name)
	}
	_, block, ok := strings.Cut(after, "\n```")
	_, block, _ = strings.Cut(block, "\n") // the rest of the fence
	block, _, closed := strings.Cut(block, "\n```")
	if !ok || !closed {
		t.Fatalf("no code block after %s in docs/how-to/%s", name, page)
	}
	return block + "\n"
}

func (w *weir) trust(pool *x509.CertPool) { w.http = tlsClient(pool); w.url = "https://" + w.addr }

// install copies the CA to folders of the system, where clients look for it (they have no setting for that), until the test ends. The
// folders are named after hosts that do not exist; runs beside this one wait.
func install(t *testing.T, ca string, folders ...string) {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "weir-test-clients.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		writeFile(t, filepath.Join(folder, "ca.crt"), string(pem))
	}
}

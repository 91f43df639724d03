//go:build clients

package clients

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// startNginx puts nginx in front of w as https://weir.acme.test, as docs/how-to/tls.md shows it, and returns its error log.
func startNginx(t *testing.T, w *weir, n *names, dir string) (errorLog string) {
	t.Helper()
	front := "127.0.0.1:" + freePort(t)
	server := shownIn(t, "tls.md", "trusted_proxies: [127.0.0.1/32]\n```") // the block after the server's own
	for old, new := range map[string]string{"listen 443 ": "listen " + front + " ", "/etc/nginx/weir.crt": dir + "/cert.pem", "/etc/nginx/weir.key": dir + "/key.pem", "127.0.0.1:5000": w.addr} {
		if !strings.Contains(server, old) {
			t.Fatalf("docs/how-to/tls.md has no %q", old)
		}
		server = strings.ReplaceAll(server, old, new)
	}
	errorLog = filepath.Join(dir, "error.log")
	conf := writeFile(t, filepath.Join(dir, "nginx.conf"), strings.ReplaceAll(`daemon off;
pid DIR/nginx.pid;
error_log DIR/error.log warn;
events {}
http {
  access_log DIR/access.log;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
`, "DIR", dir)+server+"}\n")
	start(t, nil, "nginx", "-e", errorLog, "-c", conf, "-p", dir)
	n.lead("weir.acme.test", front)
	eventually(t, "nginx answers", func() error {
		c, err := net.Dial("tcp", front)
		if err == nil {
			c.Close()
		}
		return err
	})
	return errorLog
}

// TestNginx pushes and pulls through nginx with TLS, HTTP/2 and buffering off. Tokens must be asked for at nginx's address, and the
// registry of the first start must not be open to those who come through it.
func TestNginx(t *testing.T) {
	need(t, "nginx", "skopeo")
	im := buildImages(t)
	dir := t.TempDir()
	pool := writeCertificates(t, dir)
	w := startWeir(t, "WEIR_EXTERNAL_URLS=https://weir.acme.test", "WEIR_TRUSTED_PROXIES=127.0.0.1/32")
	n := startNames(t)
	errorLog := startNginx(t, w, n, dir)
	client := tlsClient(pool)
	transport := client.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, n.address("weir.acme.test"))
	}
	status := func(path string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://weir.acme.test"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	if resp := status("/v2/"); resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), `Bearer realm="https://weir.acme.test/token"`) {
		t.Errorf("%s %s, challenge %q", resp.Proto, resp.Status, resp.Header.Get("WWW-Authenticate"))
	}
	if resp := status("/v2/main/all/library/alpine/manifests/latest"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("an anonymous pull of main/all through a proxy: %s", resp.Status)
	}

	ref, err := name.ParseReference("weir.acme.test/main/team/debian:1")
	if err != nil {
		t.Fatal(err)
	}
	opts := []remote.Option{remote.WithTransport(transport), remote.WithAuth(&authn.Basic{Username: "admin", Password: adminPassword})}
	if err := remote.Write(ref, im.debian, opts...); err != nil {
		t.Fatalf("push through nginx: %v", err)
	}
	got, err := remote.Image(ref, opts...)
	if err != nil {
		t.Fatalf("pull through nginx: %v", err)
	}
	if err := validate.Image(got); err != nil {
		t.Errorf("what came back: %v", err)
	}
	verifyImage(t, w, "main/team/debian", "1", im.debian)
	record(t, "nginx", "in front: TLS, HTTP/2, buffering off", "push and pull with a token that nginx's address led to; anonymous pulls of the first registry are refused")

	creds := "admin:" + adminPassword
	env := append(n.env, "REGISTRY_AUTH_FILE="+filepath.Join(t.TempDir(), "auth.json"))
	certs := filepath.Join(dir, "certs")
	if err := errors.Join(os.Mkdir(certs, 0o755), os.Link(filepath.Join(dir, "ca.pem"), filepath.Join(certs, "ca.crt"))); err != nil {
		t.Fatal(err)
	}
	run(t, env, "skopeo", "copy", "--src-cert-dir", certs, "--dest-cert-dir", certs, "--src-creds", creds, "--dest-creds", creds, "docker://weir.acme.test/main/team/debian:1", "docker://weir.acme.test/main/team/copy:1")
	verifyImage(t, w, "main/team/copy", "1", im.debian)
	record(t, "nginx", "in front: TLS, HTTP/2, buffering off", "skopeo copy between two repositories; nginx keeps nothing in files")
	if log, err := os.ReadFile(errorLog); err != nil || strings.Contains(string(log), "buffered to a temporary file") {
		t.Errorf("nginx buffers: %s, %v", log, err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "layers over HTTP/2", string(log), "HTTP/2.0\" 201")
}

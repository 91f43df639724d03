//go:build clients

package clients

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestNginx puts nginx with TLS and HTTP/2 in front, as docs/how-to/tls.md says, and pushes and pulls through it. Tokens must be
// asked for at nginx's address, and the registry of the first start must not be open to those who come through it.
func TestNginx(t *testing.T) {
	need(t, "nginx")
	dir := t.TempDir()
	pool := writeCertificates(t, dir)
	front := "127.0.0.1:" + freePort(t)
	w := startWeir(t, "WEIR_EXTERNAL_URLS=https://"+front, "WEIR_TRUSTED_PROXIES=127.0.0.1/32")
	conf := writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen %[2]s ssl http2;
    ssl_certificate %[1]s/cert.pem;
    ssl_certificate_key %[1]s/key.pem;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffering off;
    location / {
      proxy_pass http://%[3]s;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host:$server_port;
    }
  }
}
`, dir, front, w.addr))
	start(t, nil, "nginx", "-c", conf, "-p", dir)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	var challenge string
	eventually(t, "nginx answers", func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+front+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		challenge = resp.Header.Get("WWW-Authenticate")
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("%s %s", resp.Proto, resp.Status)
		}
		return nil
	})
	if !strings.HasPrefix(challenge, `Bearer realm="https://`+front+`/token"`) {
		t.Errorf("challenge %q does not lead back to nginx", challenge)
	}

	im := buildImages(t)
	ref, err := name.ParseReference(front + "/main/team/debian:1")
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
	want, _ := im.debian.RawManifest()
	if raw, err := got.RawManifest(); err != nil || !bytes.Equal(raw, want) {
		t.Errorf("the manifest differs: %v", err)
	}
	layers, _ := got.Layers()
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil { // verifies the digest
			t.Errorf("layer: %v", err)
		}
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+front+"/v2/main/all/library/alpine/manifests/latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("an anonymous pull of main/all through a proxy: %s", resp.Status)
	}
}

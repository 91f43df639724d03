package lab_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// get asks the upstream without following redirects and returns what arrived before the body ended or broke.
func get(t *testing.T, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func newFake(t *testing.T) (*registrytest.Upstream, registrytest.Content, string) {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	image := registrytest.RandomImage(1, 1, 200_000)
	u.Put("team/app", []string{"a"}, image)
	layer := image.Layers()[0]
	return u, layer, u.URL() + "/v2/team/app/blobs/" + string(layer.Digest)
}

func TestUpstreamFaults(t *testing.T) {
	u, layer, url := newFake(t)
	all := layer.Bytes()
	flipped := bytes.Clone(all)
	flipped[99] ^= 0x40
	for _, c := range []struct {
		name  string
		fault registrytest.Fault
		want  []byte
		err   error
	}{
		{"none", registrytest.Fault{}, all, nil},
		{"cut", registrytest.Fault{CutAt: 1000}, all[:1000], io.ErrUnexpectedEOF},
		{"reset", registrytest.Fault{ResetAt: 1000}, nil, syscall.ECONNRESET},
		{"flip", registrytest.Fault{FlipAt: 100}, flipped, nil},
		{"extra", registrytest.Fault{Extra: 3}, append(bytes.Clone(all), "xxx"...), nil},
		{"short", registrytest.Fault{Length: 10}, all, io.ErrUnexpectedEOF},
		{"long", registrytest.Fault{Length: -10}, all[:len(all)-10], nil},
		{"chunked", registrytest.Fault{NoLength: true}, all, nil},
		{"throttled", registrytest.Fault{BytesPerSecond: 20 << 20}, all, nil},
	} {
		u.Set(func(b *registrytest.Behavior) {
			b.Rules = []registrytest.Rule{{Kind: registrytest.KindBlob, Fault: c.fault}}
		})
		_, got, err := get(t, url)
		if !errors.Is(err, c.err) || (c.want != nil && !bytes.Equal(got, c.want)) {
			t.Errorf("%s: %d bytes, %v; want %d, %v", c.name, len(got), err, len(c.want), c.err)
		}
	}
}

func TestUpstreamRules(t *testing.T) {
	u, _, url := newFake(t)
	u.Fail(
		registrytest.Rule{Kind: registrytest.KindBlob, Skip: 1, Times: 1, Fault: registrytest.Status(503)},
		registrytest.Rule{Kind: registrytest.KindManifest, Fault: registrytest.TooManyRequests("7")},
	)
	for i, want := range []int{200, 503, 200} {
		if resp, _, err := get(t, url); err != nil || resp.StatusCode != want {
			t.Errorf("request %d: %v, %v; want %d", i, resp, err, want)
		}
	}
	resp, _, err := get(t, u.URL()+"/v2/team/app/manifests/a")
	if err != nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("limited: %v, %v", resp, err)
	}
	u.Fail(registrytest.Rule{Fault: registrytest.Fault{Reset: true}})
	if _, _, err := get(t, url); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("reset: %v", err)
	}
	u.Heal()
	if resp, _, err := get(t, url, "Range", "bytes=10-19"); err != nil || resp.StatusCode != 206 || resp.ContentLength != 10 {
		t.Errorf("range: %v, %v", resp, err)
	}
	if n := u.Count("GET", registrytest.KindBlob); n != 5 {
		t.Errorf("%d blob requests counted, want 5", n)
	}
}

func TestUpstreamRedirect(t *testing.T) {
	u, layer, url := newFake(t)
	u.Set(func(b *registrytest.Behavior) { b.Redirect, b.SignedUses = true, 1 })
	resp, _, err := get(t, url)
	if err != nil || resp.StatusCode != 307 {
		t.Fatalf("%v, %v", resp, err)
	}
	signed := resp.Header.Get("Location")
	if resp, body, err := get(t, signed); err != nil || resp.StatusCode != 200 || !bytes.Equal(body, layer.Bytes()) {
		t.Errorf("signed: %v, %v", resp, err)
	}
	if resp, _, err := get(t, signed); err != nil || resp.StatusCode != 403 {
		t.Errorf("used up: %v, %v", resp, err)
	}
	if n := u.Sent(layer.Digest); n != layer.Size {
		t.Errorf("%d bytes counted, want %d", n, layer.Size)
	}
}

func TestUpstreamBearer(t *testing.T) {
	u, _, url := newFake(t)
	u.Set(func(b *registrytest.Behavior) {
		b.Auth, b.Username, b.Password = registrytest.AuthBearer, "ci", "secret"
	})
	resp, _, _ := get(t, url)
	want := `Bearer realm="` + u.URL() + `/token",service="registry.test",scope="repository:team/app:pull"`
	if resp.StatusCode != 401 || resp.Header.Get("Www-Authenticate") != want {
		t.Fatalf("challenge: %d %q", resp.StatusCode, resp.Header.Get("Www-Authenticate"))
	}
	realm := u.URL() + "/token?service=registry.test&scope=repository:team/app:pull"
	if resp, _, _ := get(t, realm); resp.StatusCode != 401 {
		t.Errorf("anonymous token: %d", resp.StatusCode)
	}
	_, body, _ := get(t, realm, "Authorization", "Basic Y2k6c2VjcmV0") // ci:secret
	var token struct{ Token string }
	if err := json.Unmarshal(body, &token); err != nil || token.Token == "" {
		t.Fatalf("token: %s", body)
	}
	if resp, _, _ := get(t, url, "Authorization", "Bearer "+token.Token); resp.StatusCode != 200 {
		t.Errorf("with token: %d", resp.StatusCode)
	}
	u.ExpireTokens()
	if resp, _, _ := get(t, url, "Authorization", "Bearer "+token.Token); resp.StatusCode != 401 {
		t.Errorf("with an expired token: %d", resp.StatusCode)
	}
}

func TestUpstreamPages(t *testing.T) {
	u, _, _ := newFake(t)
	u.Tag("team/app", oci.Digest("sha256:00"), "b", "c", "d")
	u.Set(func(b *registrytest.Behavior) { b.PageCap = 3 })
	resp, body, err := get(t, u.URL()+"/v2/team/app/tags/list?n=100")
	if err != nil || string(body) != `{"name":"team/app","tags":["a","b","c"]}` || resp.Header.Get("Link") != `</v2/team/app/tags/list?last=c&n=100>; rel="next"` {
		t.Errorf("%s, %q, %v", body, resp.Header.Get("Link"), err)
	}
}

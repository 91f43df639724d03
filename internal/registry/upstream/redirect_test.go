package upstream_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

func redirecting(b *registrytest.Behavior) { bearer(b); b.Redirect = true }

// TestRedirectIsBare: the storage host sees what is asked for and nothing else. The fake fails the test on credentials.
func TestRedirectIsBare(t *testing.T) {
	u, image := fake(t, redirecting)
	layer := image.Layers()[0]
	r := connect(t, u, login("ci", "s3cret"), func(o *upstream.Options) { o.InstanceID = "a" })
	got := registrytest.ReadBlob(t, r, app, layer.Digest, registry.Range{Offset: 3, Length: 4})
	if !bytes.Equal(got, layer.Bytes()[3:7]) {
		t.Errorf("%d wrong bytes", len(got))
	}
	for _, q := range u.Requests() {
		if q.Kind != registrytest.KindStorage {
			continue
		}
		for name := range q.Header {
			if !strings.Contains("Range Accept Accept-Encoding User-Agent", name) {
				t.Errorf("the storage host saw %s", name)
			}
		}
	}
}

// TestRedirectExpired: a signed URL that has expired on the way is replaced once.
func TestRedirectExpired(t *testing.T) {
	u, image := fake(t, redirecting)
	layer := image.Layers()[0]
	r := connect(t, u, login("ci", "s3cret"))
	u.Fail(registrytest.Rule{Kind: registrytest.KindStorage, Times: 1, Fault: registrytest.Status(403)})
	registrytest.ReadBlob(t, r, app, layer.Digest, registry.Range{})
	if n := u.Count("", registrytest.KindStorage); n != 2 {
		t.Errorf("%d requests to the storage host, want 2", n)
	}
	u.Set(func(b *registrytest.Behavior) {
		b.Rules = []registrytest.Rule{{Kind: registrytest.KindStorage, Fault: registrytest.Status(403)}}
	})
	_, err := r.Blob(t.Context(), app, layer.Digest, registry.Range{})
	want(t, err, registry.Unknown, "403 Forbidden after a redirect")
	u.Set(func(b *registrytest.Behavior) {
		b.Rules = []registrytest.Rule{{Kind: registrytest.KindStorage, Fault: registrytest.Status(404)}}
	})
	_, err = r.Blob(t.Context(), app, layer.Digest, registry.Range{})
	want(t, err, registry.Unknown, "404") // the registry said that it exists
}

// TestStatBlobSignedForGet: storage that refuses HEAD is asked for one byte.
func TestStatBlobSignedForGet(t *testing.T) {
	u, image := fake(t, redirecting)
	layer := image.Layers()[0]
	u.Fail(registrytest.Rule{Kind: registrytest.KindStorage, Method: "HEAD", Fault: registrytest.Status(403)})
	d, err := connect(t, u, login("ci", "s3cret")).StatBlob(t.Context(), app, layer.Digest)
	if err != nil || d.Size != layer.Size {
		t.Errorf("%+v, %v", d, err)
	}
	if u.Sent(layer.Digest) > 1 {
		t.Errorf("%d bytes for a stat", u.Sent(layer.Digest))
	}
}

// TestRedirectToRegistry: some registries are a redirect to another one, whose 404 is the answer.
func TestRedirectToRegistry(t *testing.T) {
	behind, image := fake(t)
	front, _ := fake(t)
	to := func(path string) {
		fault := registrytest.Fault{Status: 307, Header: http.Header{"Location": {behind.URL() + "/v2/" + app + path}}}
		front.Set(func(b *registrytest.Behavior) { b.Rules = []registrytest.Rule{{Fault: fault}} })
	}
	r := connect(t, front)
	to("/manifests/v1")
	if m, err := r.Manifest(t.Context(), app, v1()); err != nil || m.Digest != image.Manifest.Digest {
		t.Errorf("%+v, %v", m, err)
	}
	to("/manifests/nope")
	_, err := r.Manifest(t.Context(), app, v1())
	want(t, err, registry.Absent, "404")
	want(t, stat(t, r), registry.Absent, "404")
	to("/blobs/" + string(image.Manifest.Digest))
	_, err = r.Blob(t.Context(), app, image.Manifest.Digest, registry.Range{})
	want(t, err, registry.Absent, "404")
}

// TestRedirectTargets: where a redirect must not lead.
func TestRedirectTargets(t *testing.T) {
	secure := registrytest.NewUpstream(t, registrytest.UpstreamOptions{TLS: true})
	image := registrytest.RandomImage(1, 1, 10)
	secure.Put(app, []string{"v1"}, image)
	plain, _ := fake(t)
	for _, c := range []struct{ location, part string }{
		{"", "redirects to nowhere"},
		{"//", "too many redirects"}, // that is: here
		{"http://ci:x@127.0.0.1/", "with a login in it"},
		{"file:///etc/passwd", "redirects to nowhere"},
		{"ftp://127.0.0.1/x", "not https"},
		{plain.URL(), "not https"}, // from https to http
		{"https://169.254.169.254/latest/meta-data", "refused address"},
		{"https://[::ffff:169.254.169.254]/", "refused address"},
		{"/v2/" + app + "/blobs/" + string(image.Config().Digest), "too many redirects"},
	} {
		secure.Set(func(b *registrytest.Behavior) {
			fault := registrytest.Fault{Status: 307, Header: http.Header{"Location": {c.location}}}
			b.Rules = []registrytest.Rule{{Kind: registrytest.KindBlob, Fault: fault}}
		})
		r := connect(t, secure, func(o *upstream.Options) { o.CA = secure.CA() })
		_, err := r.Blob(t.Context(), app, image.Config().Digest, registry.Range{})
		want(t, err, registry.Unknown, c.part)
	}
	if n := plain.Count("", ""); n != 0 {
		t.Errorf("%d requests by plain HTTP", n)
	}
}

// TestAddressGuard: without permission nothing is connected to on this machine, be it the upstream or where it redirects.
func TestAddressGuard(t *testing.T) {
	u, _ := fake(t)
	r := connect(t, u, func(o *upstream.Options) { o.AllowPrivateNetworks = false })
	for range 5 {
		want(t, stat(t, r), registry.Unknown, "refused address")
	}
	if u.Count("", "") != 0 || r.Open() {
		t.Error("it was connected to, or counted as a failure of the host")
	}
}

package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/upstream"
)

// quick is for upstreams that hang: long enough for a busy machine to answer, short enough to wait for.
func quick(o *upstream.Options) {
	o.Timeout, o.IdleTimeout = 250*time.Millisecond, 250*time.Millisecond
}

// patience is quick for faults that hang, and nothing for others.
func patience(f registrytest.Fault) func(*upstream.Options) {
	if f.Hang || f.HangAt > 0 {
		return quick
	}
	return func(*upstream.Options) {}
}

// TestManifestFaults: everything that can go wrong with a manifest is an outcome, and never a manifest.
func TestManifestFaults(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Docker-Distribution-Api-Version": nil}
	for _, c := range []struct {
		name    string
		fault   registrytest.Fault
		outcome registry.Outcome
		part    string
	}{
		{"500", registrytest.Status(500), registry.Unknown, "500 Internal Server Error"},
		{"502", registrytest.Status(502), registry.Unknown, "502"},
		{"503", registrytest.Status(503), registry.Unknown, "503"},
		{"504", registrytest.Status(504), registry.Unknown, "504"},
		{"429", registrytest.TooManyRequests(""), registry.Unknown, "429"},
		{"403", registrytest.Status(403), registry.Denied, "403"},
		{"404", registrytest.Status(404), registry.Absent, "404"},
		{"410", registrytest.Status(410), registry.Absent, "410"},
		{"400", registrytest.Status(400), registry.Unknown, "400"},
		{"204", registrytest.Status(204), registry.Unknown, "204"},
		{"404 from a proxy", registrytest.Fault{Status: 404, Body: "<html>", Header: html}, registry.Unknown, "web page"},
		{"404 that means denied", registrytest.Fault{Status: 404, Body: `{"errors":[{"code":"denied"}]}`}, registry.Denied, "DENIED"},
		{"404 that means limited", registrytest.Fault{Status: 404, Body: `{"errors":[{"code":"TOOMANYREQUESTS"}]}`}, registry.Unknown, "TOOMANY"},
		{"web page", registrytest.Fault{Status: 200, Body: "<html>", Header: html}, registry.Unknown, "web page"},
		{"not JSON", registrytest.Fault{Status: 200, Body: "hello"}, registry.Unknown, ""},
		{"reset", registrytest.Fault{Reset: true}, registry.Unknown, "connection"},
		{"reset in the body", registrytest.Fault{ResetAt: 50}, registry.Unknown, "connection"},
		{"cut", registrytest.Fault{CutAt: 50}, registry.Unknown, "closed before"},
		{"too short", registrytest.Fault{Length: 10}, registry.Unknown, "closed before"},
		{"too long", registrytest.Fault{Extra: 10}, registry.Unknown, "wrong bytes"},
		{"one wrong byte", registrytest.Fault{FlipAt: 60}, registry.Unknown, "wrong bytes"},
		{"huge", registrytest.Fault{Extra: oci.MaxManifestSize}, registry.Unknown, "larger than"},
		{"hangs", registrytest.Fault{Hang: true}, registry.Unknown, "no answer in time"},
		{"hangs in the body", registrytest.Fault{HangAt: 50}, registry.Unknown, "the answer stopped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, image := fake(t)
			u.Fail(registrytest.Rule{Kind: registrytest.KindManifest, Fault: c.fault})
			for _, ref := range []oci.Reference{v1(), oci.ByDigest(image.Manifest.Digest)} {
				_, err := connect(t, u, patience(c.fault)).Manifest(t.Context(), app, ref)
				want(t, err, c.outcome, c.part)
			}
			u.Heal()
			mustStat(t, connect(t, u), 1)
		})
	}
}

// TestStatIsHead: a stat is a HEAD, and a GET only where HEAD does not tell the digest.
func TestStatIsHead(t *testing.T) {
	u, image := fake(t)
	r := connect(t, u)
	mustStat(t, r, 1)
	if u.Count("GET", "") != 0 {
		t.Error("it fetched the manifest")
	}
	u.Set(func(b *registrytest.Behavior) { b.NoDigestHeader = true })
	d, err := r.StatManifest(t.Context(), app, v1())
	if err != nil || d.Digest != image.Manifest.Digest || u.Count("GET", "") != 1 {
		t.Errorf("without the digest header: %+v, %v, %d GETs", d, err, u.Count("GET", ""))
	}
	if _, err := r.StatManifest(t.Context(), app, oci.ByDigest(image.Manifest.Digest)); err != nil || u.Count("GET", "") != 1 {
		t.Errorf("by digest without the header: %v, %d GETs", err, u.Count("GET", ""))
	}
	u.Fail(registrytest.Rule{Method: "HEAD", Fault: registrytest.Status(405)})
	if err := stat(t, r); err != nil {
		t.Errorf("an upstream without HEAD: %v", err)
	}
}

func TestWrongDigestHeader(t *testing.T) {
	u, image := fake(t, func(b *registrytest.Behavior) { b.WrongDigestHeader = true })
	r := connect(t, u)
	_, err := r.Manifest(t.Context(), app, v1())
	want(t, err, registry.Unknown, "wrong bytes")
	_, err = r.StatManifest(t.Context(), app, oci.ByDigest(image.Manifest.Digest))
	want(t, err, registry.Unknown, "it answers with")
	// By digest the bytes decide, not what the header says about them.
	if _, err := r.Manifest(t.Context(), app, oci.ByDigest(image.Manifest.Digest)); err != nil {
		t.Error(err)
	}
}

func TestMediaTypes(t *testing.T) {
	for said, wants := range map[string]string{
		"application/json": oci.MediaTypeImageManifest,
		oci.MediaTypeImageManifest + "; charset=utf-8": oci.MediaTypeImageManifest,
		"application/vnd.custom+json":                  "application/vnd.custom+json",
	} {
		u, _ := fake(t)
		u.Fail(registrytest.Rule{Kind: registrytest.KindManifest, Fault: registrytest.Fault{Header: http.Header{"Content-Type": {said}}}})
		r := connect(t, u)
		m, err := r.Manifest(t.Context(), app, v1())
		if err != nil || m.MediaType != wants {
			t.Errorf("%s: %+v, %v", said, m, err)
		}
		if d, err := r.StatManifest(t.Context(), app, v1()); err != nil || d.MediaType != wants {
			t.Errorf("stat %s: %+v, %v", said, d, err)
		}
	}
}

// TestBlobFaults: a body that breaks gives what arrived and then an outcome.
func TestBlobFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault registrytest.Fault
		rng   registry.Range
		from  int64
		got   int64 // bytes before the error
		part  string
	}{
		{"cut", registrytest.Fault{CutAt: 1000}, registry.Range{}, 0, 1000, "closed before"},
		{"cut in a range", registrytest.Fault{CutAt: 1000}, registry.Range{Offset: 500}, 500, 1000, "closed before"},
		{"hang", registrytest.Fault{HangAt: 1000}, registry.Range{}, 0, 1000, "the answer stopped"},
		{"short", registrytest.Fault{Length: 7}, registry.Range{}, 0, 200_000, "closed before"},
		{"chunked and cut", registrytest.Fault{NoLength: true, CutAt: 1000}, registry.Range{}, 0, 1000, "closed before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, image := fake(t)
			layer := image.Layers()[0]
			u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Fault: c.fault})
			b, err := connect(t, u, patience(c.fault)).Blob(t.Context(), app, layer.Digest, c.rng)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Body.Close() }()
			got, err := io.ReadAll(b.Body)
			want(t, err, registry.Unknown, c.part)
			if b.Offset != c.from || !bytes.Equal(got, layer.Bytes()[c.from:c.from+c.got]) {
				t.Errorf("%d bytes from %d, want %d from %d", len(got), b.Offset, c.got, c.from)
			}
		})
	}
}

// TestBlobLengths: what cannot be known in advance is -1, and bytes beyond a range are not delivered.
func TestBlobLengths(t *testing.T) {
	u, image := fake(t)
	layer := image.Layers()[0]
	r := connect(t, u)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Method: "GET", Fault: registrytest.Fault{NoLength: true}})
	b, err := r.Blob(t.Context(), app, layer.Digest, registry.Range{})
	if err != nil || b.Size != -1 || b.Length != -1 {
		t.Fatalf("chunked: %+v, %v", b, err)
	}
	_ = b.Body.Close()
	if got := registrytest.ReadBlob(t, r, app, layer.Digest, registry.Range{Offset: 5, Length: 10}); !bytes.Equal(got, layer.Bytes()[5:15]) {
		t.Errorf("chunked range: %d bytes", len(got))
	}
	u.Heal()
	for _, h := range []string{"bytes 6-15/200000", "bytes 5-14/10", "bytes 14-5/20", "items 5-14/20", ""} {
		u.Set(func(b *registrytest.Behavior) {
			b.Rules = []registrytest.Rule{{Fault: registrytest.Fault{Header: http.Header{"Content-Range": {h}}}}}
		})
		_, err := r.Blob(t.Context(), app, layer.Digest, registry.Range{Offset: 5, Length: 10})
		want(t, err, registry.Unknown, "206")
	}
	u.Heal()
	empty := registrytest.BytesContent("", nil)
	u.PutBlob(app, empty)
	if d, err := r.StatBlob(t.Context(), app, empty.Digest); err != nil || d.Size != 0 {
		t.Errorf("empty blob: %+v, %v", d, err)
	}
	_, err = r.Blob(t.Context(), app, layer.Digest, registry.Range{Offset: 300_000})
	if e, ok := errors.AsType[*oci.Error](err); !ok || e.Code != oci.CodeRangeInvalid || e.Detail.(map[string]int64)["size"] != layer.Size {
		t.Errorf("beyond the end: %v", err)
	}
}

// TestUnreachable: an upstream that is not there, or does not speak what it should, is unknown and says why.
func TestUnreachable(t *testing.T) {
	plain, _ := fake(t)
	secure := registrytest.NewUpstream(t, registrytest.UpstreamOptions{TLS: true})
	gone, _ := fake(t)
	gone.Stop()
	for _, c := range []struct{ name, url, part string }{
		{"refused", gone.URL(), "connection refused"},
		{"no such host", "https://registry.invalid", "host"},
		{"no TLS", "https://" + plain.Host(), "does not speak TLS"},
		{"unknown authority", secure.URL(), "unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, stat(t, open(t, c.url)), registry.Unknown, c.part)
		})
	}
}

// TestDrip: an upstream that sends a byte now and then cannot keep a question open.
func TestDrip(t *testing.T) {
	u, _ := fake(t)
	r := connect(t, u, quick)
	u.Fail(registrytest.Rule{Kind: registrytest.KindManifest, Fault: registrytest.Fault{BytesPerSecond: 50}}) // below the idle timeout
	_, err := r.Manifest(t.Context(), app, v1())
	want(t, err, registry.Unknown, "no answer in time")
}

// TestCancel: the caller's cancellation ends the request, and is nobody's failure.
func TestCancel(t *testing.T) {
	u, _ := fake(t)
	u.Fail(registrytest.Rule{Times: 5, Fault: registrytest.Fault{Hang: true}})
	r := connect(t, u)
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := r.Manifest(ctx, app, v1())
		cancel()
		if want(t, err, registry.Unknown, "given up"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not tell that it is the caller's deadline", err)
		}
	}
	if r.Open() {
		t.Error("impatient callers opened the breaker")
	}
	mustStat(t, r, 1)
}

// TestBodyCloses: closing a body that hangs ends the read.
func TestBodyCloses(t *testing.T) {
	u, image := fake(t)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Fault: registrytest.Fault{HangAt: 1000}})
	b, err := connect(t, u).Blob(t.Context(), app, image.Layers()[0].Digest, registry.Range{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, b.Body, 1000); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { _, err := b.Body.Read(make([]byte, 10)); ended <- err }()
	if err := b.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("a read of a closed body succeeded")
	}
}

// TestConcurrency: transfers wait for each other, and not manifests for transfers.
func TestConcurrency(t *testing.T) {
	u, image := fake(t)
	r := connect(t, u, quick, func(o *upstream.Options) { o.Concurrency = 1 })
	layer := image.Layers()[0].Digest
	b, err := r.Blob(t.Context(), app, layer, registry.Range{})
	if err != nil {
		t.Fatal(err)
	}
	mustStat(t, r, 1)
	_, err = r.Blob(t.Context(), app, layer, registry.Range{})
	if o := want(t, err, registry.Unknown, "under way"); !o.Limited {
		t.Error("our own limit is no fault of the upstream")
	}
	_ = b.Body.Close()
	registrytest.ReadBlob(t, r, app, layer, registry.Range{})
}

// TestBrokenConnection: a connection that breaks costs one more request, not the answer; one that breaks again does.
func TestBrokenConnection(t *testing.T) {
	for _, fault := range []registrytest.Fault{{Reset: true}, {ResetAt: 20}, {CutAt: 20}} {
		for _, times := range []int{1, 2} {
			u, image := fake(t)
			r := connect(t, u)
			ask := map[registrytest.Kind]func() error{
				registrytest.KindManifest: func() error { _, err := r.Manifest(t.Context(), app, v1()); return err },
				registrytest.KindTags:     func() error { _, err := r.Tags(t.Context(), app, registry.Page{}); return err },
				registrytest.KindReferrers: func() error {
					_, err := r.Referrers(t.Context(), app, image.Manifest.Digest, "")
					return err
				},
			}
			for kind, ask := range ask {
				u.Fail(registrytest.Rule{Kind: kind, Times: times, Fault: fault})
				if err := ask(); (err == nil) != (times == 1) || u.Count("GET", kind) != 2 {
					t.Errorf("%+v, %d times, %s: %v after %d requests", fault, times, kind, err, u.Count("GET", kind))
				}
			}
		}
	}
}

package distribution_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/serve/distribution"
)

const digestA = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func push(t *testing.T, r registry.Registry, names ...string) registrytest.Image {
	t.Helper()
	image := registrytest.RandomImage(1, 1, 100)
	for _, name := range names {
		registrytest.Push(t, r, name, []string{"t"}, image)
	}
	return image
}

func get(t *testing.T, client *http.Client, method, url string, body io.Reader, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

func TestPushToVirtualIsUnsupported(t *testing.T) {
	s := (&world{}).open(t)
	for _, c := range []struct{ method, path string }{
		{http.MethodPut, "manifests/t"}, {http.MethodPost, "blobs/uploads/"}, {http.MethodDelete, "manifests/t"}, {http.MethodPatch, "blobs/uploads/x"},
	} {
		resp, b := get(t, as("admin"), c.method, s.URL+"/v2/g/v/a/"+c.path, nil)
		if resp.StatusCode != http.StatusMethodNotAllowed || !bytes.Contains(b, []byte("UNSUPPORTED")) || !bytes.Contains(b, []byte("hosted repository")) || !bytes.Contains(b, []byte("g/a")) {
			t.Errorf("%s %s: %s %s", c.method, c.path, resp.Status, b)
		}
		// Who lacks the right hears that it would not help, unless he may not even pull.
		resp, b = get(t, as("reader"), c.method, s.URL+"/v2/g/v/a/"+c.path, nil)
		if resp.StatusCode != http.StatusForbidden || !bytes.Contains(b, []byte("you may not")) || !bytes.Contains(b, []byte("is a virtual registry")) {
			t.Errorf("%s %s without the right: %s %s", c.method, c.path, resp.Status, b)
		}
		resp, b = get(t, as("stranger"), c.method, s.URL+"/v2/g/v/a/"+c.path, nil)
		if resp.StatusCode != http.StatusForbidden || bytes.Contains(b, []byte("virtual")) {
			t.Errorf("%s %s by a stranger: %s %s", c.method, c.path, resp.Status, b)
		}
	}
}

func TestLoopIsRefused(t *testing.T) {
	s := (&world{opts: distribution.Options{Instance: "weir-7"}}).open(t)
	resp, b := get(t, as("admin"), http.MethodGet, s.URL+"/v2/g/a/manifests/t", nil, "Via", "1.1 proxy, 1.1 weir-7")
	if resp.StatusCode != http.StatusLoopDetected || !bytes.Contains(b, []byte("leads back here")) {
		t.Errorf("%s %s", resp.Status, b)
	}
	if resp, _ := get(t, as("admin"), http.MethodGet, s.URL+"/v2/g/a/manifests/t", nil, "Via", "1.1 weir-8"); resp.StatusCode != 404 {
		t.Errorf("another instance: %s", resp.Status)
	}
}

// asked keeps who asked.
type asked struct {
	registry.Registry
	by *registry.Caller
}

func (r asked) Manifest(ctx context.Context, name string, ref oci.Reference) (*registry.Manifest, error) {
	*r.by = registry.CallerFrom(ctx)
	return r.Registry.Manifest(ctx, name, ref)
}

// TestViaIsHandedOn: what answers the request learns through whose hands it came, so that a loop through several instances
// ends at the first one that sees it again.
func TestViaIsHandedOn(t *testing.T) {
	var by registry.Caller
	memory := registrytest.NewMemory()
	push(t, memory, "a")
	s := (&world{virtual: asked{memory, &by}, opts: distribution.Options{Instance: "weir-7"}}).open(t)
	url := s.URL + "/v2/g/v/a/manifests/t"
	if resp, b := get(t, as("reader"), http.MethodGet, url, nil, "Via", "1.1 weir-8", "Via", "1.1 proxy (nginx)"); resp.StatusCode != 200 {
		t.Fatalf("%s %s", resp.Status, b)
	}
	if by.Via != "1.1 weir-8, 1.1 proxy (nginx)" || by.Principal != "reader" {
		t.Errorf("asked by %+v", by)
	}
	if resp, _ := get(t, as("reader"), http.MethodGet, url, nil, "Via", strings.Repeat("1.1 weir-8, ", 100)); resp.StatusCode != http.StatusLoopDetected {
		t.Errorf("a hundred hops: %s", resp.Status)
	}
}

// traced fills in the trace like a virtual registry does.
type traced struct {
	registry.Registry
	values registry.TraceValues
	err    error
}

func (r traced) Manifest(ctx context.Context, name string, ref oci.Reference) (*registry.Manifest, error) {
	registry.TraceFrom(ctx).Update(func(v *registry.TraceValues) {
		v.Cache, v.Age, v.DecisionID, v.Member = r.values.Cache, r.values.Age, r.values.DecisionID, "up"
	})
	if r.err != nil {
		return nil, r.err
	}
	return r.Registry.Manifest(ctx, name, ref)
}

func TestTraceHeaders(t *testing.T) {
	memory := registrytest.NewMemory()
	push(t, memory, "a")
	for _, c := range []struct {
		status           registry.CacheStatus
		age, cache, warn string
	}{
		{registry.CacheHit, "90", "weir; hit", ""}, {registry.CacheStale, "90", "weir; hit; detail=stale", "299 - "},
		{registry.CacheRevalidated, "90", "weir; hit; detail=revalidated", ""}, {registry.CacheMiss, "", "weir; fwd=miss; stored", ""},
		{registry.CacheJoined, "", "weir; fwd=miss; stored; collapsed", ""}, {registry.CachePass, "", "weir; fwd=miss", ""},
	} {
		s := (&world{virtual: traced{Registry: memory, values: registry.TraceValues{Cache: c.status, Age: 90 * time.Second, DecisionID: "d1"}}}).open(t)
		resp, _ := get(t, as("admin"), http.MethodGet, s.URL+"/v2/g/v/a/manifests/t", nil)
		h := resp.Header
		if h.Get("Age") != c.age || h.Get("Cache-Status") != c.cache || !strings.HasPrefix(h.Get("Warning"), c.warn) || h.Get("Weir-Decision") != "d1" {
			t.Errorf("%s: %v", c.status, h)
		}
	}
	s := (&world{virtual: traced{Registry: memory, values: registry.TraceValues{DecisionID: "d2"}, err: oci.NewError(oci.CodeDenied, "rule")}}).open(t)
	if resp, _ := get(t, as("admin"), http.MethodGet, s.URL+"/v2/g/v/a/manifests/t", nil); resp.StatusCode != 403 || resp.Header.Get("Weir-Decision") != "d2" {
		t.Errorf("refused: %s %v", resp.Status, resp.Header)
	}
}

// bodies answers blobs with a body of the test's.
type bodies struct {
	registry.Unimplemented
	blob registry.Blob
}

func (b bodies) Blob(context.Context, string, oci.Digest, registry.Range) (*registry.Blob, error) {
	return &b.blob, nil
}

func (b bodies) StatBlob(context.Context, string, oci.Digest) (oci.Descriptor, error) {
	return b.blob.Descriptor, nil
}

type brokenBody struct{ sent bool }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errors.New("wrong digest")
	}
	b.sent = true
	return copy(p, "some bytes"), nil
}

func (b *brokenBody) Close() error { return nil }

// TestAbortedBlob: a body that fails must never look complete, whether or not its length is known.
func TestAbortedBlob(t *testing.T) {
	for _, length := range []int64{100, -1} {
		w := &world{hosted: bodies{blob: registry.Blob{Descriptor: oci.Descriptor{Digest: digestA, Size: length}, Length: length, Body: &brokenBody{}}}}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.open(t).URL+"/v2/g/a/blobs/"+digestA, nil)
		resp, err := as("admin").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil || resp.StatusCode != 200 {
			t.Errorf("length %d: read %q without an error", length, b)
		}
	}
}

func TestShortBlobIsCut(t *testing.T) {
	w := &world{hosted: bodies{blob: registry.Blob{
		Descriptor: oci.Descriptor{Digest: digestA, Size: 100}, Length: 100, Body: io.NopCloser(strings.NewReader("short")),
	}}}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.open(t).URL+"/v2/g/a/blobs/"+digestA, nil)
	resp, err := as("admin").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("read %q without an error", b)
	}
	_ = resp.Body.Close()
}

func TestRedirect(t *testing.T) {
	w := &world{hosted: bodies{blob: registry.Blob{Descriptor: oci.Descriptor{Digest: digestA, Size: 5}, Length: 5, Location: "https://store.test/x?sig=1"}}}
	resp, _ := get(t, as("admin"), http.MethodGet, w.open(t).URL+"/v2/g/a/blobs/"+digestA, nil)
	if resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != "https://store.test/x?sig=1" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
}

func TestBlobLimit(t *testing.T) {
	w := &world{opts: distribution.Options{MaxBlob: 1000}}
	s := w.open(t)
	big := bytes.Repeat([]byte("x"), 1001)
	uploads := s.URL + "/v2/g/a/blobs/uploads/"
	d := string(oci.DigestOf(oci.SHA256, big))
	for name, body := range map[string]io.Reader{"known length": bytes.NewReader(big), "unknown length": io.MultiReader(bytes.NewReader(big))} {
		resp, b := get(t, as("admin"), http.MethodPost, uploads+"?digest="+d, body)
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !bytes.Contains(b, []byte("SIZE_INVALID")) {
			t.Errorf("%s: %s %s", name, resp.Status, b)
		}
	}
	resp, _ := get(t, as("admin"), http.MethodPost, uploads, nil)
	at := s.URL + resp.Header.Get("Location")
	if resp, _ := get(t, as("admin"), http.MethodPatch, at, bytes.NewReader(big[:600])); resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
	if resp, _ := get(t, as("admin"), http.MethodPatch, at, bytes.NewReader(big[:600])); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("second chunk over the limit: %s", resp.Status)
	}
	if resp, _ := get(t, as("admin"), http.MethodPatch, at, bytes.NewReader(big[:400])); resp.StatusCode != http.StatusAccepted {
		t.Errorf("up to the limit: %s", resp.Status)
	}
	endless := httptest.NewRequestWithContext(t.Context(), http.MethodPatch, resp.Header.Get("Location"), bytes.NewReader(big))
	endless.ContentLength = math.MaxInt64
	endless.SetBasicAuth("admin", "secret")
	if err := distribution.New(w.opts).Serve(httptest.NewRecorder(), endless); oci.ErrorCode(err) != oci.CodeSizeInvalid || !strings.Contains(err.Error(), "1000") {
		t.Errorf("a length that does not fit: %v", err)
	}
}

func TestMountChecksTheSource(t *testing.T) {
	w := &world{}
	s := w.open(t)
	image := push(t, w.hosted, "private/a", "public/a")
	d := string(image.Blobs[0].Digest)
	post := func(user, from string) int {
		resp, _ := get(t, as(user), http.MethodPost, s.URL+"/v2/g/b/blobs/uploads/?mount="+d+"&from="+from, nil)
		return resp.StatusCode
	}
	if got := post("admin", "g/private/a"); got != http.StatusCreated {
		t.Errorf("readable source: %d", got)
	}
	for _, from := range []string{"x/private/a", "g/v/a", "g/nowhere", "UPPER", ""} {
		if got := post("admin", from); got != http.StatusAccepted {
			t.Errorf("from %q: %d, want an upload session", from, got)
		}
	}
}

// pusher may push anywhere but read only what is public.
type pusher struct{ *world }

func (p pusher) Authorize(_ context.Context, a distribution.Action, t distribution.Target) error {
	if a == distribution.Push || t.Anonymous {
		return nil
	}
	return oci.NewError(oci.CodeDenied, "no")
}

func TestMountFromUnreadableSourceLooksLikeAMissingOne(t *testing.T) {
	w := &world{hosted: registrytest.NewMemory()}
	image := push(t, w.hosted, "private/a")
	h := distribution.New(distribution.Options{Namespace: w, Access: pusher{w}})
	for _, from := range []string{"g/private/a", "g/nowhere/a"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/g/b/blobs/uploads/?mount="+string(image.Blobs[0].Digest)+"&from="+from, nil)
		rec := httptest.NewRecorder()
		if err := h.Serve(rec, r); err != nil || rec.Code != http.StatusAccepted {
			t.Errorf("from %s: %d, %v; want an upload session", from, rec.Code, err)
		}
	}
}

// limited may read everything, but the token at hand covers pushing alone.
type limited struct{ *world }

func (l limited) Authenticate(r *http.Request) (context.Context, registry.Caller, error) {
	return r.Context(), registry.Caller{PrincipalID: 1, Principal: "ann"}, nil
}

func (l limited) Authorize(_ context.Context, a distribution.Action, _ distribution.Target) error {
	if a == distribution.Push {
		return nil
	}
	return oci.NewError(oci.CodeUnauthorized, "the bearer token does not cover this")
}

func TestMountAsksForAWiderToken(t *testing.T) {
	w := &world{hosted: registrytest.NewMemory()}
	h := distribution.New(distribution.Options{Namespace: w, Access: limited{w}})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/g/b/blobs/uploads/?mount="+digestA+"&from=g/a", nil)
	rec := httptest.NewRecorder()
	err := h.Serve(rec, r)
	want := `scope="repository:g/b:pull,push repository:g/a:pull"`
	if oci.ErrorCode(err) != oci.CodeUnauthorized || !strings.Contains(rec.Header().Get("WWW-Authenticate"), want) {
		t.Errorf("%v, challenge %s", err, rec.Header().Get("WWW-Authenticate"))
	}
}

func TestCatalog(t *testing.T) {
	w := &world{opts: distribution.Options{MaxPage: 3}}
	s := w.open(t)
	push(t, w.hosted, "a", "b", "c", "private/x", "private/y", "private/z", "zz", "zzz")
	list := func(user, query string) (names []string, link string) {
		resp, b := get(t, as(user), http.MethodGet, s.URL+query, nil)
		var body struct{ Repositories []string }
		if err := json.Unmarshal(b, &body); err != nil || resp.StatusCode != 200 || body.Repositories == nil {
			t.Fatalf("%s: %s %s", query, resp.Status, b)
		}
		return body.Repositories, strings.TrimSuffix(strings.TrimPrefix(resp.Header.Get("Link"), "<"), `>; rel="next"`)
	}
	for user, want := range map[string][]string{
		"admin":  {"g/a", "g/b", "g/c", "g/private/x", "g/private/y", "g/private/z", "g/zz", "g/zzz"},
		"reader": {"g/a", "g/b", "g/c", "g/zz", "g/zzz"},
	} {
		for _, first := range []string{"/v2/_catalog", "/v2/_catalog?n=2", "/v2/_catalog?n=100"} {
			var got []string
			for next := first; next != ""; {
				var page []string
				page, next = list(user, next)
				got = append(got, page...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: %v, want %v", user, first, got, want)
			}
		}
	}
	if names, link := list("admin", "/v2/_catalog?n=0"); len(names) != 0 || link != "" {
		t.Errorf("n=0: %v %s", names, link)
	}
	if resp, _ := get(t, as(""), http.MethodGet, s.URL+"/v2/_catalog", nil); resp.StatusCode != 401 {
		t.Errorf("anonymous: %s", resp.Status)
	}
}

func TestAnonymousPull(t *testing.T) {
	w := &world{}
	s := w.open(t)
	push(t, w.hosted, "public/a")
	if resp, _ := get(t, as(""), http.MethodGet, s.URL+"/v2/g/public/a/manifests/t", nil); resp.StatusCode != 200 {
		t.Errorf("pull without a token: %s", resp.Status)
	}
	if resp, _ := get(t, as(""), http.MethodGet, s.URL+"/v2/", nil); resp.StatusCode != 401 {
		t.Errorf("/v2/ without credentials: %s", resp.Status)
	}
	if resp, _ := get(t, as(""), http.MethodGet, s.URL+"/v2/", nil, "Authorization", "Bearer anonymous"); resp.StatusCode != 200 {
		t.Errorf("/v2/ with an anonymous token: %s", resp.Status)
	}
	if resp, b := get(t, as("reader"), http.MethodGet, s.URL+"/v2/", nil); resp.StatusCode != 200 || string(b) != "{}" {
		t.Errorf("/v2/ with credentials: %s %s", resp.Status, b)
	}
}

func TestAllow(t *testing.T) {
	s := (&world{}).open(t)
	resp, _ := get(t, as("admin"), http.MethodPost, s.URL+"/v2/g/a/manifests/t", nil)
	if got := resp.Header.Get("Allow"); got != "GET, HEAD, PUT, DELETE" || resp.StatusCode != 405 {
		t.Errorf("%s Allow %q", resp.Status, got)
	}
	if resp, _ := get(t, as("admin"), http.MethodGet, s.URL+"/v2/g/a/unheard-of", nil); resp.StatusCode != 404 {
		t.Errorf("unknown resource: %s", resp.Status)
	}
}

// TestManifestIsNoPage: people choose the media types of what they push, and a browser must not run it as a page of this host.
func TestManifestIsNoPage(t *testing.T) {
	s := (&world{}).open(t)
	at := s.URL + "/v2/g/public/page/manifests/t"
	page := `{"schemaVersion":2,"manifests":[],"annotations":{"a":"<script>alert(1)</script>"}}`
	if resp, b := get(t, as("admin"), http.MethodPut, at, strings.NewReader(page), "Content-Type", "text/html"); resp.StatusCode != 201 {
		t.Fatalf("%s %s", resp.Status, b)
	}
	resp, _ := get(t, as(""), http.MethodGet, at, nil)
	if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "sandbox") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
}

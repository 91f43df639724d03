package stack

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// Remote is a server as a client sees it.
type Remote struct {
	URL   string
	Token string // personal token, sent with every request; empty = anonymous
}

// Answer is what came back, with its body read as far as it came.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Err    error // the connection broke, before or within the answer

	request string
}

// Change alters a request before it is sent.
type Change func(*http.Request)

// Header sets a header. Host is set too where that is named.
func Header(name, value string) Change {
	return func(r *http.Request) {
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
}

// Body sends b.
func Body(mediaType string, b []byte) Change {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", mediaType)
		r.ContentLength, r.Body = int64(len(b)), io.NopCloser(bytes.NewReader(b))
	}
}

// Do asks for a path below /v2/, or for one that begins with a slash. Redirects are not followed.
func (r Remote) Do(t *testing.T, method, path string, changes ...Change) Answer {
	t.Helper()
	resp, err := r.Open(t, method, path, changes...)
	a := Answer{Err: err, request: method + " " + path}
	if err != nil {
		return a
	}
	defer func() { _ = resp.Body.Close() }()
	a.Status, a.Header = resp.StatusCode, resp.Header
	a.Body, a.Err = io.ReadAll(resp.Body)
	return a
}

// Open is Do for callers who read the body themselves.
func (r Remote) Open(t *testing.T, method, path string, changes ...Change) (*http.Response, error) {
	t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/v2/" + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	req.Header.Set("Accept", oci.ManifestAccept)
	for _, change := range changes {
		change(req)
	}
	return transport.RoundTrip(req)
}

// transport opens a connection for each request, so that nothing of one test is left for the next, and does not ask for gzip.
var transport = &http.Transport{DisableKeepAlives: true, DisableCompression: true}

// Want checks the status.
func (a Answer) Want(t *testing.T, status ...int) Answer {
	t.Helper()
	if a.Err != nil || !slices.Contains(status, a.Status) {
		t.Fatalf("%s: %d, %v, want %v; %.500s", a.request, a.Status, a.Err, status, a.Body)
	}
	return a
}

// WantHeader checks a header.
func (a Answer) WantHeader(t *testing.T, name, value string) Answer {
	t.Helper()
	if got := a.Header.Get(name); got != value {
		t.Errorf("%s: %s is %q, want %q", a.request, name, got, value)
	}
	return a
}

// WantBody checks the body.
func (a Answer) WantBody(t *testing.T, b []byte) Answer {
	t.Helper()
	if !bytes.Equal(a.Body, b) {
		t.Errorf("%s: a body of %d bytes is not the %d expected: %.200q", a.request, len(a.Body), len(b), a.Body)
	}
	return a
}

// WantCode checks status and error code.
func (a Answer) WantCode(t *testing.T, status int, code oci.Code) Answer {
	t.Helper()
	a.Want(t, status)
	if !bytes.Contains(a.Body, fmt.Appendf(nil, `"code":%q`, code)) {
		t.Errorf("%s: %.500s, want code %s", a.request, a.Body, code)
	}
	return a
}

// Push pushes an image with everything it names.
func (r Remote) Push(t *testing.T, repository string, tags []string, image registrytest.Image) {
	t.Helper()
	for _, child := range image.Children {
		r.Push(t, repository, nil, child)
	}
	for _, b := range image.Blobs {
		r.PushBlob(t, repository, b)
	}
	for _, ref := range append([]string{string(image.Manifest.Digest)}, tags...) {
		r.Do(t, "PUT", repository+"/manifests/"+ref, Body(image.Manifest.MediaType, image.Manifest.Payload)).Want(t, 201)
	}
}

// PushBlob pushes a blob in one request.
func (r Remote) PushBlob(t *testing.T, repository string, b registrytest.Content) {
	t.Helper()
	r.Do(t, "POST", repository+"/blobs/uploads/?digest="+string(b.Digest), Body(oci.MediaTypeOctets, b.Bytes())).Want(t, 201)
}

// Pull pulls an image as clients do, the manifest by ref and everything it names by digest, and compares every byte.
func (r Remote) Pull(t *testing.T, repository, ref string, image registrytest.Image) {
	t.Helper()
	r.Do(t, "GET", repository+"/manifests/"+ref).Want(t, 200).WantBody(t, image.Manifest.Payload)
	for _, child := range image.Children {
		r.Pull(t, repository, string(child.Manifest.Digest), child)
	}
	for _, b := range image.Blobs {
		r.Do(t, "GET", repository+"/blobs/"+string(b.Digest)).Want(t, 200).WantBody(t, b.Bytes())
	}
}

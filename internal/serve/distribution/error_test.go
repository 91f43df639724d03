package distribution_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve/distribution"
)

var update = flag.Bool("update", false, "write the golden files")

// failing answers every manifest read with one error.
type failing struct {
	registry.Unimplemented
	err error
}

func (f failing) Manifest(context.Context, string, oci.Reference) (*registry.Manifest, error) {
	return nil, f.err
}

// TestErrorBytes compares what goes over the wire for every code, and for each family of errors, with the golden file.
func TestErrorBytes(t *testing.T) {
	var cases []error
	for _, code := range []oci.Code{
		oci.CodeBlobUnknown, oci.CodeBlobUploadInvalid, oci.CodeBlobUploadUnknown, oci.CodeDigestInvalid, oci.CodeManifestBlobUnknown,
		oci.CodeManifestInvalid, oci.CodeManifestUnknown, oci.CodeNameInvalid, oci.CodeNameUnknown, oci.CodeSizeInvalid, oci.CodeTagInvalid,
		oci.CodeRangeInvalid, oci.CodePaginationInvalid, oci.CodeUnauthorized, oci.CodeDenied, oci.CodeUnsupported, oci.CodeTooManyRequests,
		oci.CodeUnavailable, oci.CodeUnknown,
	} {
		cases = append(cases, oci.NewError(code, "message of "+string(code)))
	}
	cases = append(cases,
		oci.NewError(oci.CodeUnavailable, "try later").WithRetryAfter(1500*time.Millisecond),
		oci.NewError(oci.CodeManifestInvalid, "too large").WithStatus(413).WithDetail(map[string]int{"limit": 4}),
		oci.NewError(oci.CodeDenied, "no").WithCause(errors.New("secret cause")),
		fmt.Errorf("wrapped: %w", oci.NewError(oci.CodeDenied, "inner")),
		oci.NewError(oci.CodeDenied, "a detail JSON cannot express").WithDetail(func() {}),
		errors.New("pq: password authentication failed for user weir"),
		&registry.OutcomeError{Outcome: registry.Absent, Status: 404, Reason: "secret host"},
		&registry.OutcomeError{Outcome: registry.Denied, Status: 403, Reason: "secret host"},
		&registry.OutcomeError{Outcome: registry.Forbidden, Reason: "secret name"},
		&registry.OutcomeError{Outcome: registry.Unknown, Reason: "secret host refused"},
		&registry.OutcomeError{Outcome: registry.Unknown, Status: 429, Limited: true, RetryAfter: time.Minute, Reason: "secret host"},
	)
	var got strings.Builder
	for _, err := range cases {
		w := &world{hosted: failing{err: err}}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.open(t).URL+"/v2/g/a/manifests/latest", nil)
		resp, rerr := as("admin").Do(req)
		if rerr != nil {
			t.Fatal(rerr)
		}
		dump, rerr := httputil.DumpResponse(resp, true)
		if rerr != nil {
			t.Fatal(rerr)
		}
		_ = resp.Body.Close()
		fmt.Fprintf(&got, "### %v\n%s\n\n", err, stable(string(dump)))
	}
	golden(t, "errors.golden", strings.ReplaceAll(got.String(), "\r\n", "\n"))
}

var (
	dateLine  = regexp.MustCompile(`(?m)^Date: .*\r?\n`)
	requestID = regexp.MustCompile(`[A-Z2-7]{26}`)
)

func stable(s string) string {
	return requestID.ReplaceAllString(dateLine.ReplaceAllString(s, ""), "REQUEST-ID")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (go test -update writes it):\n%s", path, got)
	}
}

// TestRefusalTellsNothing compares whole responses for names that exist and names that do not.
func TestRefusalTellsNothing(t *testing.T) {
	w := &world{opts: distribution.Options{}}
	s := w.open(t)
	push(t, w.hosted, "private/here")
	for _, user := range []string{"", "reader"} {
		for _, op := range []struct{ method, path string }{
			{http.MethodGet, "manifests/t"}, {http.MethodHead, "manifests/t"}, {http.MethodGet, "tags/list"},
			{http.MethodGet, "blobs/" + digestA}, {http.MethodGet, "referrers/" + digestA}, {http.MethodPut, "manifests/t"},
			{http.MethodDelete, "manifests/t"}, {http.MethodPost, "blobs/uploads/"}, {http.MethodGet, "blobs/uploads/x"},
		} {
			// Names of one length, so that the only difference there may be is the name itself.
			var seen []string
			for _, name := range []string{"g/private/here", "g/private/gone", "x/private/none"} {
				req, _ := http.NewRequestWithContext(t.Context(), op.method, s.URL+"/v2/"+name+"/"+op.path, nil)
				resp, err := as(user).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				dump, _ := httputil.DumpResponse(resp, true)
				_ = resp.Body.Close()
				if user == "reader" && strings.HasPrefix(name, "x/") {
					continue // the fake lets readers see that other groups do not exist
				}
				if want := map[string]int{"": 401, "reader": 403}[user]; resp.StatusCode != want {
					t.Errorf("%q %s %s: %s, want %d", user, op.method, name, resp.Status, want)
				}
				seen = append(seen, strings.ReplaceAll(stable(string(dump)), name, "NAME"))
			}
			for _, other := range seen[1:] {
				if other != seen[0] {
					t.Errorf("%q %s %s: answers differ:\n%s\n%s", user, op.method, op.path, seen[0], other)
				}
			}
		}
	}
}

func TestChallenge(t *testing.T) {
	w := &world{}
	s := w.open(t)
	for _, c := range []struct{ method, host, path, scope string }{
		{http.MethodGet, "", "/v2/", ""},
		{http.MethodGet, "", "/v2/_catalog", `,scope="registry:catalog:*"`},
		{http.MethodGet, "", "/v2/g/a/manifests/t", `,scope="repository:g/a:pull"`},
		{http.MethodHead, "", "/v2/g/a/blobs/" + digestA, `,scope="repository:g/a:pull"`},
		{http.MethodPut, "", "/v2/g/a/manifests/t", `,scope="repository:g/a:pull,push"`},
		{http.MethodPost, "", "/v2/g/a/blobs/uploads/", `,scope="repository:g/a:pull,push"`},
		{http.MethodPost, "", "/v2/g/a/blobs/uploads/?mount=" + digestA + "&from=g/b", `,scope="repository:g/a:pull,push repository:g/b:pull"`},
		{http.MethodDelete, "", "/v2/g/a/manifests/t", `,scope="repository:g/a:delete"`},
		{http.MethodGet, "bound.test", "/v2/library/alpine/manifests/t", `,scope="repository:library/alpine:pull"`},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), c.method, s.URL+c.path, nil)
		req.Host = c.host
		resp, err := as("").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		want := `Bearer realm="https://weir.test/token",service="weir.test"` + c.scope
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != want {
			t.Errorf("%s %s: %s %s, want %s", c.method, c.path, resp.Status, got, want)
		}
		if resp.Header.Get("Docker-Distribution-API-Version") != "registry/2.0" {
			t.Errorf("%s %s: no Docker-Distribution-API-Version", c.method, c.path)
		}
	}
}

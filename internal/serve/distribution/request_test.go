package distribution

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
)

const testDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		path string
		want request
		code oci.Code
	}{
		{path: "/v2", want: request{kind: kindBase}},
		{path: "/v2/", want: request{kind: kindBase}},
		{path: "/v2/_catalog", want: request{kind: kindCatalog}},
		{path: "/v2/a/manifests/t", want: request{kind: kindManifest, name: "a", reference: oci.ByTag("t")}},
		{path: "/v2/a/b/c/manifests/" + testDigest, want: request{kind: kindManifest, name: "a/b/c", reference: oci.ByDigest(testDigest)}},
		{path: "/v2/a/blobs/" + testDigest, want: request{kind: kindBlob, name: "a", digest: testDigest}},
		{path: "/v2/a/blobs/uploads/", want: request{kind: kindUploads, name: "a"}},
		{path: "/v2/a/blobs/uploads", want: request{kind: kindUploads, name: "a"}},
		{path: "/v2/a/blobs/uploads/xyz", want: request{kind: kindUpload, name: "a", upload: "xyz"}},
		{path: "/v2/a/tags/list", want: request{kind: kindTags, name: "a"}},
		{path: "/v2/a/referrers/" + testDigest, want: request{kind: kindReferrers, name: "a", digest: testDigest}},
		{path: "/v2/manifests/manifests/manifests", want: request{kind: kindManifest, name: "manifests", reference: oci.ByTag("manifests")}},
		{path: "/v2/a/blobs/uploads/tags/list", want: request{kind: kindTags, name: "a/blobs/uploads"}},
		{path: "/v2/a/manifests/tags/list", want: request{kind: kindTags, name: "a/manifests"}},
		{path: "/v2/g/hub/ghcr.io/org/img/manifests/t", want: request{kind: kindManifest, name: "g/hub/ghcr.io/org/img", reference: oci.ByTag("t")}},
		{path: "/v2/a", code: oci.CodeUnsupported},
		{path: "/v2/a/", code: oci.CodeUnsupported},
		{path: "/v2x/a", code: oci.CodeUnsupported},
		{path: "/v2//manifests/t", code: oci.CodeNameInvalid},
		{path: "/v2/manifests/t", code: oci.CodeNameInvalid},
		{path: "/v2/A/manifests/t", code: oci.CodeNameInvalid},
		{path: "/v2/a/../b/manifests/t", code: oci.CodeNameInvalid},
		{path: "/v2/a/manifests/", code: oci.CodeTagInvalid},
		{path: "/v2/a/manifests/.t", code: oci.CodeTagInvalid},
		{path: "/v2/a/manifests/sha256:1", code: oci.CodeDigestInvalid},
		{path: "/v2/a/blobs/latest", code: oci.CodeDigestInvalid},
		{path: "/v2/a/blobs/uploads/x%y", code: oci.CodeBlobUploadUnknown},
		{path: "/v2/a/referrers/", code: oci.CodeDigestInvalid},
	} {
		got, err := parsePath(c.path)
		if oci.ErrorCode(err) != c.code {
			t.Errorf("%s: %v, want %q", c.path, err, c.code)
		} else if err == nil && !equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.path, got, c.want)
		}
	}
}

// What cannot be a tag is absent to a reader and wrong to a writer.
func TestParseNoTag(t *testing.T) {
	for method, want := range map[string]oci.Code{
		http.MethodGet: oci.CodeManifestUnknown, http.MethodHead: oci.CodeManifestUnknown, http.MethodDelete: oci.CodeManifestUnknown,
		http.MethodPut: oci.CodeTagInvalid,
	} {
		if _, err := parse(method, &url.URL{Path: "/v2/a/manifests/.t"}); oci.ErrorCode(err) != want {
			t.Errorf("%s: %v, want %s", method, err, want)
		}
	}
}

func equal(a, b request) bool {
	return slices.Equal(a.tags, b.tags) && a.kind == b.kind && a.name == b.name && a.reference == b.reference && a.digest == b.digest && a.upload == b.upload
}

// FuzzParse checks that whatever parses is safe to hand on, and that nothing makes the parser panic.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"/v2/", "/v2/_catalog?n=5&last=a", "/v2/a/manifests/t?tag=x&digest=" + testDigest, "/v2/a/blobs/uploads/?mount=" + testDigest + "&from=b",
		"/v2/a/blobs/uploads/x?digest-algorithm=sha512", "/v2/a/tags/list?n=-1", "/v2/a/referrers/" + testDigest + "?artifactType=x/y", "/v2/%61/blobs/%00",
	} {
		f.Add("GET", s)
		f.Add("PUT", s)
		f.Add("POST", s)
	}
	f.Fuzz(func(t *testing.T, method, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		req, err := parse(method, u)
		if err != nil {
			if oci.ErrorCode(err) == "" {
				t.Errorf("not a protocol error: %v", err)
			}
			return
		}
		if req.kind > kindCatalog && !oci.ValidRepository(req.name) {
			t.Errorf("name %q", req.name)
		}
		if req.kind == kindManifest && (req.reference.IsZero() || req.reference.Tag != "" && !oci.ValidTag(req.reference.Tag)) {
			t.Errorf("reference %+v", req.reference)
		}
		if req.kind == kindUpload && !validUploadID(req.upload) {
			t.Errorf("upload %q", req.upload)
		}
		if strings.ContainsRune(req.page.Last, 0) || req.page.N < 0 {
			t.Errorf("page %+v", req.page)
		}
	})
}

// FuzzRanges checks that a range that parses is one that the registry may be asked for.
func FuzzRanges(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=-1", "bytes=5-9", "bytes=9-5", "bytes=1-2,3-4", "0-9", "bytes 0-9/10", "-", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := &http.Request{Header: http.Header{"Range": {s}}}
		rng, ok, err := parseRange(r, testDigest)
		if err == nil && ok {
			for _, size := range []int64{0, 1, 1000} {
				offset, length, err := rng.Resolve(size)
				if err == nil && (offset < 0 || length < 0 || offset+length > size) {
					t.Errorf("%q of %d: %d+%d", s, size, offset, length)
				}
			}
		}
		if start, length, err := parseContentRange(s); err == nil && (start < 0 || length < 1) {
			t.Errorf("%q: %d+%d", s, start, length)
		}
	})
}

func TestViaSelf(t *testing.T) {
	const via = "1.1 nginx, HTTP/1.1 weir-a (weir), 2 weir-b"
	for name, want := range map[string]bool{"weir-a": true, "weir-b": true, "weir": false, "nginx": true, "": false} {
		if got := viaSelf(via, name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

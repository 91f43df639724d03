package distribution

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// kind is what a URL of the distribution API addresses.
type kind uint8

const (
	kindBase      kind = iota + 1 // /v2/
	kindCatalog                   // /v2/_catalog
	kindManifest                  // /v2/<name>/manifests/<reference>
	kindBlob                      // /v2/<name>/blobs/<digest>
	kindUploads                   // /v2/<name>/blobs/uploads/
	kindUpload                    // /v2/<name>/blobs/uploads/<id>
	kindTags                      // /v2/<name>/tags/list
	kindReferrers                 // /v2/<name>/referrers/<digest>
)

// String is the word used in access lines and metrics.
func (k kind) String() string {
	return [...]string{"unknown", "base", "catalog", "manifest", "blob", "uploads", "upload", "tags", "referrers"}[k]
}

// methods lists what each kind answers; HEAD stands beside every GET.
func (k kind) methods() []string {
	switch k {
	case kindManifest:
		return []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}
	case kindBlob:
		return []string{http.MethodGet, http.MethodHead, http.MethodDelete}
	case kindUploads:
		return []string{http.MethodPost}
	case kindUpload:
		return []string{http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPut, http.MethodDelete}
	}
	return []string{http.MethodGet, http.MethodHead}
}

// request is a request of the distribution API, parsed once: nothing below looks at the URL again.
type request struct {
	kind      kind
	name      string        // as in the URL: as the client sees it at its door
	reference oci.Reference // kindManifest
	digest    oci.Digest    // kindBlob, kindReferrers; of the "digest" parameter for kindUploads, kindUpload and kindManifest
	algorithm string        // "digest-algorithm" parameter of a push; empty when not given
	upload    string        // kindUpload: the session's id

	ns           string // "ns" parameter: the host that the image's name begins with at the client
	mount        oci.Digest
	from         string
	tags         []string // "tag" parameters of a manifest push
	artifactType string
	limited      bool // "n" was given
	page         registry.Page
}

// Limits on what a request may carry.
const (
	maxUploadID = 128
	maxTagsPut  = 100
	maxLast     = 512
)

// parse reads method and URL. Errors are protocol errors.
func parse(method string, u *url.URL) (request, error) {
	req, err := parsePath(u.Path)
	if errors.Is(err, errTagInvalid) && (method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete) {
		return req, errNoManifest
	}
	if err != nil {
		return req, err
	}
	if !slices.Contains(req.kind.methods(), method) {
		return req, oci.NewError(oci.CodeUnsupported, "this resource does not support the method; see the Allow header")
	}
	if u.RawQuery == "" {
		return req, nil
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return req, oci.NewError(oci.CodeUnsupported, "the query of the URL is malformed").WithStatus(http.StatusBadRequest)
	}
	if err := req.parseQuery(method, q); err != nil {
		return req, err
	}
	for _, values := range q {
		if slices.ContainsFunc(values, func(v string) bool { return !oci.ValidText(v) }) {
			return req, oci.NewError(oci.CodeUnsupported, "a parameter of the URL is no text: want UTF-8 without NUL").WithStatus(http.StatusBadRequest)
		}
	}
	return req, nil
}

// parsePath reads the path from its end, because a repository name may contain any of the words.
func parsePath(path string) (request, error) {
	rest, ok := strings.CutPrefix(path, "/v2")
	if !ok {
		return request{}, errNotFound
	}
	if rest == "" || rest == "/" {
		return request{kind: kindBase}, nil
	}
	if rest == "/_catalog" {
		return request{kind: kindCatalog}, nil
	}
	if rest[0] != '/' {
		return request{}, errNotFound
	}
	head, last := cutLast(rest[1:])
	name, word := cutLast(head)
	req := request{name: name}
	var err error
	switch {
	case word == "manifests":
		req.kind = kindManifest
		req.reference, err = parseReference(last)
	case word == "blobs" && last == "uploads":
		req.kind = kindUploads
	case word == "blobs":
		req.kind = kindBlob
		req.digest, err = parseDigest(last)
	case word == "tags" && last == "list":
		req.kind = kindTags
	case word == "referrers":
		req.kind = kindReferrers
		req.digest, err = parseDigest(last)
	case word == "uploads" && strings.HasSuffix(name, "/blobs"):
		req.kind, req.upload, req.name = kindUpload, last, strings.TrimSuffix(name, "/blobs")
		if last == "" {
			req.kind = kindUploads
		} else if !validUploadID(last) {
			err = errUploadUnknown
		}
	default:
		return request{}, errNotFound
	}
	if !oci.ValidRepository(req.name) {
		return req, oci.NewError(oci.CodeNameInvalid, "not a repository name: path components of lower-case letters and digits, "+
			"joined by '.', '_', '__' or '-' and separated by '/', at most 255 characters")
	}
	return req, err
}

// cutLast splits "a/b/c" into "a/b" and "c".
func cutLast(s string) (head, last string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

func (req *request) parseQuery(method string, q url.Values) error {
	req.ns = q.Get("ns")
	var err error
	switch req.kind {
	case kindTags, kindCatalog:
		return req.parsePage(q)
	case kindReferrers:
		req.artifactType = q.Get("artifactType")
		return nil
	case kindManifest:
		if method == http.MethodPut {
			return req.parsePut(q)
		}
		return nil
	case kindUploads:
		if q.Has("mount") {
			if req.mount, err = parseDigest(q.Get("mount")); err != nil {
				return err
			}
			req.from = q.Get("from")
		}
	}
	return req.parseDigestParameters(q)
}

func (req *request) parseDigestParameters(q url.Values) (err error) {
	if q.Has("digest") {
		if req.digest, err = parseDigest(q.Get("digest")); err != nil {
			return err
		}
	}
	switch req.algorithm = q.Get("digest-algorithm"); req.algorithm {
	case "", oci.SHA256.String(), oci.SHA512.String():
		return nil
	}
	return oci.NewError(oci.CodeDigestInvalid, "the digest algorithm is not supported; use sha256 or sha512")
}

// parsePut reads the parameters of a manifest push. A digest beside a tag makes it a push by digest with that tag.
func (req *request) parsePut(q url.Values) error {
	if req.tags = q["tag"]; len(req.tags) > maxTagsPut {
		return oci.NewError(oci.CodeTagInvalid, "at most "+strconv.Itoa(maxTagsPut)+" tags can be pushed at once").
			WithStatus(http.StatusRequestURITooLong)
	}
	for _, tag := range req.tags {
		if !oci.ValidTag(tag) {
			return errTagInvalid
		}
	}
	return req.parseDigestParameters(q)
}

func (req *request) parsePage(q url.Values) error {
	req.page.Last = q.Get("last")
	if len(req.page.Last) > maxLast || !utf8.ValidString(req.page.Last) || strings.ContainsFunc(req.page.Last, isControl) {
		return oci.NewError(oci.CodePaginationInvalid, "the parameter last is not a name")
	}
	if !q.Has("n") {
		return nil
	}
	n, err := strconv.ParseUint(q.Get("n"), 10, 31)
	if err != nil {
		return oci.NewError(oci.CodePaginationInvalid, "the parameter n must be a whole number of 0 or more")
	}
	req.limited, req.page.N = true, int(n)
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func validUploadID(s string) bool {
	if s == "" || len(s) > maxUploadID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '=':
		default:
			return false
		}
	}
	return true
}

func parseDigest(s string) (oci.Digest, error) {
	d, err := oci.ParseDigest(s)
	if err != nil {
		return "", errDigestInvalid
	}
	return d, nil
}

func parseReference(s string) (oci.Reference, error) {
	ref, err := oci.ParseReference(s)
	if err == nil {
		return ref, nil
	}
	if strings.ContainsRune(s, ':') {
		return oci.Reference{}, errDigestInvalid
	}
	return oci.Reference{}, errTagInvalid
}

package distribution

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve"
)

func (c *call) manifest() error {
	switch c.r.Method {
	case http.MethodPut:
		return c.putManifest()
	case http.MethodDelete:
		return c.deleteManifest()
	}
	return c.getManifest()
}

func (c *call) getManifest() error {
	var (
		m   *registry.Manifest
		err error
	)
	if c.r.Method == http.MethodHead {
		m = &registry.Manifest{}
		if m.Descriptor, err = c.target.Registry.StatManifest(c.ctx(), c.target.Name, c.reference); err != nil {
			return c.beforePush(err)
		}
	} else {
		m, err = c.target.Registry.Manifest(c.ctx(), c.target.Name, c.reference)
	}
	if err != nil {
		return err
	}
	traceHeaders(c.w, registry.TraceFrom(c.ctx()).Values())
	contentHeaders(c.w, m.MediaType, m.Digest, m.Size)
	if !strings.HasSuffix(m.MediaType, "+json") { // it is whatever was pushed, text/html too; JSON is nothing that a browser runs
		serve.SetHeader(c.w, "Content-Security-Policy", "sandbox; default-src 'none'")
		serve.SetHeader(c.w, "X-Content-Type-Options", "nosniff")
	}
	if notModified(c.r, m.Digest) {
		return writeNotModified(c.w)
	}
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	_, err = c.w.Write(m.Payload)
	return err
}

func (c *call) putManifest() error {
	put, err := c.readManifest()
	if err != nil {
		return err
	}
	ref, err := c.putReference(&put)
	if err != nil {
		return err
	}
	done, err := c.target.Registry.PutManifest(c.ctx(), c.target.Name, ref, put)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Location", c.location("manifests", string(done.Digest)))
	h.Set("Docker-Content-Digest", string(done.Digest))
	if done.Subject != "" {
		h.Set("OCI-Subject", string(done.Subject))
	}
	for _, tag := range c.tags {
		h.Add("OCI-Tag", tag)
	}
	return empty(c.w, http.StatusCreated)
}

// readManifest reads the payload within the size limit.
func (c *call) readManifest() (put registry.PutManifest, err error) {
	tooLarge := oci.NewError(oci.CodeSizeInvalid, "a manifest may have at most 4 MiB").WithStatus(http.StatusRequestEntityTooLarge)
	if c.r.ContentLength > oci.MaxManifestSize {
		return put, tooLarge
	}
	put.Payload, err = io.ReadAll(io.LimitReader(c.r.Body, oci.MaxManifestSize+1))
	if err != nil {
		return put, clientError(err)
	}
	if len(put.Payload) > oci.MaxManifestSize {
		return put, tooLarge
	}
	put.MediaType, put.Tags = bareMediaType(c.r.Header.Get("Content-Type")), c.tags
	if put.MediaType == "" {
		var says struct {
			MediaType string `json:"mediaType"`
		}
		_ = json.Unmarshal(put.Payload, &says) // whatever it is, the registry will judge it
		put.MediaType = says.MediaType
	}
	if !validMediaType(put.MediaType) {
		return put, oci.NewError(oci.CodeManifestInvalid, "send the manifest's media type in the Content-Type header")
	}
	return put, nil
}

// putReference checks the digest the client named, in the path or beside a tag, and turns a tag that comes with a digest or
// an algorithm into a push by that digest with the tag.
func (c *call) putReference(put *registry.PutManifest) (oci.Reference, error) {
	want := c.digest
	if c.reference.IsDigest() {
		want = c.reference.Digest
	} else if want == "" && c.algorithm != "" {
		want = oci.DigestOf(digest.Algorithm(c.algorithm), put.Payload)
	}
	if want == "" {
		return c.reference, nil
	}
	if got := oci.DigestOf(want.Algorithm(), put.Payload); got != want {
		return oci.Reference{}, oci.NewError(oci.CodeDigestInvalid, fmt.Sprintf("the manifest that arrived has the digest %s", got))
	}
	if c.reference.Tag != "" {
		put.Tags = append(put.Tags[:len(put.Tags):len(put.Tags)], c.reference.Tag)
	}
	return oci.ByDigest(want), nil
}

func (c *call) deleteManifest() error {
	if err := c.target.Registry.DeleteManifest(c.ctx(), c.target.Name, c.reference); err != nil {
		return err
	}
	return empty(c.w, http.StatusAccepted)
}

// bareMediaType takes parameters off and keeps the rest as it is, capital letters too: it is compared with the payload's.
func bareMediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.TrimSpace(s)
}

// validMediaType reports whether s is type/subtype of RFC 6838 §4.2 restricted names.
func validMediaType(s string) bool {
	kind, sub, ok := strings.Cut(s, "/")
	return ok && validMediaName(kind) && validMediaName(sub)
}

func validMediaName(s string) bool {
	if s == "" || len(s) > 127 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && strings.IndexByte("!#$&-^_.+", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// empty answers with headers alone.
func empty(w http.ResponseWriter, status int) error {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
	return nil
}

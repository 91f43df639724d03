package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// forms are the ways to push a blob (distribution specification, "Pushing blobs"). Each ends with the response that should
// have created it.
func (s *suite) forms() map[string]func(t *testing.T, name string, d oci.Digest, b []byte) *response {
	return map[string]func(t *testing.T, name string, d oci.Digest, b []byte) *response{
		"POST": func(t *testing.T, name string, d oci.Digest, b []byte) *response {
			return s.do(t, http.MethodPost, with(name+"/blobs/uploads/", "digest", string(d)), octets(b))
		},
		"POST, PUT": func(t *testing.T, name string, d oci.Digest, b []byte) *response {
			return s.do(t, http.MethodPut, with(s.start(t, name), "digest", string(d)), octets(b))
		},
		"POST, PUT without a length": func(t *testing.T, name string, d oci.Digest, b []byte) *response {
			return s.do(t, http.MethodPut, with(s.start(t, name), "digest", string(d)), streamed(b))
		},
		"stream": func(t *testing.T, name string, d oci.Digest, b []byte) *response {
			r := s.do(t, http.MethodPatch, s.start(t, name), streamed(b)).want(t, http.StatusAccepted)
			return s.do(t, http.MethodPut, with(r.location(t), "digest", string(d)))
		},
		"chunks": func(t *testing.T, name string, d oci.Digest, b []byte) *response {
			at := s.start(t, name)
			for n, third := 0, len(b)/3+1; n < len(b); n += third {
				at = s.chunk(t, http.MethodPatch, at, b, n, min(n+third, len(b))).want(t, http.StatusAccepted).location(t)
			}
			return s.do(t, http.MethodPut, with(at, "digest", string(d)))
		},
		"chunks, the last in PUT": func(t *testing.T, name string, d oci.Digest, b []byte) *response {
			half := len(b) / 2
			r := s.chunk(t, http.MethodPatch, s.start(t, name), b, 0, half).want(t, http.StatusAccepted)
			return s.chunk(t, http.MethodPut, with(r.location(t), "digest", string(d)), b, half, len(b))
		},
	}
}

// chunk sends b[from:to] with its Content-Range.
func (s *suite) chunk(t *testing.T, method, at string, b []byte, from, to int) *response {
	t.Helper()
	return s.do(t, method, at, octets(b[from:to]), header("Content-Range", fmt.Sprintf("%d-%d", from, to-1)))
}

func (s *suite) uploads(t *testing.T) {
	seed := uint64(100)
	for form, push := range s.forms() {
		for _, algorithm := range []string{"sha256", "sha512"} {
			t.Run(form+" "+algorithm, func(t *testing.T) {
				seed++
				b := registrytest.RandomBlob(seed, 5000).Bytes()
				d := digestOf(algorithm, b)
				r := push(t, s.Name, d, b).want(t, http.StatusCreated).wantHeader(t, "Docker-Content-Digest", string(d))
				s.do(t, http.MethodGet, r.location(t)).want(t, http.StatusOK).wantBody(t, b)
				s.checkContent(t, s.Name+"/blobs/"+string(d), "", d, b)
			})
		}
	}
	for _, b := range [][]byte{{}, []byte("{}")} {
		d := digestOf("sha256", b)
		s.putBlob(t, s.Name, d, b)
		s.putBlob(t, s.Name, d, b) // again: no harm
		s.checkContent(t, s.Name+"/blobs/"+string(d), "", d, b)
	}
}

func digestOf(algorithm string, b []byte) oci.Digest {
	if algorithm == "sha512" {
		return oci.DigestOf(oci.SHA512, b)
	}
	return oci.DigestOf(oci.SHA256, b)
}

func (s *suite) chunks(t *testing.T) {
	b := registrytest.RandomBlob(120, 3000).Bytes()
	d := digestOf("sha256", b)
	at := s.start(t, s.Name)

	r := s.chunk(t, http.MethodPatch, at, b, 1000, 2000).wantCode(t, http.StatusRequestedRangeNotSatisfiable, oci.CodeRangeInvalid)
	r.location(t)
	r = s.chunk(t, http.MethodPatch, at, b, 0, 1000).want(t, http.StatusAccepted).wantHeader(t, "Range", "0-999")
	at = r.location(t)
	for _, from := range []int{0, 2000, 999} {
		r = s.chunk(t, http.MethodPatch, at, b, from, from+900).wantCode(t, http.StatusRequestedRangeNotSatisfiable, oci.CodeRangeInvalid)
		r.wantHeader(t, "Range", "0-999")
		at = r.location(t)
	}
	s.chunk(t, http.MethodPut, with(at, "digest", string(d)), b, 2000, 3000).wantCode(t, http.StatusRequestedRangeNotSatisfiable, oci.CodeRangeInvalid)
	for _, bad := range []string{"x-y", "5", "-1-5", "1999-1000"} {
		s.do(t, http.MethodPatch, at, octets(b[:10]), header("Content-Range", bad)).wantCode(t, http.StatusRequestedRangeNotSatisfiable, oci.CodeRangeInvalid)
	}
	s.do(t, http.MethodPatch, at, octets(b[1000:1500]), header("Content-Range", "1000-1999")).wantCode(t, http.StatusBadRequest, oci.CodeSizeInvalid)
	r = s.do(t, http.MethodGet, at).want(t, http.StatusNoContent).wantHeader(t, "Range", "0-999")
	at = s.chunk(t, http.MethodPatch, r.location(t), b, 1000, 2000).want(t, http.StatusAccepted).wantHeader(t, "Range", "0-1999").location(t)
	s.chunk(t, http.MethodPut, with(at, "digest", string(d)), b, 2000, 3000).want(t, http.StatusCreated)
	s.checkContent(t, s.Name+"/blobs/"+string(d), "", d, b)
}

func (s *suite) session(t *testing.T) {
	at := s.start(t, s.Name)
	s.do(t, http.MethodGet, at).want(t, http.StatusNoContent)
	s.do(t, http.MethodPut, at, octets([]byte("x"))).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
	s.do(t, http.MethodPut, with(at, "digest", "sha256:nonsense"), octets([]byte("x"))).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
	s.do(t, http.MethodDelete, at).want(t, http.StatusNoContent)
	s.do(t, http.MethodGet, at).wantCode(t, http.StatusNotFound, oci.CodeBlobUploadUnknown)
	s.do(t, http.MethodPatch, at, octets([]byte("x"))).wantCode(t, http.StatusNotFound, oci.CodeBlobUploadUnknown)
	s.do(t, http.MethodDelete, at).wantCode(t, http.StatusNotFound, oci.CodeBlobUploadUnknown)
	s.do(t, http.MethodGet, s.Name+"/blobs/uploads/nothing-like-it").wantCode(t, http.StatusNotFound, oci.CodeBlobUploadUnknown)

	elsewhere := strings.Replace(s.start(t, s.Name), s.Name+"/blobs", s.Name+"/elsewhere/blobs", 1)
	s.do(t, http.MethodGet, elsewhere).wantCode(t, http.StatusNotFound, oci.CodeBlobUploadUnknown)
	s.do(t, http.MethodPost, with(s.Name+"/blobs/uploads/", "digest-algorithm", "sha512")).want(t, http.StatusAccepted)
	s.do(t, http.MethodPost, with(s.Name+"/blobs/uploads/", "digest-algorithm", "md5")).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
}

func (s *suite) wrongDigest(t *testing.T) {
	for form, push := range s.forms() {
		t.Run(form, func(t *testing.T) {
			d := digestOf("sha256", []byte(form))
			push(t, s.Name, d, []byte("something else")).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
			s.do(t, http.MethodHead, s.Name+"/blobs/"+string(d)).want(t, http.StatusNotFound)
		})
	}
}

func (s *suite) mount(t *testing.T) {
	b := registrytest.RandomBlob(130, 500)
	s.putBlob(t, s.MountName, b.Digest, b.Bytes())
	where := with(s.Name+"/blobs/uploads/", "mount", string(b.Digest))
	s.do(t, http.MethodHead, s.Name+"/blobs/"+string(b.Digest)).want(t, http.StatusNotFound)

	r := s.do(t, http.MethodPost, where).want(t, http.StatusCreated, http.StatusAccepted)
	if r.StatusCode == http.StatusAccepted {
		s.do(t, http.MethodDelete, r.location(t)).want(t, http.StatusNoContent)
	}
	r = s.do(t, http.MethodPost, with(where, "from", s.MountName)).want(t, http.StatusCreated)
	r.wantHeader(t, "Docker-Content-Digest", string(b.Digest))
	s.do(t, http.MethodGet, r.location(t)).want(t, http.StatusOK).wantBody(t, b.Bytes())

	for _, from := range []string{s.MountName, s.Name + "/nowhere", "UPPER", ""} {
		at := with(with(s.Name+"/blobs/uploads/", "mount", string(missing)), "from", from)
		s.do(t, http.MethodPost, at).want(t, http.StatusAccepted).location(t)
	}
	s.do(t, http.MethodPost, with(s.Name+"/blobs/uploads/", "mount", "sha256:bad")).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
}

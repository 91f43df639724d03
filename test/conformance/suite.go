// Package conformance tests a registry over HTTP against the OCI Distribution Specification 1.1, the draft of the one after
// it where Weir follows that, and the parts of the Docker Registry HTTP API V2 that clients rely on. It is written from the
// text of the specification and knows nothing of the registry under test.
//
// Run it from a test of any kind of registry, or against a running one:
//
//	WEIR_CONFORMANCE_URL=http://127.0.0.1:5000 WEIR_CONFORMANCE_NAME=main/conformance go test ./test/conformance
package conformance

import (
	"net/http"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// Config says what to test.
type Config struct {
	URL                string // "http://host:port"
	Name               string // repository that may be written to; further ones below it are used
	MountName          string // another one, to mount from; default Name + "-mount"
	Username, Password string // empty = anonymous
	Client             *http.Client

	// ReadOnly leaves out everything that writes. Put must then place an image where the registry under test reads it:
	// at the upstream of a virtual registry, say.
	ReadOnly bool
	Put      func(t *testing.T, repository string, tags []string, image registrytest.Image)
}

// Run tests the registry. Its subtests use content of their own and clean up where they can.
func Run(t *testing.T, c Config) {
	s := newSuite(c)
	t.Run("base", s.base)
	t.Run("pull", s.pull)
	t.Run("range", s.ranges)
	t.Run("absent", s.absent)
	t.Run("invalid", s.invalid)
	t.Run("tags", s.tags)
	t.Run("referrers", s.referrers)
	if c.ReadOnly {
		return
	}
	t.Run("upload", s.uploads)
	t.Run("chunks", s.chunks)
	t.Run("session", s.session)
	t.Run("wrong digest", s.wrongDigest)
	t.Run("mount", s.mount)
	t.Run("manifest", s.manifests)
	t.Run("refused manifest", s.refusedManifests)
	t.Run("tag parameters", s.tagParameters)
	t.Run("sha512", s.sha512)
	t.Run("delete", s.delete)
}

type suite struct {
	Config
	tokens map[string]string
}

func newSuite(c Config) *suite {
	if c.MountName == "" {
		c.MountName = c.Name + "-mount"
	}
	if c.Client == nil {
		c.Client = http.DefaultClient
	}
	return &suite{Config: c, tokens: map[string]string{}}
}

// put places an image in a repository: through Put, or by pushing it.
func (s *suite) put(t *testing.T, repository string, tags []string, image registrytest.Image) {
	t.Helper()
	if s.Put != nil {
		s.Put(t, repository, tags, image)
		return
	}
	for _, child := range image.Children {
		s.put(t, repository, nil, child)
	}
	for _, b := range image.Blobs {
		s.putBlob(t, repository, b.Digest, b.Bytes())
	}
	m := image.Manifest
	refs := append([]string{string(m.Digest)}, tags...)
	for _, ref := range refs {
		s.do(t, http.MethodPut, repository+"/manifests/"+ref, body(m.MediaType, m.Payload)).want(t, http.StatusCreated)
	}
}

// putBlob uploads with POST and PUT.
func (s *suite) putBlob(t *testing.T, repository string, digest oci.Digest, b []byte) {
	t.Helper()
	at := s.start(t, repository)
	s.do(t, http.MethodPut, with(at, "digest", string(digest)), octets(b)).want(t, http.StatusCreated)
}

// start opens an upload session and returns its location.
func (s *suite) start(t *testing.T, repository string) string {
	t.Helper()
	r := s.do(t, http.MethodPost, repository+"/blobs/uploads/").want(t, http.StatusAccepted)
	return r.location(t)
}

func (s *suite) base(t *testing.T) {
	r := s.do(t, http.MethodGet, "").want(t, http.StatusOK)
	if v := r.Header.Get("Docker-Distribution-API-Version"); v != "registry/2.0" {
		t.Errorf("Docker-Distribution-API-Version %q", v)
	}
	s.do(t, http.MethodPost, "").wantCode(t, http.StatusMethodNotAllowed, oci.CodeUnsupported)
}

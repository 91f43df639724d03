// Package registrytest is the test kit of the seam: the suite that every kind of registry passes (Run), a complete registry
// in memory (Memory), a fake upstream that speaks the distribution protocol with named vendor defects and faults
// (Upstream), and deterministic content to fill them with.
//
// Tests of any package may import it; production code must not.
package registrytest

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Options says what a kind of registry can do; reading is always tested.
type Options struct {
	Push      bool // manifests, uploads, mounts
	Delete    bool // needs Push
	Tags      bool
	Catalog   bool
	Referrers bool
}

// Fixture is content that a registry holds before a test begins.
type Fixture []Item

// Item is an image in a repository under tags.
type Item struct {
	Repository string
	Tags       []string
	Image      Image
}

// Open makes a fresh registry that holds fixture and nothing else. A kind that can be pushed to calls fixture.PushTo; one
// that cannot puts the fixture where it reads from.
type Open func(t *testing.T, fixture Fixture) registry.Registry

// Run tests a kind of registry against the contract of package registry.
func Run(t *testing.T, o Options, open Open) {
	t.Run("read", func(t *testing.T) { testRead(t, open) })
	t.Run("absent", func(t *testing.T) { testAbsent(t, open) })
	t.Run("range", func(t *testing.T) { testRange(t, open) })
	if o.Push {
		t.Run("push", func(t *testing.T) { testPush(t, open) })
		t.Run("refused push", func(t *testing.T) { testRefusedPush(t, open) })
		t.Run("upload", func(t *testing.T) { testUpload(t, open) })
		t.Run("mount", func(t *testing.T) { testMount(t, open) })
		t.Run("sha512", func(t *testing.T) { testSHA512(t, open) })
		t.Run("concurrent push", func(t *testing.T) { testConcurrentPush(t, open) })
	} else {
		t.Run("read only", func(t *testing.T) { testReadOnly(t, open) })
	}
	if o.Delete {
		t.Run("delete", func(t *testing.T) { testDelete(t, open) })
	}
	if o.Tags {
		t.Run("tags", func(t *testing.T) { testTags(t, open) })
	}
	if o.Catalog {
		t.Run("catalog", func(t *testing.T) { testCatalog(t, open) })
	}
	if o.Referrers {
		t.Run("referrers", func(t *testing.T) { testReferrers(t, open) })
	}
}

// PushTo pushes the fixture.
func (f Fixture) PushTo(t testing.TB, r registry.Registry) {
	t.Helper()
	for _, item := range f {
		Push(t, r, item.Repository, item.Tags, item.Image)
	}
}

// Push pushes an image with everything it names. Without tags it is pushed by digest.
func Push(t testing.TB, r registry.Registry, repository string, tags []string, image Image) {
	t.Helper()
	for _, child := range image.Children {
		Push(t, r, repository, nil, child)
	}
	for _, b := range image.Blobs {
		PushBlob(t, r, repository, b)
	}
	ref := oci.ByDigest(image.Manifest.Digest)
	put := registry.PutManifest{MediaType: image.Manifest.MediaType, Payload: image.Manifest.Payload, Tags: tags}
	if _, err := r.PutManifest(t.Context(), repository, ref, put); err != nil {
		t.Fatalf("push manifest %s to %s: %v", ref, repository, err)
	}
}

// PushBlob uploads one blob in one piece.
func PushBlob(t testing.TB, r registry.Registry, repository string, c Content) {
	t.Helper()
	up, err := r.StartUpload(t.Context(), repository)
	if err != nil {
		t.Fatalf("start upload to %s: %v", repository, err)
	}
	if err := up.Append(t.Context(), 0, c.Reader(0)); err != nil {
		t.Fatalf("append to upload of %s: %v", c.Digest, err)
	}
	d, err := up.Commit(t.Context(), c.Digest)
	if err != nil || d.Digest != c.Digest || d.Size != c.Size {
		t.Fatalf("commit upload of %s: %+v, %v", c.Digest, d, err)
	}
	if err := up.Close(); err != nil {
		t.Fatalf("close upload of %s: %v", c.Digest, err)
	}
}

// ReadBlob reads the bytes of a blob that rng selects.
func ReadBlob(t testing.TB, r registry.Registry, repository string, digest oci.Digest, rng registry.Range) []byte {
	t.Helper()
	b, err := r.Blob(t.Context(), repository, digest, rng)
	if err != nil {
		t.Fatalf("blob %s %+v: %v", digest, rng, err)
	}
	if b.Body == nil {
		t.Fatalf("blob %s: a location (%s), not bytes", digest, b.Location)
	}
	var buf bytes.Buffer
	body := io.Reader(b.Body)
	if _, ok := body.(*os.File); ok && b.Length >= 0 {
		body = io.LimitReader(body, b.Length) // a file may go on behind what was asked for
	}
	_, err = io.Copy(&buf, body)
	if closeErr := b.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatalf("read blob %s after %d bytes: %v", digest, buf.Len(), err)
	}
	if b.Length >= 0 && int64(buf.Len()) != b.Length {
		t.Errorf("blob %s %+v: %d bytes, Length said %d", digest, rng, buf.Len(), b.Length)
	}
	return buf.Bytes()
}

// wantOutcome checks how an error answers, whichever of the seam's error families it belongs to.
func wantOutcome(t *testing.T, what string, err error, want registry.Outcome) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %s", what, want)
	} else if got := registry.AsOutcome(err).Outcome; got != want {
		t.Errorf("%s: %s (%v), want %s", what, got, err, want)
	}
}

func wantCode(t *testing.T, what string, err error, want oci.Code) {
	t.Helper()
	if got := oci.ErrorCode(err); got != want {
		t.Errorf("%s: code %q (%v), want %s", what, got, err, want)
	}
}

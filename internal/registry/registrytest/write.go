package registrytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

func testPush(t *testing.T, open Open) {
	r, ctx := open(t, nil), t.Context()
	first, second := RandomImage(1, 1, 100), RandomImage(2, 1, 100)
	Push(t, r, repositoryName, []string{"a", "b"}, first)
	checkManifest(t, r, oci.ByTag("a"), first.Manifest)
	checkManifest(t, r, oci.ByTag("b"), first.Manifest)

	for _, b := range second.Blobs {
		PushBlob(t, r, repositoryName, b)
	}
	put, err := r.PutManifest(ctx, repositoryName, oci.ByTag("a"), registry.PutManifest{MediaType: second.Manifest.MediaType, Payload: second.Manifest.Payload})
	if err != nil || put.Digest != second.Manifest.Digest || put.Subject != "" {
		t.Fatalf("move tag: %+v, %v", put, err)
	}
	checkManifest(t, r, oci.ByTag("a"), second.Manifest)
	checkManifest(t, r, oci.ByTag("b"), first.Manifest)

	sig := RandomArtifact(3, first.Manifest.Descriptor, "application/vnd.test.signature")
	for _, b := range sig.Blobs {
		PushBlob(t, r, repositoryName, b)
	}
	put, err = r.PutManifest(ctx, repositoryName, oci.ByDigest(sig.Manifest.Digest), registry.PutManifest{MediaType: sig.Manifest.MediaType, Payload: sig.Manifest.Payload})
	if err != nil || put.Subject != first.Manifest.Digest {
		t.Errorf("push with subject: %+v, %v", put, err)
	}

	orphan := RandomArtifact(4, oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: missingDigest, Size: 3}, "application/vnd.test.signature")
	Push(t, r, repositoryName, nil, orphan) // a missing subject is accepted
}

func testRefusedPush(t *testing.T, open Open) {
	r, ctx := open(t, nil), t.Context()
	image, index := RandomImage(1, 1, 100), RandomIndex(2, 1, 100)
	put := registry.PutManifest{MediaType: image.Manifest.MediaType, Payload: image.Manifest.Payload}

	_, err := r.PutManifest(ctx, repositoryName, oci.ByTag("a"), put)
	wantCode(t, "manifest before its blobs", err, oci.CodeManifestBlobUnknown)
	_, err = r.PutManifest(ctx, repositoryName, oci.ByTag("a"), registry.PutManifest{MediaType: index.Manifest.MediaType, Payload: index.Manifest.Payload})
	wantCode(t, "index before its children", err, oci.CodeManifestBlobUnknown)
	for _, b := range image.Blobs {
		PushBlob(t, r, repositoryName, b)
	}
	_, err = r.PutManifest(ctx, repositoryName, oci.ByDigest(missingDigest), put)
	wantCode(t, "manifest under another digest", err, oci.CodeDigestInvalid)
	_, err = r.PutManifest(ctx, repositoryName, oci.ByTag("a"), registry.PutManifest{MediaType: put.MediaType, Payload: []byte("{")})
	wantCode(t, "manifest that is not JSON", err, oci.CodeManifestInvalid)
	for _, mediaType := range []string{oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, oci.MediaTypeDockerManifest, oci.MediaTypeDockerList} {
		_, err = r.PutManifest(ctx, repositoryName, oci.ByTag("a"), registry.PutManifest{MediaType: mediaType, Payload: []byte(`{"schemaVersion":2}`)})
		wantCode(t, mediaType+" with nothing in it", err, oci.CodeManifestInvalid)
	}
	_, err = r.PutManifest(ctx, repositoryName, oci.ByTag("a"), registry.PutManifest{MediaType: oci.MediaTypeImageIndex, Payload: put.Payload})
	wantCode(t, "manifest under another media type", err, oci.CodeManifestInvalid)

	_, err = r.StatManifest(ctx, repositoryName, oci.ByTag("a"))
	wantOutcome(t, "manifest that was refused", err, registry.Absent)
}

func testUpload(t *testing.T, open Open) {
	r, ctx := open(t, nil), t.Context()
	c := RandomBlob(5, 10_000)
	all := c.Bytes()
	up := startUpload(t, r)
	id := up.ID()
	mustAppend(t, up, 0, all[:4000])
	if err := up.Close(); err != nil {
		t.Fatal(err)
	}
	up, err := r.ResumeUpload(ctx, repositoryName, id)
	if err != nil || up.Size() != 4000 {
		t.Fatalf("resume: %v", err)
	}
	wantCode(t, "chunk out of order", up.Append(ctx, 5000, bytes.NewReader(all[5000:])), oci.CodeRangeInvalid)
	broken := io.MultiReader(bytes.NewReader(all[4000:6000]), errReader{})
	if err := up.Append(ctx, 4000, broken); !errors.Is(err, errBroken) {
		t.Errorf("append of a broken body: %v", err)
	}
	if up.Size() != 6000 {
		t.Errorf("after a broken body: %d bytes, want what had arrived (6000)", up.Size())
	}
	mustAppend(t, up, -1, all[6000:])
	if _, err := up.Commit(ctx, c.Digest); err != nil {
		t.Fatal(err)
	}
	_ = up.Close()
	checkBlob(t, r, c)
	_, err = r.ResumeUpload(ctx, repositoryName, id)
	wantCode(t, "resume after commit", err, oci.CodeBlobUploadUnknown)

	testEndedUploads(t, r)
}

func testEndedUploads(t *testing.T, r registry.Registry) {
	ctx := t.Context()
	up := startUpload(t, r)
	mustAppend(t, up, 0, []byte("bytes"))
	_, err := up.Commit(ctx, missingDigest)
	wantCode(t, "commit under another digest", err, oci.CodeDigestInvalid)
	_ = up.Close()
	_, err = r.ResumeUpload(ctx, repositoryName, up.ID())
	wantCode(t, "resume after a failed commit", err, oci.CodeBlobUploadUnknown)

	up = startUpload(t, r)
	if err := up.Close(); err != nil {
		t.Error(err)
	}
	_, err = r.ResumeUpload(ctx, "team/other", up.ID())
	wantCode(t, "upload of another repository", err, oci.CodeBlobUploadUnknown)
	_, err = r.ResumeUpload(ctx, repositoryName, "nonsense")
	wantCode(t, "upload that never was", err, oci.CodeBlobUploadUnknown)
	up, err = r.ResumeUpload(ctx, repositoryName, up.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Cancel(ctx); err != nil {
		t.Error(err)
	}
	_ = up.Close()
	_, err = r.ResumeUpload(ctx, repositoryName, up.ID())
	wantCode(t, "resume after cancel", err, oci.CodeBlobUploadUnknown)
}

func testMount(t *testing.T, open Open) {
	r, ctx := open(t, nil), t.Context()
	c := RandomBlob(6, 500)
	PushBlob(t, r, "team/source", c)
	_, err := r.StatBlob(ctx, repositoryName, c.Digest)
	wantOutcome(t, "blob before the mount", err, registry.Absent)
	d, err := r.MountBlob(ctx, repositoryName, "team/source", c.Digest)
	if err != nil || d.Digest != c.Digest || d.Size != c.Size {
		t.Fatalf("mount: %+v, %v", d, err)
	}
	checkBlob(t, r, c)
	_, err = r.MountBlob(ctx, repositoryName, "team/source", missingDigest)
	wantCode(t, "mount of a missing blob", err, oci.CodeBlobUnknown)
	_, err = r.MountBlob(ctx, repositoryName, "team/nowhere", c.Digest)
	wantCode(t, "mount from a missing repository", err, oci.CodeBlobUnknown)
}

// testSHA512: content goes by the digest it was pushed under.
func testSHA512(t *testing.T, open Open) {
	r, ctx := open(t, nil), t.Context()
	image := RandomImage(7, 1, 100)
	layer := image.Layers()[0]
	layer.Digest = oci.DigestOf(oci.SHA512, layer.Bytes())
	PushBlob(t, r, repositoryName, layer)
	checkBlob(t, r, layer)

	for _, b := range image.Blobs {
		PushBlob(t, r, repositoryName, b)
	}
	m := image.Manifest
	m.Digest = oci.DigestOf(oci.SHA512, m.Payload)
	put, err := r.PutManifest(ctx, repositoryName, oci.ByDigest(m.Digest), registry.PutManifest{MediaType: m.MediaType, Payload: m.Payload, Tags: []string{"a"}})
	if err != nil || put.Digest != m.Digest {
		t.Fatalf("push by sha512: %+v, %v", put, err)
	}
	checkManifest(t, r, oci.ByDigest(m.Digest), m)
	checkManifest(t, r, oci.ByTag("a"), m)
}

// testConcurrentPush: many push the same content and move the same tag; everyone succeeds and nothing is lost.
func testConcurrentPush(t *testing.T, open Open) {
	r := open(t, nil)
	images := []Image{RandomImage(1, 2, 1000), RandomImage(2, 2, 1000)}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { pushQuietly(t, r, images[i%2], []string{fmt.Sprintf("own-%d", i), "shared"}) })
	}
	wg.Wait()
	for i := range 8 {
		checkManifest(t, r, oci.ByTag(fmt.Sprintf("own-%d", i)), images[i%2].Manifest)
	}
	d, err := r.StatManifest(t.Context(), repositoryName, oci.ByTag("shared"))
	if err != nil || (d.Digest != images[0].Manifest.Digest && d.Digest != images[1].Manifest.Digest) {
		t.Errorf("the tag that all moved: %+v, %v", d, err)
	}
	for _, image := range images {
		for _, b := range image.Blobs {
			checkBlob(t, r, b)
		}
	}
}

// pushQuietly is Push for a goroutine, which must not end the test.
func pushQuietly(t *testing.T, r registry.Registry, image Image, tags []string) {
	ctx := t.Context()
	for _, b := range image.Blobs {
		up, err := r.StartUpload(ctx, repositoryName)
		if err != nil {
			t.Errorf("start upload: %v", err)
			return
		}
		if err := up.Append(ctx, 0, b.Reader(0)); err != nil {
			t.Errorf("append: %v", err)
		}
		if _, err := up.Commit(ctx, b.Digest); err != nil {
			t.Errorf("commit: %v", err)
		}
		_ = up.Close()
	}
	put := registry.PutManifest{MediaType: image.Manifest.MediaType, Payload: image.Manifest.Payload, Tags: tags}
	if _, err := r.PutManifest(ctx, repositoryName, oci.ByDigest(image.Manifest.Digest), put); err != nil {
		t.Errorf("push manifest: %v", err)
	}
}

func testReadOnly(t *testing.T, open Open) {
	r := open(t, nil)
	image := RandomImage(1, 1, 10)
	_, err := r.PutManifest(t.Context(), repositoryName, oci.ByTag("a"), registry.PutManifest{MediaType: image.Manifest.MediaType, Payload: image.Manifest.Payload})
	wantCode(t, "push to a read-only registry", err, oci.CodeUnsupported)
	_, err = r.StartUpload(t.Context(), repositoryName)
	wantCode(t, "upload to a read-only registry", err, oci.CodeUnsupported)
}

func startUpload(t *testing.T, r registry.Registry) registry.Upload {
	t.Helper()
	up, err := r.StartUpload(t.Context(), repositoryName)
	if err != nil {
		t.Fatalf("start upload: %v", err)
	}
	return up
}

func mustAppend(t *testing.T, up registry.Upload, offset int64, b []byte) {
	t.Helper()
	if err := up.Append(t.Context(), offset, bytes.NewReader(b)); err != nil {
		t.Fatalf("append at %d: %v", offset, err)
	}
}

var errBroken = errors.New("the client went away")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBroken }

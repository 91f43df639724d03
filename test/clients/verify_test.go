//go:build clients

package clients

import (
	"bytes"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// verifyImage reads an image through Weir byte by byte and compares it with the original.
func verifyImage(t *testing.T, w *weir, repository, ref string, want v1.Image) {
	t.Helper()
	raw, err := want.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := want.Digest()
	got, header := w.get("/v2/"+repository+"/manifests/"+ref, accept)
	if !bytes.Equal(got, raw) {
		t.Fatalf("%s:%s: the manifest differs from the upstream's", repository, ref)
	}
	if d := header.Get("Docker-Content-Digest"); d != digest.String() {
		t.Fatalf("%s:%s: digest header %s, want %s", repository, ref, d, digest)
	}
	config, err := want.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	name, _ := want.ConfigName()
	if got, _ := w.get("/v2/"+repository+"/blobs/"+name.String(), ""); !bytes.Equal(got, config) {
		t.Fatalf("%s: the config differs", repository)
	}
	layers, err := want.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		d, _ := l.Digest()
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		bytesWanted, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := w.get("/v2/"+repository+"/blobs/"+d.String(), ""); !bytes.Equal(got, bytesWanted) {
			t.Fatalf("%s: layer %s differs", repository, d)
		}
	}
}

// verifyIndex does the same for each platform of an index.
func verifyIndex(t *testing.T, w *weir, repository, ref string, want v1.ImageIndex) {
	t.Helper()
	raw, err := want.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := w.get("/v2/"+repository+"/manifests/"+ref, accept); !bytes.Equal(got, raw) {
		t.Fatalf("%s:%s: the index differs from the upstream's", repository, ref)
	}
	m, err := want.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range m.Manifests {
		img, err := want.Image(child.Digest)
		if err != nil {
			t.Fatal(err)
		}
		verifyImage(t, w, repository, child.Digest.String(), img)
	}
}

// shorten turns the reason of a refusal into words for the table.
func shorten(shown string) string {
	if strings.Contains(shown, "rule deny") {
		return "the rule is shown"
	}
	return shown + ", the rule is hidden"
}

func contains(t *testing.T, what, haystack, needle string) {
	t.Helper()
	if !strings.Contains(haystack, needle) {
		t.Errorf("%s: %q is not in\n%s", what, needle, tail(haystack, 2000))
	}
}

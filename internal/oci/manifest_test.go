package oci

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseManifest(t *testing.T) {
	a, b := DigestOf(SHA256, []byte("a")), DigestOf(SHA256, []byte("b"))
	payload := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/x","digest":%q,"size":1},
		"layers":[{"mediaType":"l","digest":%q,"size":2}],"subject":{"mediaType":"s","digest":%q,"size":3},"unknown":{"x":1}}`, MediaTypeImageManifest, a, b, b)
	m, err := ParseManifest(MediaTypeImageManifest, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	if m.ArtifactType != "application/x" || m.Subject.Digest != b || len(m.Blobs()) != 2 {
		t.Errorf("parsed %+v", m)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		contentType, payload string
		want                 error
	}{
		"not JSON":          {"", `<html>`, ErrManifest},
		"schema 1":          {"", `{"schemaVersion":1,"fsLayers":[]}`, ErrManifestSchema1},
		"schema 1 by type":  {MediaTypeDockerSchema1JW, `{}`, ErrManifestSchema1},
		"type disagrees":    {MediaTypeImageIndex, `{"mediaType":"` + MediaTypeImageManifest + `"}`, ErrManifest},
		"bad digest":        {"", `{"layers":[{"digest":"sha256:zz","size":1}]}`, ErrManifest},
		"negative size":     {"", `{"layers":[{"digest":"sha256:` + strings.Repeat("0", 64) + `","size":-1}]}`, ErrManifest},
		"bad child digest":  {"", `{"manifests":[{"digest":"","size":1}]}`, ErrManifest},
		"bad subject":       {"", `{"subject":{"digest":"x"}}`, ErrManifest},
		"bad config digest": {"", `{"config":{"digest":"x"}}`, ErrManifest},
	} {
		if _, err := ParseManifest(c.contentType, []byte(c.payload)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestBlobsDoesNotShareItsBackingArray(t *testing.T) {
	m := &Manifest{Config: &Descriptor{Size: 1}, Layers: make([]Descriptor, 1, 8)}
	_ = append(m.Blobs(), Descriptor{Size: 9})
	if len(m.Blobs()) != 2 || m.Blobs()[1].Size != 0 {
		t.Error("appending to Blobs changed the manifest")
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(MediaTypeImageManifest, []byte(`{"schemaVersion":2}`))
	f.Add("", []byte(`{"manifests":[{}],"fsLayers":null}`))
	f.Fuzz(func(t *testing.T, contentType string, payload []byte) {
		m, err := ParseManifest(contentType, payload)
		if err != nil {
			return
		}
		for _, d := range append(m.Blobs(), m.Children...) {
			if _, err := ParseDigest(string(d.Digest)); err != nil || d.Size < 0 {
				t.Errorf("let through descriptor %+v", d)
			}
		}
	})
}

package oci

import (
	"errors"
	"fmt"
	"runtime"
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

// TestParseManifestIsBounded: what a hostile payload of the full size costs stays far below what it could.
func TestParseManifestIsBounded(t *testing.T) {
	digest := string(DigestOf(SHA256, nil))
	fill := func(start, part, end string) string {
		return start + strings.Repeat(part+",", (MaxManifestSize-len(start)-len(part)-len(end))/(len(part)+1)) + part + end
	}
	var keys strings.Builder
	for i := range 350_000 {
		fmt.Fprintf(&keys, `"%06x":"",`, i)
	}
	for name, payload := range map[string]string{
		"empty children": fill(`{"manifests":[`, `{}`, `]}`),
		"null layers":    fill(`{"layers":[`, `null`, `]}`),
		"few nulls":      `{"layers":[` + strings.Repeat("null,", maxValues-3) + `null]}`,
		"numbers":        fill(`{"blobs":[`, `0`, `]}`),
		"nesting":        strings.Repeat("[", MaxManifestSize),
		"nested unknown": `{"x":` + strings.Repeat(`{"x":`, 700_000),
		"annotations":    `{"annotations":{` + keys.String() + `"":""}}`,
		"URLs":           fill(`{"layers":[{"urls":[`, `""`, `]}]}`),
		"children":       fill(`{"manifests":[`, `{"digest":"`+digest+`"}`, `]}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := ParseManifest("", []byte(payload))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 80<<20 {
			t.Errorf("%s: %d MiB allocated", name, spent>>20)
		} else {
			t.Logf("%s: %d KiB allocated", name, spent>>10)
		}
	}
}

// TestParseManifestTakesLargeOnes: an index as large as anyone makes, and text that only looks like structure, are fine.
func TestParseManifestTakesLargeOnes(t *testing.T) {
	child := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}`,
		MediaTypeImageManifest, DigestOf(SHA256, nil))
	index := `{"manifests":[` + strings.Repeat(child+",", MaxDescriptors-1) + child + `],"annotations":{"sbom":"\"` + strings.Repeat("{,[", 300_000) + `"}}`
	m, err := ParseManifest("", []byte(index))
	if err != nil || len(m.Children) != MaxDescriptors || len(index) > MaxManifestSize {
		t.Errorf("%d bytes: %v", len(index), err)
	}
}

func BenchmarkParseManifest(b *testing.B) {
	layer := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":1}`, DigestOf(SHA256, nil))
	payload := []byte(`{"schemaVersion":2,"config":` + layer + `,"layers":[` + strings.Repeat(layer+",", 19) + layer + `]}`)
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if _, err := ParseManifest("", payload); err != nil {
			b.Fatal(err)
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

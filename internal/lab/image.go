package lab

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Image is a manifest with everything it names: blobs (the config first), or the children of an index.
type Image struct {
	Manifest registry.Manifest
	Blobs    []Content
	Children []Image
}

// Config and Layers are the blobs of an image that is not an index.
func (i Image) Config() Content   { return i.Blobs[0] }
func (i Image) Layers() []Content { return i.Blobs[1:] }

// RandomImage is a linux/amd64 image of layers layers of size bytes each, which depends on its arguments alone.
func RandomImage(seed uint64, layers int, size int64) Image {
	return platformImage(seed, layers, size, oci.Platform{OS: "linux", Architecture: "amd64"})
}

// RandomIndex is an index of a linux/amd64 and a linux/arm64 image.
func RandomIndex(seed uint64, layers int, size int64) Image {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageIndex}
	var out Image
	for i, arch := range []string{"amd64", "arm64"} {
		p := oci.Platform{OS: "linux", Architecture: arch}
		child := platformImage(seed*2+uint64(i)+1_000_003, layers, size, p)
		d := child.Manifest.Descriptor
		d.Platform = &p
		index.Manifests = append(index.Manifests, d)
		out.Children = append(out.Children, child)
	}
	out.Manifest = manifestOf(oci.MediaTypeImageIndex, index)
	return out
}

// RandomArtifact is a manifest with one small blob that refers to subject.
func RandomArtifact(seed uint64, subject oci.Descriptor, artifactType string) Image {
	config := BytesContent(v1.MediaTypeEmptyJSON, []byte("{}"))
	layer := RandomBlob(seed, 64)
	layer.MediaType = artifactType + "+payload"
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: config.Descriptor, Layers: []oci.Descriptor{layer.Descriptor},
		Subject:     &oci.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations: map[string]string{"test.weir/seed": fmt.Sprint(seed)},
	}
	return Image{Manifest: manifestOf(oci.MediaTypeImageManifest, m), Blobs: []Content{config, layer}}
}

func platformImage(seed uint64, layers int, size int64, p oci.Platform) Image {
	config := v1.Image{Platform: p, RootFS: v1.RootFS{Type: "layers"}, Config: v1.ImageConfig{Labels: map[string]string{"test.weir/seed": fmt.Sprint(seed)}}}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest}
	blobs := make([]Content, 1, layers+1)
	for i := range layers {
		layer := RandomBlob(seed<<8+uint64(i), size)
		layer.MediaType = v1.MediaTypeImageLayer
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
		m.Layers = append(m.Layers, layer.Descriptor)
		blobs = append(blobs, layer)
	}
	blobs[0] = BytesContent(oci.MediaTypeImageConfig, encode(config))
	m.Config = blobs[0].Descriptor
	return Image{Manifest: manifestOf(oci.MediaTypeImageManifest, m), Blobs: blobs}
}

func manifestOf(mediaType string, v any) registry.Manifest {
	payload := encode(v)
	return registry.Manifest{Descriptor: BytesContent(mediaType, payload).Descriptor, Payload: payload}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // every value this package encodes is encodable
	}
	return b
}

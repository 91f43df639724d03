package lab

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/weir-registry/weir/internal/oci"
)

// Sample says which images to make. They depend on it alone, and clients can unpack them: each layer holds one file.
type Sample struct {
	Repositories int   // demo/app1, demo/app2, …
	Tags         int   // images of each repository: 1, 2, …; latest is an index of the last one and another platform
	Layers       int   // of each image
	LayerSize    int64 // bytes of each layer's file
	Seed         uint64
}

// maxSample bounds what a Sample may come to: every byte is hashed once at the start.
const maxSample = 64 << 30

// check reports what is wrong with a Sample.
func (s Sample) check() error {
	var errs []error
	for _, c := range []struct {
		what     string
		n        int64
		min, max int64
	}{
		{"repositories", int64(s.Repositories), 1, 1000}, {"tags", int64(s.Tags), 1, 10_000}, {"layers", int64(s.Layers), 1, 127},
		{"layer size", s.LayerSize, 0, 1 << 40},
	} {
		if c.n < c.min || c.n > c.max {
			errs = append(errs, fmt.Errorf("%s: %d is not from %d to %d", c.what, c.n, c.min, c.max))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if images := int64(s.Repositories) * int64(s.Tags+1); images > 100_000 || s.LayerSize > maxSample/images/int64(s.Layers) {
		return fmt.Errorf("%d images of %d layers of %d bytes are too much: no more than 100,000 images and 64 GiB in all", images, s.Layers, s.LayerSize)
	}
	return nil
}

// Fill puts the sample's images into the upstream, and a referrer to each repository's first one.
func (u *Upstream) Fill(s Sample) error {
	if err := s.check(); err != nil {
		return err
	}
	for r := range s.Repositories {
		name := fmt.Sprintf("demo/app%d", r+1)
		var first, last Image
		for t := range s.Tags {
			last = s.image(name, strconv.Itoa(t+1), "amd64")
			u.Put(name, []string{strconv.Itoa(t + 1)}, last)
			if t == 0 {
				first = last
			}
		}
		u.Put(name, []string{"latest"}, indexOf(last, s.image(name, "latest", "arm64")))
		u.Put(name, nil, RandomArtifact(s.Seed, first.Manifest.Descriptor, "application/vnd.weir.lab.note"))
	}
	return nil
}

func (s Sample) image(repository, tag, arch string) Image {
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest}
	config := v1.Image{
		Platform: v1.Platform{OS: "linux", Architecture: arch}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.ImageConfig{Cmd: []string{"/data1"}, Labels: map[string]string{"org.opencontainers.image.title": repository + ":" + tag}},
	}
	blobs := make([]Content, 1, s.Layers+1)
	for i := range s.Layers {
		name := fmt.Sprintf("data%d", i+1)
		layer := TarLayer(seedOf(s.Seed, repository, tag, arch, name), name, s.LayerSize)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
		m.Layers = append(m.Layers, layer.Descriptor)
		blobs = append(blobs, layer)
	}
	blobs[0] = BytesContent(oci.MediaTypeImageConfig, encode(config))
	m.Config = blobs[0].Descriptor
	return Image{Manifest: manifestOf(oci.MediaTypeImageManifest, m), Blobs: blobs}
}

func indexOf(images ...Image) Image {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageIndex}
	for i, arch := range []string{"amd64", "arm64"}[:len(images)] {
		d := images[i].Manifest.Descriptor
		d.Platform = &oci.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, d)
	}
	return Image{Manifest: manifestOf(oci.MediaTypeImageIndex, index), Children: images}
}

// seedOf is FNV-1a over what a layer is called.
func seedOf(seed uint64, parts ...string) uint64 {
	h := uint64(14695981039346656037) ^ seed
	for _, p := range parts {
		for _, b := range append([]byte(p), 0) {
			h = (h ^ uint64(b)) * 1099511628211
		}
	}
	return h
}

// Images lists every tag.
func (u *Upstream) Images() []ImageInfo {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := []ImageInfo{}
	for _, name := range slices.Sorted(maps.Keys(u.repositories)) {
		r := u.repositories[name]
		for _, tag := range slices.Sorted(maps.Keys(r.tags)) {
			out = append(out, ImageInfo{name, tag, r.manifests[r.tags[tag]].MediaType, r.tags[tag]})
		}
	}
	return out
}

// Example is an image that the upstream has, "repository:tag".
func (u *Upstream) Example() string {
	images := u.Images()
	if len(images) == 0 {
		return "demo/app1:1"
	}
	first := slices.MinFunc(images, func(a, b ImageInfo) int { return cmp.Compare(a.Repository+a.Tag, b.Repository+b.Tag) })
	return first.Repository + ":" + first.Tag
}

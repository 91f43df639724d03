package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/weir-registry/weir/internal/oci"
)

// content is a blob or a manifest. The sum is a cheap one: a client that hashed 20 × 210 MB would be what is measured.
type content struct {
	digest string
	bytes  []byte
	sum    uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newContent(b []byte) content {
	return content{string(oci.DigestOf(oci.SHA256, b)), b, crc32.Checksum(b, castagnoli)}
}

// random is content that is always the same for a name and does not compress: what layers look like to a registry.
func random(name string, size int) content {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	return newContent(b)
}

// image is a manifest with everything it names.
type image struct {
	tags     []string
	manifest content
	blobs    []content // the config first
}

func (i image) size() (n int64) {
	for _, b := range i.blobs {
		n += int64(len(b.bytes))
	}
	return n
}

// repository is a named set of images.
type repository struct {
	name   string
	images []image
}

func newImage(tags []string, note string, blobs ...content) image {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	describe := func(c content, mediaType string) descriptor { return descriptor{mediaType, c.digest, len(c.bytes)} }
	m := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations"`
	}{2, oci.MediaTypeImageManifest, describe(blobs[0], "application/vnd.oci.image.config.v1+json"), []descriptor{}, map[string]string{"note": note}}
	for _, layer := range blobs[1:] {
		m.Layers = append(m.Layers, describe(layer, "application/vnd.oci.image.layer.v1.tar+gzip"))
	}
	payload, err := json.Marshal(m)
	if err != nil {
		panic(err) // plain strings and numbers
	}
	return image{tags, newContent(payload), blobs}
}

// config is an image configuration of about 600 bytes.
func config(name string) content {
	return newContent(fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Env":["%0540x"]}}`, sha256.Sum256([]byte(name))))
}

// small has 3 layers of 100 KB.
func small(name string) repository {
	blobs := []content{config(name)}
	for i := range 3 {
		blobs = append(blobs, random(name+strconv.Itoa(i), 100_000))
	}
	return repository{name, []image{newImage([]string{"latest"}, name, blobs...)}}
}

// medium has layers of 2, 8, 15, 25, 50 and 100 MB, or a fraction of them.
func medium(fraction int) repository {
	blobs := []content{config("medium")}
	for _, mb := range []int{2, 8, 15, 25, 50, 100} {
		blobs = append(blobs, random("medium"+strconv.Itoa(mb), mb<<20/fraction))
	}
	return repository{"medium", []image{newImage([]string{"latest"}, "medium", blobs...)}}
}

// many has images with five tags each, and a configuration and a layer of 100 KB of their own.
func many(images int) repository {
	r := repository{name: "many"}
	for i := range images {
		name := "many" + strconv.Itoa(i)
		var tags []string
		for j := range 5 {
			tags = append(tags, fmt.Sprintf("v%d.%d", i, j))
		}
		r.images = append(r.images, newImage(tags, name, config(name), random(name, 100_000)))
	}
	return r
}

// tagged has one tag for each manifest; all of them share their blobs.
func tagged(tags int) repository {
	r := repository{name: "t" + strconv.Itoa(tags)}
	shared := []content{config("tagged"), random("tagged", 1000)}
	for i := range tags {
		tag := fmt.Sprintf("v%05d", i)
		r.images = append(r.images, newImage([]string{tag}, tag, shared...))
	}
	return r
}

// writeTree puts a repository where nginx and memory find it: <root>/v2/<name>/{manifests,blobs}/<reference>.
func writeTree(root string, r repository) error {
	manifests, blobs := filepath.Join(root, "v2", r.name, "manifests"), filepath.Join(root, "v2", r.name, "blobs")
	for _, dir := range []string{manifests, blobs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, i := range r.images {
		for _, ref := range append([]string{i.manifest.digest}, i.tags...) {
			if err := os.WriteFile(filepath.Join(manifests, ref), i.manifest.bytes, 0o644); err != nil {
				return err
			}
		}
		for _, b := range i.blobs {
			file := filepath.Join(blobs, b.digest)
			if _, err := os.Stat(file); err == nil {
				continue
			}
			if err := os.WriteFile(file, b.bytes, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

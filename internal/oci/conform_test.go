package oci

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestConforms(t *testing.T) {
	d := func(mediaType, more string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":2%s}`, mediaType, DigestOf(SHA256, []byte("{}")), more)
	}
	config, layer := d(MediaTypeImageConfig, ""), d("application/vnd.oci.image.layer.v1.tar+gzip", "")
	child := d(MediaTypeImageManifest, `,"platform":{"os":"linux","architecture":"arm64"}`)
	image := func(fields string) string { return `{"schemaVersion":2` + fields + `}` }
	for _, c := range []struct{ name, mediaType, payload, want string }{
		{"an image", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":[` + layer + `]`), ""},
		{"without layers", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":[]`), ""},
		{"with null layers", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":null`), ""},
		{"a foreign layer", MediaTypeDockerManifest, image(`,"config":` + d("application/vnd.docker.container.image.v1+json", "") +
			`,"layers":[` + d("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", `,"urls":["https://example.test/x"]`) + `]`), ""},
		{"an artifact", MediaTypeImageManifest, image(`,"artifactType":"a/b","config":` +
			d("application/vnd.oci.empty.v1+json", `,"data":"e30="`) + `,"layers":[` + d("application/vnd.oci.empty.v1+json", "") + `]`), ""},
		{"a referrer", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":[` + layer + `],"subject":` + child), ""},
		{"an index", MediaTypeImageIndex, image(`,"manifests":[` + child + `]`), ""},
		{"an empty index", MediaTypeImageIndex, image(`,"manifests":[]`), ""},
		{"an index with annotations and a subject", MediaTypeImageIndex, image(`,"artifactType":"a/b","manifests":[` + child + `],"subject":` + child + `,"annotations":{"a":"b"}`), ""},
		{"a list", MediaTypeDockerList, image(`,"manifests":[` + d(MediaTypeDockerManifest, "") + `]`), ""},
		{"another type", "application/vnd.oci.artifact.manifest.v1+json", `{"blobs":[` + layer + `]}`, ""},
		{"unknown fields", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":[` + layer + `],"x":{"y":[1]}`), ""},

		{"nothing but a version", MediaTypeImageManifest, image(``), "config is missing"},
		{"the same of Docker's", MediaTypeDockerManifest, image(``), "config is missing"},
		{"no version", MediaTypeImageManifest, `{"config":` + config + `,"layers":[]}`, "schemaVersion"},
		{"another version", MediaTypeImageIndex, `{"schemaVersion":3,"manifests":[]}`, "schemaVersion"},
		{"no layers", MediaTypeImageManifest, image(`,"config":` + config), "layers is missing"},
		{"a null config", MediaTypeImageManifest, image(`,"config":null,"layers":[]`), "config is missing"},
		{"a config without a type", MediaTypeImageManifest, image(`,"config":` + d("", "") + `,"layers":[]`), "config.mediaType"},
		{"a layer without a type", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":[` + layer + `,` + d("", "") + `]`), "layers[1].mediaType"},
		{"an image with children", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":[],"manifests":[` + child + `]`), "no manifests"},
		{"an index of nothing", MediaTypeImageIndex, image(``), "manifests is missing"},
		{"a list of nothing", MediaTypeDockerList, image(``), "manifests is missing"},
		{"an index with a config", MediaTypeImageIndex, image(`,"manifests":[],"config":` + config), "no config"},
		{"an index with layers", MediaTypeImageIndex, image(`,"manifests":[],"layers":[` + layer + `]`), "no layers"},
		{"a child without a type", MediaTypeImageIndex, image(`,"manifests":[` + d("", "") + `]`), "manifests[0].mediaType"},
		{"a bad digest", MediaTypeImageManifest, image(`,"config":` + config + `,"layers":[{"mediaType":"a/b","digest":"sha256:x"}]`), "layers[0].digest"},
		{"a negative size", MediaTypeImageManifest, image(`,"config":` + strings.Replace(config, `"size":2`, `"size":-2`, 1)), "config.size"},
		{"a bad subject", MediaTypeImageIndex, image(`,"manifests":[],"subject":{}`), "subject.digest"},
	} {
		m, err := ParseManifest(c.mediaType, []byte(c.payload))
		if err == nil {
			err = m.Conforms(c.mediaType, []byte(c.payload))
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

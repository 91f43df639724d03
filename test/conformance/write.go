package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

func (s *suite) manifests(t *testing.T) {
	image := registrytest.RandomImage(200, 1, 100)
	for _, b := range image.Blobs {
		s.putBlob(t, s.Name, b.Digest, b.Bytes())
	}
	m := image.Manifest
	put := func(ref, contentType string) *response {
		return s.do(t, http.MethodPut, s.Name+"/manifests/"+ref, body(contentType, m.Payload)).want(t, http.StatusCreated)
	}
	for _, ref := range []string{"first", string(m.Digest), "second"} {
		r := put(ref, m.MediaType).wantHeader(t, "Docker-Content-Digest", string(m.Digest))
		s.do(t, http.MethodGet, r.location(t)).want(t, http.StatusOK).wantBody(t, m.Payload)
	}
	put("parameters", m.MediaType+"; charset=utf-8")
	s.do(t, http.MethodGet, s.Name+"/manifests/parameters").want(t, http.StatusOK).wantHeader(t, "Content-Type", m.MediaType)

	other := registrytest.RandomImage(201, 1, 100)
	s.put(t, s.Name, []string{"first"}, other)
	s.checkContent(t, s.Name+"/manifests/first", other.Manifest.MediaType, other.Manifest.Digest, other.Manifest.Payload)
	s.checkContent(t, s.Name+"/manifests/second", m.MediaType, m.Digest, m.Payload)

	artifact := registrytest.RandomArtifact(202, m.Descriptor, "application/vnd.test")
	for _, b := range artifact.Blobs {
		s.putBlob(t, s.Name, b.Digest, b.Bytes())
	}
	s.do(t, http.MethodPut, s.Name+"/manifests/"+string(artifact.Manifest.Digest), body(artifact.Manifest.MediaType, artifact.Manifest.Payload)).
		want(t, http.StatusCreated).wantHeader(t, "OCI-Subject", string(m.Digest))
	s.oddManifests(t, image)
}

// oddManifests are unusual and right: the registry must keep them byte for byte.
func (s *suite) oddManifests(t *testing.T, image registrytest.Image) {
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, oci.MediaTypeImageIndex)
	nested := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%[1]q,"digest":%q,"size":%d}]}`,
		oci.MediaTypeImageIndex, digestOf("sha256", []byte(index)), len(index))
	config, err := json.Marshal(image.Config().Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, mediaType, payload string }{
		{"empty-index", oci.MediaTypeImageIndex, index},
		{"nested-index", oci.MediaTypeImageIndex, nested},
		{"no-layers", oci.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[]}`, oci.MediaTypeImageManifest, config)},
		{"own-type", "application/vnd.Test.Own+json", `{"mediaType":"application/vnd.Test.Own+json","anything":[1,2,{}]}`},
		{"custom-field", oci.MediaTypeImageManifest, fmt.Sprintf("{\n \"schemaVersion\":2,\"config\":%s,\"layers\":[],\"org.example\":{\"a\":1}}\n", config)},
		{"docker-list", oci.MediaTypeDockerList, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, oci.MediaTypeDockerList)},
		{"foreign-layer", oci.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[{"mediaType":`+
			`"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","digest":%q,"size":12345,"urls":["https://store.example.com/x"]}]}`,
			oci.MediaTypeImageManifest, config, missing)},
		{"large", oci.MediaTypeImageIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"a":%q}}`,
			oci.MediaTypeImageIndex, strings.Repeat("A", 4_100_000))},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.do(t, http.MethodPut, s.Name+"/manifests/"+c.name, body(c.mediaType, []byte(c.payload))).want(t, http.StatusCreated)
			s.checkContent(t, s.Name+"/manifests/"+c.name, c.mediaType, digestOf("sha256", []byte(c.payload)), []byte(c.payload))
		})
	}
}

func (s *suite) refusedManifests(t *testing.T) {
	image := registrytest.RandomImage(210, 1, 100)
	for _, b := range image.Blobs {
		s.putBlob(t, s.Name, b.Digest, b.Bytes())
	}
	m, unpushed, index := image.Manifest, registrytest.RandomImage(211, 1, 100).Manifest, registrytest.RandomIndex(212, 1, 10).Manifest
	put := func(ref, contentType string, payload []byte) *response {
		return s.do(t, http.MethodPut, s.Name+"/manifests/"+ref, body(contentType, payload))
	}
	put(string(m.Digest), m.MediaType, append(bytes.Clone(m.Payload), ' ', ' ')).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
	put("sha256:baddigeststring", m.MediaType, m.Payload).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
	put(string(digestOf("sha512", nil)), m.MediaType, m.Payload).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
	put("bad", m.MediaType, []byte("{")).wantCode(t, http.StatusBadRequest, oci.CodeManifestInvalid)
	put("bad", m.MediaType, nil).wantCode(t, http.StatusBadRequest, oci.CodeManifestInvalid)
	put("bad", oci.MediaTypeImageIndex, m.Payload).wantCode(t, http.StatusBadRequest, oci.CodeManifestInvalid)
	put("bad", oci.MediaTypeDockerSchema1JW, []byte(`{"schemaVersion":1,"fsLayers":[]}`)).wantCode(t, http.StatusBadRequest, oci.CodeManifestInvalid)
	put("bad", m.MediaType, bytes.Repeat([]byte(" "), oci.MaxManifestSize+1)).wantCode(t, http.StatusRequestEntityTooLarge, oci.CodeSizeInvalid, oci.CodeManifestInvalid)
	put("bad", unpushed.MediaType, unpushed.Payload).wantCode(t, http.StatusNotFound, oci.CodeManifestBlobUnknown)
	put("bad", index.MediaType, index.Payload).wantCode(t, http.StatusNotFound, oci.CodeManifestBlobUnknown)
	put("-bad", m.MediaType, m.Payload).wantCode(t, http.StatusBadRequest, oci.CodeTagInvalid)
	s.do(t, http.MethodGet, s.Name+"/manifests/bad").want(t, http.StatusNotFound)
	s.do(t, http.MethodGet, s.Name+"/manifests/"+string(m.Digest)).want(t, http.StatusNotFound)
}

// tagParameters follows the draft after 1.1: tags beside a digest.
func (s *suite) tagParameters(t *testing.T) {
	for _, algorithm := range []string{"sha256", "sha512"} {
		t.Run(algorithm, func(t *testing.T) {
			image := registrytest.RandomImage(220+uint64(len(algorithm)), 1, 100)
			for _, b := range image.Blobs {
				s.putBlob(t, s.Name, b.Digest, b.Bytes())
			}
			m := image.Manifest
			payload := append(bytes.Clone(m.Payload), []byte(strings.Repeat(" ", len(algorithm[3:])))...)
			d, tags := digestOf(algorithm, payload), []string{"p1-" + algorithm, "p2-" + algorithm}
			where := with(with(s.Name+"/manifests/"+string(d), "tag", tags[0]), "tag", tags[1])
			r := s.do(t, http.MethodPut, where, body(m.MediaType, payload)).want(t, http.StatusCreated)
			for _, tag := range tags {
				if !slices.Contains(r.Header.Values("OCI-Tag"), tag) {
					t.Errorf("%s: OCI-Tag %q lacks %s", r.request, r.Header.Values("OCI-Tag"), tag)
				}
				s.checkContent(t, s.Name+"/manifests/"+tag, m.MediaType, d, payload)
			}
			s.do(t, http.MethodPut, with(where, "tag", "-no"), body(m.MediaType, payload)).wantCode(t, http.StatusBadRequest, oci.CodeTagInvalid)
		})
	}
}

func (s *suite) sha512(t *testing.T) {
	config, layer := []byte(`{"sha":512}`), registrytest.RandomBlob(230, 700).Bytes()
	for _, b := range [][]byte{config, layer} {
		s.putBlob(t, s.Name, digestOf("sha512", b), b)
	}
	payload := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		oci.MediaTypeImageManifest, oci.MediaTypeImageConfig, digestOf("sha512", config), len(config),
		"application/vnd.oci.image.layer.v1.tar", digestOf("sha512", layer), len(layer))
	d := digestOf("sha512", payload)
	s.do(t, http.MethodPut, s.Name+"/manifests/"+string(d), body(oci.MediaTypeImageManifest, payload)).want(t, http.StatusCreated).
		wantHeader(t, "Docker-Content-Digest", string(d))
	s.checkContent(t, s.Name+"/manifests/"+string(d), oci.MediaTypeImageManifest, d, payload)
	r := s.do(t, http.MethodPut, with(s.Name+"/manifests/by-algorithm", "digest-algorithm", "sha512"), body(oci.MediaTypeImageManifest, payload))
	r.want(t, http.StatusCreated).wantHeader(t, "Docker-Content-Digest", string(d))
	s.checkContent(t, s.Name+"/manifests/by-algorithm", oci.MediaTypeImageManifest, d, payload)
	s.do(t, http.MethodDelete, s.Name+"/manifests/"+string(d)).want(t, http.StatusAccepted)
	s.do(t, http.MethodDelete, s.Name+"/blobs/"+string(digestOf("sha512", layer))).want(t, http.StatusAccepted)
}

func (s *suite) delete(t *testing.T) {
	name, image := s.Name+"/delete", registrytest.RandomImage(240, 1, 100)
	s.put(t, name, []string{"a", "b"}, image)
	d := string(image.Manifest.Digest)
	layer := name + "/blobs/" + string(image.Layers()[0].Digest)
	gone := func(where string, code oci.Code) {
		t.Helper()
		s.do(t, http.MethodHead, where).want(t, http.StatusNotFound)
		s.do(t, http.MethodGet, where).wantCode(t, http.StatusNotFound, code)
		s.do(t, http.MethodDelete, where).wantCode(t, http.StatusNotFound, code)
	}
	s.do(t, http.MethodDelete, layer).want(t, http.StatusMethodNotAllowed, http.StatusForbidden, http.StatusAccepted)
	s.do(t, http.MethodDelete, name+"/manifests/a").want(t, http.StatusAccepted)
	gone(name+"/manifests/a", oci.CodeManifestUnknown)
	s.do(t, http.MethodGet, name+"/manifests/b").want(t, http.StatusOK)
	s.do(t, http.MethodGet, name+"/manifests/"+d).want(t, http.StatusOK)
	s.do(t, http.MethodDelete, name+"/manifests/"+d).want(t, http.StatusAccepted)
	gone(name+"/manifests/"+d, oci.CodeManifestUnknown)
	gone(name+"/manifests/b", oci.CodeManifestUnknown)
	var list tagList
	s.do(t, http.MethodGet, name+"/tags/list").want(t, http.StatusOK).decode(t, &list)
	if len(list.Tags) != 0 || list.Tags == nil {
		t.Errorf("tags after deleting: %v", list.Tags)
	}
	for _, b := range image.Blobs {
		where := name + "/blobs/" + string(b.Digest)
		s.do(t, http.MethodDelete, where).want(t, http.StatusAccepted, http.StatusNotFound)
		gone(where, oci.CodeBlobUnknown)
	}
	s.put(t, name, []string{"again"}, image)
	s.checkImage(t, name, "again", image)
}

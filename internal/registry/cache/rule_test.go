package cache_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// behind is a virtual registry with the cache as its member, under one rule that allows what pattern matches.
func (w *world) behind(pattern string) *virtual.Registry {
	w.t.Helper()
	p, err := oci.ParsePattern(pattern)
	if err != nil {
		w.t.Fatal(err)
	}
	return virtual.New(virtual.Options{
		Group: "acme", Name: "hub", Rules: []virtual.Rule{{Allow: true, Pattern: p}}, NewID: func() string { return "id" },
		Members: []virtual.MemberConfig{{Name: "hub", Member: w.Registry, Enabled: true}},
	})
}

// pulls checks that all of an image can be had by digest, or, if not allowed, that its manifest is refused.
func pulls(t *testing.T, r *virtual.Registry, image registrytest.Image, allowed bool) {
	t.Helper()
	m := image.Manifest.Descriptor
	_, err := r.Manifest(t.Context(), alpine, oci.ByDigest(m.Digest))
	if !allowed {
		if oci.ErrorCode(err) != oci.CodeDenied {
			t.Errorf("%s %s: %v, want DENIED", m.ArtifactType, m.Digest, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s %s: %v", m.ArtifactType, m.Digest, err)
		return
	}
	for _, layer := range image.Layers() {
		b, err := r.Blob(t.Context(), alpine, layer.Digest, registry.Range{})
		if err != nil {
			t.Errorf("layer %s: %v", layer.Digest, err)
			continue
		}
		if _, err := io.Copy(io.Discard, b.Body); err != nil {
			t.Error(err)
		}
		_ = b.Body.Close()
	}
}

// TestReferrersUnderTagRules: signatures and SBOMs of an allowed image can be listed and pulled, before and after they are cached
// and however deep they refer, and those of an image that is not allowed cannot.
func TestReferrersUnderTagRules(t *testing.T) {
	for name, api := range map[string]bool{"API": true, "tag schema": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, fake := newStack(t)
			fake.Set(func(b *registrytest.Behavior) { b.NoReferrers = !api })
			good, bad := registrytest.RandomImage(1, 1, 1000), registrytest.RandomImage(2, 1, 1000)
			fake.Put(alpine, []string{"1.0"}, good)
			fake.Put(alpine, []string{"2.0"}, bad)
			sbom := registrytest.RandomArtifact(3, good.Manifest.Descriptor, "application/sbom")
			signature := registrytest.RandomArtifact(4, sbom.Manifest.Descriptor, "application/signature")
			wrong := registrytest.RandomArtifact(5, bad.Manifest.Descriptor, "application/sbom")
			unlisted := registrytest.RandomArtifact(6, good.Manifest.Descriptor, "application/other")
			for _, pair := range [][2]registrytest.Image{{good, sbom}, {sbom, signature}, {bad, wrong}} {
				fake.Put(alpine, nil, pair[1])
				if !api {
					listByTag(t, fake, pair[0], pair[1])
				}
			}
			r := w.behind("*:1.*")
			refer := func(subject registrytest.Image, n int) {
				t.Helper()
				l, err := r.Referrers(t.Context(), alpine, subject.Manifest.Digest, "")
				if err != nil || len(l.Manifests) != n {
					t.Errorf("referrers: %+v, %v", l, err)
				}
			}

			pulls(t, r, sbom, false) // nobody knows yet whose it is
			if _, err := r.StatManifest(t.Context(), alpine, oci.ByTag("1.0")); err != nil {
				t.Fatal(err)
			}
			refer(good, 1)
			refer(sbom, 1)
			refer(bad, 1)
			pulls(t, r, sbom, true)
			pulls(t, r, signature, true)
			pulls(t, r, wrong, false)

			fake.Put(alpine, nil, unlisted)
			pulls(t, r, unlisted, false)
			pulls(t, w.behind("library/*"), unlisted, true) // another registry over the same cache stores it: it names its subject
			pulls(t, r, unlisted, true)

			fake.Stop()
			w.pass(48 * time.Hour)
			refer(good, 1)
			pulls(t, w.behind("*:1.*"), signature, true)
		})
	}
}

// listByTag lists one referrer of a subject as upstreams without the API do.
func listByTag(t *testing.T, fake *registrytest.Upstream, subject, referrer registrytest.Image) {
	t.Helper()
	payload, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": []oci.Descriptor{referrer.Manifest.Descriptor},
	})
	if err != nil {
		t.Fatal(err)
	}
	tag := strings.Replace(string(subject.Manifest.Digest), ":", "-", 1)
	index := registrytest.BytesContent(oci.MediaTypeImageIndex, payload)
	fake.PutManifest(alpine, []string{tag}, registry.Manifest{Descriptor: index.Descriptor, Payload: payload})
}

package registrytest

import (
	"bytes"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

const (
	repositoryName = "team/app"
	missingDigest  = oci.Digest("sha256:00000000000000000000000000000000000000000000000000000000000000aa")
)

func readFixture() (Fixture, Image, Image) {
	index, image := RandomIndex(1, 2, 3000), RandomImage(2, 1, 70_000)
	return Fixture{
		{Repository: repositoryName, Tags: []string{"multi", "latest"}, Image: index},
		{Repository: repositoryName, Tags: []string{"v1.0"}, Image: image},
	}, index, image
}

func testRead(t *testing.T, open Open) {
	fixture, index, image := readFixture()
	r := open(t, fixture)
	for _, c := range []struct {
		ref  oci.Reference
		want registry.Manifest
	}{
		{oci.ByTag("multi"), index.Manifest},
		{oci.ByTag("latest"), index.Manifest},
		{oci.ByTag("v1.0"), image.Manifest},
		{oci.ByDigest(index.Manifest.Digest), index.Manifest},
		{oci.ByDigest(index.Children[1].Manifest.Digest), index.Children[1].Manifest},
	} {
		checkManifest(t, r, c.ref, c.want)
	}
	for _, b := range image.Blobs {
		checkBlob(t, r, b)
	}
	checkBlob(t, r, index.Children[0].Layers()[1])
}

func checkManifest(t *testing.T, r registry.Registry, ref oci.Reference, want registry.Manifest) {
	t.Helper()
	// The stat comes first: on a cold cache it must not depend on the manifest having been fetched.
	d, err := r.StatManifest(t.Context(), repositoryName, ref)
	if err != nil || d.Digest != want.Digest || d.MediaType != want.MediaType || d.Size != want.Size {
		t.Errorf("stat manifest %s: %s %s %d, %v; want %+v", ref, d.Digest, d.MediaType, d.Size, err, want.Descriptor)
	}
	m, err := r.Manifest(t.Context(), repositoryName, ref)
	if err != nil {
		t.Errorf("manifest %s: %v", ref, err)
		return
	}
	if m.Digest != want.Digest || m.MediaType != want.MediaType || m.Size != want.Size || !bytes.Equal(m.Payload, want.Payload) {
		t.Errorf("manifest %s: %+v (%d bytes), want %+v", ref, m.Descriptor, len(m.Payload), want.Descriptor)
	}
}

func checkBlob(t *testing.T, r registry.Registry, want Content) {
	t.Helper()
	d, err := r.StatBlob(t.Context(), repositoryName, want.Digest)
	if err != nil || d.Digest != want.Digest || d.Size != want.Size {
		t.Errorf("stat blob %s: %+v, %v; want size %d", want.Digest, d, err, want.Size)
	}
	if got := ReadBlob(t, r, repositoryName, want.Digest, registry.Range{}); !bytes.Equal(got, want.Bytes()) {
		t.Errorf("blob %s: %d bytes differ from the %d pushed", want.Digest, len(got), want.Size)
	}
}

func testAbsent(t *testing.T, open Open) {
	fixture, _, image := readFixture()
	r, ctx := open(t, fixture), t.Context()
	for _, repository := range []string{repositoryName, "team/other"} {
		for _, ref := range []oci.Reference{oci.ByTag("nope"), oci.ByDigest(missingDigest)} {
			_, err := r.Manifest(ctx, repository, ref)
			wantOutcome(t, "manifest "+repository+" "+ref.String(), err, registry.Absent)
			_, err = r.StatManifest(ctx, repository, ref)
			wantOutcome(t, "stat manifest "+repository+" "+ref.String(), err, registry.Absent)
		}
		_, err := r.Blob(ctx, repository, missingDigest, registry.Range{})
		wantOutcome(t, "blob of "+repository, err, registry.Absent)
		_, err = r.StatBlob(ctx, repository, missingDigest)
		wantOutcome(t, "stat blob of "+repository, err, registry.Absent)
	}
	_, err := r.StatBlob(ctx, "team/other", image.Config().Digest)
	wantOutcome(t, "blob of another repository", err, registry.Absent)
}

func testRange(t *testing.T, open Open) {
	fixture, _, image := readFixture()
	r, layer := open(t, fixture), image.Layers()[0]
	all := layer.Bytes()
	n := layer.Size
	for _, c := range []struct {
		rng      registry.Range
		from, to int64
	}{
		{registry.Range{Offset: 0, Length: 1}, 0, 1},
		{registry.Range{Offset: 10, Length: 100}, 10, 110},
		{registry.Range{Offset: 10}, 10, n},
		{registry.Range{Offset: n - 1}, n - 1, n},
		{registry.Range{Offset: n - 5, Length: 100}, n - 5, n},
		{registry.Range{Offset: -7}, n - 7, n},
		{registry.Range{Offset: -n - 10}, 0, n},
	} {
		b, err := r.Blob(t.Context(), repositoryName, layer.Digest, c.rng)
		if err != nil {
			t.Errorf("range %+v: %v", c.rng, err)
			continue
		}
		_ = b.Body.Close()
		if b.Offset != c.from || (b.Length >= 0 && b.Length != c.to-c.from) || (b.Size >= 0 && b.Size != n) {
			t.Errorf("range %+v: offset %d length %d of %d, want %d+%d of %d", c.rng, b.Offset, b.Length, b.Size, c.from, c.to-c.from, n)
		}
		if got := ReadBlob(t, r, repositoryName, layer.Digest, c.rng); !bytes.Equal(got, all[c.from:c.to]) {
			t.Errorf("range %+v: %d wrong bytes", c.rng, len(got))
		}
	}
	for _, rng := range []registry.Range{{Offset: n}, {Offset: n + 1, Length: 5}} {
		_, err := r.Blob(t.Context(), repositoryName, layer.Digest, rng)
		wantCode(t, "range beyond the end", err, oci.CodeRangeInvalid)
	}
}

package registrytest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

func testTags(t *testing.T, open Open) {
	var tags []string
	for i := range 25 {
		tags = append(tags, fmt.Sprintf("v%02d", i), fmt.Sprintf("V%d", i))
	}
	slices.Sort(tags)
	r := open(t, Fixture{{Repository: repositoryName, Tags: tags, Image: RandomImage(1, 1, 100)}})
	for _, n := range []int{0, 1, 7, 50, 51} {
		got := collect(t, n, func(p registry.Page) ([]string, bool) {
			list, err := r.Tags(t.Context(), repositoryName, p)
			if err != nil {
				t.Fatalf("tags %+v: %v", p, err)
			}
			return list.Tags, list.More
		})
		if !slices.Equal(got, tags) {
			t.Errorf("tags by pages of %d: %q, want %q", n, got, tags)
		}
	}
	list, err := r.Tags(t.Context(), repositoryName, registry.Page{N: 2, Last: "v03x"}) // last need not exist
	if err != nil || !slices.Equal(list.Tags, []string{"v04", "v05"}) || !list.More {
		t.Errorf("tags after one that does not exist: %+v, %v", list, err)
	}
	_, err = r.Tags(t.Context(), "team/other", registry.Page{})
	wantOutcome(t, "tags of a missing repository", err, registry.Absent)
}

func testCatalog(t *testing.T, open Open) {
	var fixture Fixture
	var names []string
	for i := range 12 {
		name := fmt.Sprintf("team/app-%02d", i)
		names = append(names, name)
		fixture = append(fixture, Item{Repository: name, Tags: []string{"a"}, Image: RandomImage(uint64(i), 1, 10)})
	}
	r := open(t, fixture)
	for _, n := range []int{0, 5, 12} {
		got := collect(t, n, func(p registry.Page) ([]string, bool) {
			list, err := r.Repositories(t.Context(), p)
			if err != nil {
				t.Fatalf("repositories %+v: %v", p, err)
			}
			return list.Repositories, list.More
		})
		if !slices.Equal(got, names) {
			t.Errorf("repositories by pages of %d: %q, want %q", n, got, names)
		}
	}
}

// collect follows the pages to the end.
func collect(t *testing.T, n int, next func(registry.Page) ([]string, bool)) []string {
	t.Helper()
	var all []string
	for page := (registry.Page{N: n}); ; {
		names, more := next(page)
		if n > 0 && len(names) > n {
			t.Fatalf("page of %d names, asked for %d", len(names), n)
		}
		all = append(all, names...)
		if !more {
			return all
		}
		if len(names) == 0 || len(all) > 10_000 {
			t.Fatalf("page after %q does not advance", page.Last)
		}
		page.Last = names[len(names)-1]
	}
}

func testReferrers(t *testing.T, open Open) {
	const signature, sbom = "application/vnd.test.signature", "application/vnd.test.sbom"
	image := RandomImage(1, 1, 100)
	sig, bill := RandomArtifact(2, image.Manifest.Descriptor, signature), RandomArtifact(3, image.Manifest.Descriptor, sbom)
	r := open(t, Fixture{
		{Repository: repositoryName, Tags: []string{"a"}, Image: image},
		{Repository: repositoryName, Image: sig},
		{Repository: repositoryName, Image: bill},
	})
	for _, c := range []struct {
		digest       oci.Digest
		artifactType string
		want         []Image
	}{
		{image.Manifest.Digest, "", []Image{sig, bill}},
		{image.Manifest.Digest, sbom, []Image{bill}},
		{image.Manifest.Digest, "application/vnd.test.other", nil},
		{missingDigest, "", nil},
	} {
		list, err := r.Referrers(t.Context(), repositoryName, c.digest, c.artifactType)
		if err != nil {
			t.Errorf("referrers of %s: %v", c.digest, err)
			continue
		}
		if len(list.Manifests) != len(c.want) {
			t.Errorf("referrers of %s of type %q: %+v, want %d", c.digest, c.artifactType, list.Manifests, len(c.want))
		}
		for _, want := range c.want {
			checkReferrer(t, list.Manifests, want)
		}
	}
}

func checkReferrer(t *testing.T, list []oci.Descriptor, want Image) {
	t.Helper()
	man, err := oci.ParseManifest(want.Manifest.MediaType, want.Manifest.Payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if d.Digest == want.Manifest.Digest {
			if d.MediaType != want.Manifest.MediaType || d.Size != want.Manifest.Size || d.ArtifactType != man.ArtifactType ||
				d.Annotations["test.weir/seed"] != man.Annotations["test.weir/seed"] {
				t.Errorf("referrer %+v does not describe its manifest", d)
			}
			return
		}
	}
	t.Errorf("referrer %s is missing in %+v", want.Manifest.Digest, list)
}

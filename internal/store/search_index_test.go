package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
)

// sparseIndex is an index as upstreams have them: it tells the platforms of its images.
func sparseIndex(platforms map[string]image) image {
	var list []oci.Descriptor
	for architecture, img := range platforms {
		d := descriptor(oci.MediaTypeImageManifest, img.payload)
		d.Platform = &oci.Platform{OS: "linux", Architecture: architecture}
		list = append(list, d)
	}
	return image{}.seal(map[string]any{"manifests": list}, oci.MediaTypeImageIndex)
}

// TestSearchFindsIndexes: what people tag is the index, so a search by what its images are finds it, and tells which of them are.
func TestSearchFindsIndexes(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		a, b, far := newImage("a"), newImage("b"), newImage("far")
		mustPush(t, s, acme, a)
		mustPush(t, s, acme, b)
		mustPush(t, s, acme, newIndex(a, b), "latest")
		mustPush(t, s, cached, a)
		mustPush(t, s, cached, sparseIndex(map[string]image{"arm64": a, "amd64": far}), "latest")
		label := func(value string) map[string]string { return map[string]string{"name": value} }
		for name, test := range map[string]struct {
			q    Search
			want []string // repository and images
		}{
			"platform":            {Search{Platform: "linux/arm64"}, []string{"library/alpine a", "team/app a b"}},
			"not here":            {Search{Platform: "linux/amd64"}, []string{"library/alpine (far)"}},
			"label":               {Search{Labels: label("b")}, []string{"team/app b"}},
			"any label":           {Search{Labels: label("")}, []string{"library/alpine a", "team/app a b"}},
			"both, of one image":  {Search{Labels: label("a"), Platform: "linux/arm64/v8"}, []string{"library/alpine a", "team/app a"}},
			"both, but of two":    {Search{Labels: label("a"), Platform: "linux/amd64"}, nil},
			"no such platform":    {Search{Platform: "linux/arm"}, nil},
			"nothing asked of it": {Search{}, []string{"library/alpine", "team/app"}},
		} {
			test.q.Tag = "latest"
			var got []string
			for _, f := range searchAll(t, s, test.q, 1) {
				text := f.In.Name
				for _, image := range []struct {
					name string
					image
				}{{"a", a}, {"b", b}, {"far", far}} {
					i := slices.IndexFunc(f.Images, func(found FoundImage) bool { return found.Digest == image.digest })
					switch {
					case i >= 0 && f.Images[i].Here:
						text += " " + image.name
					case i >= 0:
						text += " (" + image.name + ")"
					}
				}
				got = append(got, text)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: found %q, want %q", name, got, test.want)
			}
		}
	})
}

// TestSizeIsOne: a tag, a search, a list and a look at a manifest tell the same size of an index.
func TestSizeIsOne(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		a, far := newImage("a"), newImage("far")
		mustPush(t, s, cached, a)
		index := sparseIndex(map[string]image{"arm64": a, "amd64": far})
		id := mustPush(t, s, cached, index, "latest")
		size := int64(len(index.payload) + len(a.payload) + len(a.config) + len(a.layer))
		tag, err := s.TagInfo(t.Context(), id, "latest")
		ok(t, err)
		info, err := s.ManifestInfo(t.Context(), id, index.digest)
		ok(t, err)
		all, err := s.BrowseManifests(t.Context(), id, "", 10)
		ok(t, err)
		listed := all[slices.IndexFunc(all, func(f Found) bool { return f.Digest == index.digest })]
		found := searchAll(t, s, Search{Tag: "latest"}, 1)[0]
		if tag.Size != size || info.Size != size || listed.Size != size || found.Size != size {
			t.Errorf("tag %d, manifest %d, list %d, search %d, want %d", tag.Size, info.Size, listed.Size, found.Size, size)
		}
	})
}

// TestSearchOfIndexesIsBounded: looking at the images of indexes counts, and so does looking at tags, and nothing is lost where a page ends.
func TestSearchOfIndexesIsBounded(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		const n = searchManifests/searchIndex + 20
		for i := range n {
			_, err := s.PutManifest(t.Context(), sparseIndex(map[string]image{"arm64": newImage(fmt.Sprint(i))}).put(cached, fmt.Sprint(i)))
			ok(t, err)
		}
		for _, q := range []Search{{Platform: "plan9"}, {Stale: func(FoundIn, Tag) bool { return false }}} {
			q.GroupID, q.N, q.Visible = 1, 10, func(FoundIn) bool { return true }
			page, err := s.Search(t.Context(), q)
			ok(t, err)
			if len(page.Manifests) != 0 || page.Next == "" {
				t.Errorf("%d found, next %q", len(page.Manifests), page.Next)
			}
		}
		if found := searchAll(t, s, Search{Platform: "linux/arm64"}, 100); len(found) != n {
			t.Errorf("%d found of %d", len(found), n)
		}
	})
}

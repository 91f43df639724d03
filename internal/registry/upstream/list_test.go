package upstream_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// TestTagPages: whatever a vendor makes of paging, the list is whole or the answer says that it is not known.
func TestTagPages(t *testing.T) {
	var tags []string
	for i := range 100 {
		tags = append(tags, fmt.Sprintf("t%02d", i))
	}
	for _, c := range []struct {
		name string
		link registrytest.Link
		cap  int
		part string // of the reason, if it cannot work
	}{
		{"relative", registrytest.LinkRelative, 7, ""},
		{"absolute", registrytest.LinkAbsolute, 7, ""},
		{"query only", registrytest.LinkQuery, 7, ""},
		{"broken", registrytest.LinkBroken, 7, ""},
		{"another host", registrytest.LinkForeign, 7, ""}, // its query is taken to the host we know
		{"loop", registrytest.LinkLoop, 7, "repeat"},
		{"one page", registrytest.LinkMissing, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, image := fake(t, bearer, func(b *registrytest.Behavior) { b.PageCap, b.Link = c.cap, c.link })
			u.Untag(app, "v1")
			u.Tag(app, image.Manifest.Digest, tags...)
			list, err := connect(t, u, login("ci", "s3cret")).Tags(t.Context(), app, registry.Page{})
			if c.part != "" {
				want(t, err, registry.Unknown, c.part)
			} else if err != nil || !slices.Equal(list.Tags, tags) {
				t.Errorf("%+v, %v", list, err)
			}
			if u.Count("", registrytest.KindStorage) != 0 {
				t.Error("the link led to another host")
			}
		})
	}
}

// TestFullPageWithoutLink: a page as full as asked for may not be the last, although no Link says so.
func TestFullPageWithoutLink(t *testing.T) {
	u, image := fake(t, func(b *registrytest.Behavior) { b.Link = registrytest.LinkMissing })
	for i := range 2500 {
		u.Tag(app, image.Manifest.Digest, fmt.Sprintf("t%04d", i))
	}
	list, err := connect(t, u).Tags(t.Context(), app, registry.Page{N: 2, Last: "t2498"})
	if err != nil || !slices.Equal(list.Tags, []string{"t2499", "v1"}) || list.More {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestTagAnswers(t *testing.T) {
	for _, c := range []struct {
		body    string
		outcome registry.Outcome // Found: the list is want
		want    []string
	}{
		{`{"name":"x","tags":null}`, registry.Found, nil},
		{`{"tags":["b","a","b"," bad ","-x"]}`, registry.Found, []string{"a", "b"}}, // unsorted, twice, and what is no tag
		{`[]`, registry.Unknown, nil},
		{`nonsense`, registry.Unknown, nil},
		{`{"tags":[""` + strings.Repeat(`,""`, 1<<20) + `]}`, registry.Unknown, nil},
		{`{"tags":["` + strings.Repeat("a", 33<<20) + `"]}`, registry.Unknown, nil},
	} {
		u, _ := fake(t)
		u.Fail(registrytest.Rule{Kind: registrytest.KindTags, Fault: registrytest.Fault{Status: 200, Body: c.body}})
		list, err := connect(t, u).Tags(t.Context(), app, registry.Page{})
		if c.outcome != registry.Found {
			want(t, err, c.outcome, "")
		} else if err != nil || !slices.Equal(list.Tags, c.want) {
			t.Errorf("%.50s: %+v, %v", c.body, list, err)
		}
	}
}

// TestReferrersByTag: without the API, clients keep the list under a tag.
func TestReferrersByTag(t *testing.T) {
	const signature = "application/vnd.test.signature"
	for _, fault := range []registrytest.Fault{
		registrytest.Status(404), registrytest.Status(405), registrytest.Status(400),
		{Status: 200, Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}},
		{Status: 200, Body: "{}"},
	} {
		u, image := fake(t)
		u.Fail(registrytest.Rule{Kind: registrytest.KindReferrers, Fault: fault})
		r := connect(t, u)
		if list, err := r.Referrers(t.Context(), app, image.Manifest.Digest, ""); err != nil || len(list.Manifests) != 0 {
			t.Errorf("no tag: %+v, %v", list, err)
		}
		index := `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[
			{"mediaType":"` + oci.MediaTypeImageManifest + `","digest":"` + string(image.Config().Digest) + `","size":3,"artifactType":"` + signature + `"},
			{"mediaType":"x","digest":"` + string(image.Manifest.Digest) + `","size":3,"artifactType":"other"},
			{"mediaType":"x","digest":"sha256:zz","size":3},
			{"mediaType":"x","digest":"` + string(image.Layers()[0].Digest) + `","size":-1}]}`
		c := registrytest.BytesContent(oci.MediaTypeImageIndex, []byte(index))
		tag := "sha256-" + image.Manifest.Digest.Encoded()
		u.PutManifest(app, []string{tag}, registry.Manifest{Descriptor: c.Descriptor, Payload: []byte(index)})
		for artifactType, n := range map[string]int{"": 2, signature: 1, "none": 0} {
			list, err := r.Referrers(t.Context(), app, image.Manifest.Digest, artifactType)
			if err != nil || len(list.Manifests) != n {
				t.Errorf("%q: %+v, %v; want %d", artifactType, list, err, n)
			}
		}
	}
	u, image := fake(t)
	r := connect(t, u)
	u.Fail(registrytest.Rule{Kind: registrytest.KindReferrers, Times: 1, Fault: registrytest.Status(503)})
	_, err := r.Referrers(t.Context(), app, image.Manifest.Digest, "")
	want(t, err, registry.Unknown, "503") // it has the API, and does not answer
	bomb := registrytest.Fault{Status: 200, Body: `{"schemaVersion":2,"manifests":[{}` + strings.Repeat(",{}", 1<<20) + `]}`}
	u.Fail(registrytest.Rule{Kind: registrytest.KindReferrers, Fault: bomb})
	_, err = r.Referrers(t.Context(), app, image.Manifest.Digest, "")
	want(t, err, registry.Unknown, "too long")
}

// TestReferrersUnfiltered: an upstream may ignore the filter, and page.
func TestReferrersUnfiltered(t *testing.T) {
	u, image := fake(t, func(b *registrytest.Behavior) { b.Unfiltered, b.PageCap = true, 2 })
	for i := range 5 {
		u.Put(app, nil, registrytest.RandomArtifact(uint64(i), image.Manifest.Descriptor, fmt.Sprintf("application/vnd.test.%d", i%2)))
	}
	r := connect(t, u)
	for artifactType, n := range map[string]int{"": 5, "application/vnd.test.0": 3, "application/vnd.test.1": 2} {
		list, err := r.Referrers(t.Context(), app, image.Manifest.Digest, artifactType)
		if err != nil || len(list.Manifests) != n {
			t.Errorf("%q: %d, %v; want %d", artifactType, len(list.Manifests), err, n)
		}
	}
}

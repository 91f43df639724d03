package conformance

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// missing is a digest that nothing has.
var missing = oci.DigestOf(oci.SHA256, []byte("conformance: this content is nowhere"))

func (s *suite) pull(t *testing.T) {
	name := s.Name
	image, index := registrytest.RandomImage(11, 2, 3000), registrytest.RandomIndex(12, 1, 2000)
	s.put(t, name, []string{"image"}, image)
	s.put(t, name, []string{"index"}, index)
	s.checkImage(t, name, "image", image)
	s.checkImage(t, name, "index", index)
	for _, child := range index.Children {
		s.checkImage(t, name, string(child.Manifest.Digest), child)
	}
}

func (s *suite) checkImage(t *testing.T, name, ref string, image registrytest.Image) {
	t.Helper()
	m := image.Manifest
	for _, r := range []string{ref, string(m.Digest)} {
		s.checkContent(t, name+"/manifests/"+r, m.MediaType, m.Digest, m.Payload)
	}
	for _, b := range image.Blobs {
		s.checkContent(t, name+"/blobs/"+string(b.Digest), "", b.Digest, b.Bytes())
	}
}

// checkContent checks GET, HEAD and conditional GET of one resource.
func (s *suite) checkContent(t *testing.T, where, mediaType string, digest oci.Digest, content []byte) {
	t.Helper()
	accept := header("Accept", oci.ManifestAccept)
	// HEAD first: on a cold cache it must not depend on a GET before it.
	head := s.do(t, http.MethodHead, where, accept).want(t, http.StatusOK)
	get := s.do(t, http.MethodGet, where, accept).want(t, http.StatusOK).wantBody(t, content)
	for _, r := range []*response{get, head} {
		r.wantHeader(t, "Docker-Content-Digest", string(digest)).wantHeader(t, "Content-Length", strconv.Itoa(len(content)))
		if mediaType != "" {
			r.wantHeader(t, "Content-Type", mediaType)
		}
	}
	if len(head.body) > 0 {
		t.Errorf("%s: %d bytes of body", head.request, len(head.body))
	}
	for _, h := range []string{"Content-Type", "Etag", "Accept-Ranges", "Docker-Distribution-Api-Version"} {
		head.wantHeader(t, h, get.Header.Get(h))
	}
	if tag := get.Header.Get("Etag"); tag != "" {
		r := s.do(t, http.MethodGet, where, accept, header("If-None-Match", tag)).want(t, http.StatusNotModified)
		r.wantBody(t, nil)
	}
}

func (s *suite) ranges(t *testing.T) {
	image := registrytest.RandomImage(13, 1, 2048)
	s.put(t, s.Name, nil, image)
	layer := image.Layers()[0]
	all, where := layer.Bytes(), s.Name+"/blobs/"+string(layer.Digest)
	for _, c := range []struct {
		header   string
		from, to int // to is exclusive
	}{
		{"bytes=500-1499", 500, 1500}, {"bytes=500-", 500, 2048}, {"bytes=-500", 1548, 2048}, {"bytes=2000-5000", 2000, 2048},
		{"bytes=0-", 0, 2048}, {"bytes=0-0", 0, 1}, {"bytes=2047-2047", 2047, 2048}, {"bytes=-9999", 0, 2048},
		{"bytes=2000-18446744073709551615", 2000, 2048},
	} {
		t.Run(c.header, func(t *testing.T) {
			r := s.do(t, http.MethodGet, where, header("Range", c.header)).want(t, http.StatusPartialContent).wantBody(t, all[c.from:c.to])
			r.wantHeader(t, "Content-Length", strconv.Itoa(c.to-c.from))
			r.wantHeader(t, "Content-Range", fmt.Sprintf("bytes %d-%d/2048", c.from, c.to-1))
			r.wantHeader(t, "Docker-Content-Digest", string(layer.Digest))
		})
	}
	for _, h := range []string{"bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"} {
		t.Run(h, func(t *testing.T) {
			s.do(t, http.MethodGet, where, header("Range", h)).wantCode(t, http.StatusRequestedRangeNotSatisfiable, oci.CodeRangeInvalid)
		})
	}
	for _, h := range []string{"lines=1-2", "", "bytes=a-b", "bytes=1", "bytes=--5", "bytes=+1-2", "bytes=-"} {
		s.do(t, http.MethodGet, where, header("Range", h)).want(t, http.StatusOK).wantBody(t, all)
	}
	s.do(t, http.MethodGet, where, header("Range", "bytes=1-2"), header("If-Range", `"other"`)).want(t, http.StatusOK).wantBody(t, all)
	s.do(t, http.MethodGet, s.Name+"/blobs/"+string(missing), header("Range", "bytes=9-1")).want(t, http.StatusNotFound)
}

func (s *suite) absent(t *testing.T) {
	s.put(t, s.Name, []string{"here"}, registrytest.RandomImage(14, 1, 10))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, where := range []string{"manifests/not-here", "manifests/" + string(missing)} {
			s.do(t, method, s.Name+"/"+where).wantCode(t, http.StatusNotFound, oci.CodeManifestUnknown)
			s.do(t, method, s.Name+"/nowhere/"+where).wantCode(t, http.StatusNotFound, oci.CodeManifestUnknown, oci.CodeNameUnknown)
		}
		s.do(t, method, s.Name+"/blobs/"+string(missing)).wantCode(t, http.StatusNotFound, oci.CodeBlobUnknown)
	}
	s.do(t, http.MethodGet, s.Name+"/nowhere/tags/list").wantCode(t, http.StatusNotFound, oci.CodeNameUnknown)
}

func (s *suite) invalid(t *testing.T) {
	for _, d := range []string{"sha256:short", "sha256:" + strings.Repeat("G", 64), "sha256:" + strings.Repeat("A", 64), "md5:" + strings.Repeat("0", 32)} {
		s.do(t, http.MethodGet, s.Name+"/blobs/"+d).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
		s.do(t, http.MethodGet, s.Name+"/manifests/"+d).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
		s.do(t, http.MethodGet, s.Name+"/referrers/"+d).wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
	}
	s.do(t, http.MethodGet, s.Name+"/blobs/latest").wantCode(t, http.StatusBadRequest, oci.CodeDigestInvalid)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, noTag := range []string{strings.Repeat("a", 129), "-dash", ".INVALID"} {
			s.do(t, method, s.Name+"/manifests/"+noTag).wantCode(t, http.StatusNotFound, oci.CodeManifestUnknown)
		}
	}
	s.do(t, http.MethodGet, s.Name+"/UPPER/manifests/latest").wantCode(t, http.StatusBadRequest, oci.CodeNameInvalid)
	s.do(t, http.MethodGet, s.Name+"/"+strings.Repeat("a/", 150)+"a/manifests/latest").wantCode(t, http.StatusBadRequest, oci.CodeNameInvalid)
	s.do(t, http.MethodPost, s.Name+"/manifests/latest").wantCode(t, http.StatusMethodNotAllowed, oci.CodeUnsupported)
}

type tagList struct {
	Name string
	Tags []string
}

func (s *suite) tags(t *testing.T) {
	name := s.Name + "/tags"
	want := []string{"A", "_b", "a", "a.b", "b", "c1", "c2"}
	given := slices.Clone(want)
	slices.Reverse(given)
	s.put(t, name, given, registrytest.RandomImage(15, 1, 10))

	where := name + "/tags/list"
	var all tagList
	s.do(t, http.MethodGet, where).want(t, http.StatusOK).decode(t, &all)
	if all.Name != name || !slices.Equal(all.Tags, want) {
		t.Fatalf("%+v, want %v in byte order", all, want)
	}
	var got []string
	next := where + "?n=3"
	for pages := 0; next != "" && pages < 10; pages++ {
		var page tagList
		r := s.do(t, http.MethodGet, next).want(t, http.StatusOK).decode(t, &page)
		if len(page.Tags) > 3 {
			t.Errorf("%s: %d tags", r.request, len(page.Tags))
		}
		got, next = append(got, page.Tags...), r.next(t)
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages of 3 gave %v", got)
	}
	var page tagList
	s.do(t, http.MethodGet, where+"?last=a").want(t, http.StatusOK).decode(t, &page)
	if !slices.Equal(page.Tags, want[3:]) {
		t.Errorf("after a: %v", page.Tags)
	}
	page = tagList{}
	r := s.do(t, http.MethodGet, where+"?n=0").want(t, http.StatusOK).decode(t, &page)
	if len(page.Tags) != 0 || r.Header.Get("Link") != "" {
		t.Errorf("n=0: %v, Link %q", page.Tags, r.Header.Get("Link"))
	}
	page = tagList{}
	s.do(t, http.MethodGet, where+"?n=1000000").want(t, http.StatusOK).decode(t, &page)
	if !slices.Equal(page.Tags, want) {
		t.Errorf("n=1000000: %v", page.Tags)
	}
	for _, n := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		s.do(t, http.MethodGet, where+"?n="+n).wantCode(t, http.StatusBadRequest, oci.CodePaginationInvalid)
	}
}

// next returns where the Link header leads, or "".
func (r *response) next(t *testing.T) string {
	t.Helper()
	link := r.Header.Get("Link")
	if link == "" {
		return ""
	}
	target, params, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(params, `rel="next"`) {
		t.Fatalf("%s: Link %q", r.request, link)
	}
	u, err := r.Request.URL.Parse(target)
	if err != nil {
		t.Fatalf("%s: Link %q: %v", r.request, link, err)
	}
	return u.String()
}

type index struct {
	SchemaVersion int
	MediaType     string
	Manifests     []oci.Descriptor
}

func (s *suite) referrers(t *testing.T) {
	// A cache may keep a list as long as it is fresh, so nothing is asked for before it is complete.
	name := s.Name + "/referrers"
	lonely, subject := registrytest.RandomImage(20, 1, 10), registrytest.RandomImage(16, 1, 10)
	s.put(t, name, []string{"lonely"}, lonely)
	s.put(t, name, []string{"subject"}, subject)
	s.checkReferrers(t, name, lonely.Manifest.Digest, "")

	const sbom, signature = "application/vnd.test.sbom", "application/vnd.test.signature"
	a := registrytest.RandomArtifact(17, subject.Manifest.Descriptor, sbom)
	b := registrytest.RandomArtifact(18, subject.Manifest.Descriptor, signature)
	s.put(t, name, nil, a)
	s.put(t, name, nil, b)
	s.checkReferrers(t, name, subject.Manifest.Digest, "", a, b)
	s.checkReferrers(t, name, subject.Manifest.Digest, sbom, a)
	s.checkReferrers(t, name, subject.Manifest.Digest, "application/vnd.test.none")

	orphan := registrytest.RandomArtifact(19, oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: missing, Size: 7}, sbom)
	s.put(t, name, nil, orphan)
	s.checkReferrers(t, name, missing, "", orphan)
	s.checkReferrers(t, s.Name+"/nowhere", missing, "")
}

func (s *suite) checkReferrers(t *testing.T, name string, digest oci.Digest, artifactType string, want ...registrytest.Image) {
	t.Helper()
	where := name + "/referrers/" + string(digest)
	if artifactType != "" {
		where = with(where, "artifactType", artifactType)
	}
	var got index
	r := s.do(t, http.MethodGet, where).want(t, http.StatusOK).decode(t, &got)
	r.wantHeader(t, "Content-Type", oci.MediaTypeImageIndex)
	if artifactType != "" {
		r.wantHeader(t, "OCI-Filters-Applied", "artifactType")
	}
	if got.SchemaVersion != 2 || got.MediaType != oci.MediaTypeImageIndex || got.Manifests == nil || len(got.Manifests) != len(want) {
		t.Fatalf("%s: %s, want an index of %d", r.request, r.body, len(want))
	}
	for _, w := range want {
		i := slices.IndexFunc(got.Manifests, func(d oci.Descriptor) bool { return d.Digest == w.Manifest.Digest })
		if i < 0 {
			t.Errorf("%s: %s is missing", r.request, w.Manifest.Digest)
			continue
		}
		d := got.Manifests[i]
		parsed, err := oci.ParseManifest(w.Manifest.MediaType, w.Manifest.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if d.Size != w.Manifest.Size || d.MediaType != w.Manifest.MediaType || d.ArtifactType != parsed.ArtifactType || len(d.Annotations) != len(parsed.Annotations) {
			t.Errorf("%s: %+v", r.request, d)
		}
	}
}

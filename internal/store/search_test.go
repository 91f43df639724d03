package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// searchAll follows a search to its end, in pages of n.
func searchAll(t *testing.T, s *Store, q Search, n int) (found []Found) {
	t.Helper()
	q.GroupID, q.N = 1, n
	if q.Visible == nil {
		q.Visible = func(FoundIn) bool { return true }
	}
	for range 1000 {
		page, err := s.Search(t.Context(), q)
		ok(t, err)
		if len(page.Manifests) > n {
			t.Fatalf("a page of %d has %d", n, len(page.Manifests))
		}
		found = append(found, page.Manifests...)
		if q.After = page.Next; q.After == "" {
			return found
		}
	}
	t.Fatal("the search does not end")
	return nil
}

func names(found []Found) (list []string) {
	for _, f := range found {
		var tags []string
		for _, tag := range f.Tags {
			tags = append(tags, tag.Name)
		}
		list = append(list, f.In.Name+":"+strings.Join(tags, ","))
	}
	slices.Sort(list)
	return list
}

func TestSearch(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		a, b, c := newImage("a"), newImage("b"), newImage("c")
		mustPush(t, s, acme, a, "1.0", "latest")
		mustPush(t, s, acme, b, "1.1")
		mustPush(t, s, acme, newReferrer(a.digest, "a/signature"))
		id := mustPush(t, s, cached, c, "1.0")
		mustPush(t, s, RepositoryKey{GroupID: 1, Name: "100%_!"}, a, "odd")
		mustPush(t, s, other, a, "1.0") // another group
		now = now.Add(time.Hour)
		s.Pulled(id, c.digest)
		hosted, hub, nobody := int64(0), int64(7), int64(8)
		all := []string{"100%_!:odd", "library/alpine:1.0", "team/app:", "team/app:1.0,latest", "team/app:1.1"}
		for name, test := range map[string]struct {
			q    Search
			want []string
		}{
			"everything":         {Search{}, all},
			"name":               {Search{Name: "ALP"}, []string{"library/alpine:1.0"}},
			"name with wildcard": {Search{Name: "%_!"}, []string{"100%_!:odd"}},
			"tag":                {Search{Tag: "1.0"}, []string{"library/alpine:1.0", "team/app:1.0,latest"}},
			"beginning of a tag": {Search{Tag: "1.*"}, []string{"library/alpine:1.0", "team/app:1.0,latest", "team/app:1.1"}},
			"no such tag":        {Search{Tag: "1."}, nil},
			"digest":             {Search{Digest: string(b.digest)}, []string{"team/app:1.1"}},
			"odd digits":         {Search{Digest: string(b.digest)[:20]}, []string{"team/app:1.1"}},
			"even digits":        {Search{Digest: string(b.digest)[:21]}, []string{"team/app:1.1"}},
			"algorithm":          {Search{Digest: "sha256:"}, all},
			"other algorithm":    {Search{Digest: "sha512:"}, nil},
			"platform":           {Search{Platform: "linux", Tag: "1.1"}, []string{"team/app:1.1"}},
			"no such platform":   {Search{Platform: "lin"}, nil},
			"artifact type":      {Search{Type: "a/signature"}, []string{"team/app:"}},
			"media type":         {Search{Type: oci.MediaTypeImageIndex}, nil},
			"label":              {Search{Labels: map[string]string{"nothing": ""}}, nil},
			"hosted":             {Search{Upstream: &hosted, Tag: "*"}, []string{"100%_!:odd", "team/app:1.0,latest", "team/app:1.1"}},
			"upstream":           {Search{Upstream: &hub}, []string{"library/alpine:1.0"}},
			"no such upstream":   {Search{Upstream: &nobody}, nil},
			"not pulled":         {Search{NotPulledSince: now.Add(-time.Minute), Tag: "1.0"}, []string{"team/app:1.0,latest"}},
			"stale":              {Search{Stale: func(_ FoundIn, tag Tag) bool { return tag.Name == "1.0" }}, []string{"library/alpine:1.0"}},
			"visible":            {Search{Visible: func(in FoundIn) bool { return in.UpstreamID != 0 }}, []string{"library/alpine:1.0"}},
		} {
			for _, n := range []int{1, 3, MaxFound} {
				found := searchAll(t, s, test.q, n)
				if got := names(found); !slices.Equal(got, test.want) {
					t.Errorf("%s in pages of %d: %q, want %q", name, n, got, test.want)
				}
				if !slices.IsSortedFunc(found, func(a, b Found) int { return strings.Compare(a.In.Name, b.In.Name) }) {
					t.Errorf("%s is not in order: %q", name, names(found))
				}
			}
		}
		found := searchAll(t, s, Search{Tag: "1.0", Name: "alpine"}, 1)
		if len(found) != 1 || found[0].Pulls != 0 || !found[0].LastPulled.Equal(now.Truncate(time.Microsecond)) && !found[0].LastPulled.Equal(now) || found[0].Platform == "" {
			t.Errorf("found %+v", found)
		}
	})
}

func TestSearchRefuses(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		mustPush(t, s, other, newImage("a"), "1")
		page, err := s.Search(t.Context(), Search{GroupID: 2, N: 1, Visible: func(FoundIn) bool { return true }})
		ok(t, err)
		if page.Next == "" || strings.Contains(page.Next, "app") {
			t.Fatalf("cursor %q", page.Next)
		}
		for _, q := range []Search{
			{After: "?"}, {After: "MQ"}, {After: "MSAyIDM"}, {After: page.Next}, // the last is of another group
		} {
			q.GroupID, q.N = 1, 1
			want(t, errorOf(s.Search(t.Context(), q)), ErrCursor)
		}
		for _, digest := range []string{"4f53", "sha1:4f", "sha256:4F", "sha256:x", "sha256:0x", "sha256:+1", "sha256:" + strings.Repeat("0", 130)} {
			want(t, errorOf(s.Search(t.Context(), Search{GroupID: 1, N: 1, Digest: digest})), ErrDigestPrefix)
		}
	})
}

// TestSearchIsBounded: what nobody may see, or what does not match, is passed over in pages of bounded work, and nothing is lost.
func TestSearchIsBounded(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		img := newImage("a")
		for i := range searchReads + 20 {
			_, err := s.PutManifest(t.Context(), img.put(RepositoryKey{GroupID: 1, UpstreamID: 7, Epoch: 1, Name: fmt.Sprintf("r/%04d", i)}, fmt.Sprint(i)))
			ok(t, err)
		}
		q := Search{GroupID: 1, N: 10, Platform: "plan9", Visible: func(FoundIn) bool { return true }}
		page, err := s.Search(t.Context(), q)
		ok(t, err)
		if len(page.Manifests) != 0 || page.Next == "" {
			t.Errorf("%d found, next %q", len(page.Manifests), page.Next)
		}
		for _, n := range []int{7, MaxFound} { // a full page, and one that ends by what it reads
			if found := searchAll(t, s, Search{}, n); len(found) != searchReads+20 {
				t.Errorf("%d found", len(found))
			}
		}
		last := searchAll(t, s, Search{Tag: fmt.Sprint(searchReads + 19)}, 10)
		if len(last) != 1 {
			t.Errorf("%d found by tag", len(last))
		}
	})
}

func FuzzDigestRange(f *testing.F) {
	for _, seed := range []string{"", "sha256:", "sha256:f", "sha256:ff", "sha512:0a1", "sha256:fff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		low, high, err := digestRange(text)
		if err == nil && slices.Compare(low, high) >= 0 {
			t.Errorf("%q is from %x to %x", text, low, high)
		}
	})
}

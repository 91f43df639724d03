package stack_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// foundPage is what a search answers, as far as the tests look at it.
type foundPage struct {
	Items []struct {
		Repository, Upstream, Digest, Platform string
		Tags                                   []struct {
			Name  string
			Stale bool
		}
	}
	Next string `json:"-"` // after of the Link
}

func search(t *testing.T, r stack.Remote, group, query string) foundPage {
	t.Helper()
	var page foundPage
	a := r.Do(t, "GET", "/api/v1/groups/"+group+"/search?"+query).Want(t, 200)
	if err := json.Unmarshal(a.Body, &page); err != nil {
		t.Fatalf("%v\n%s", err, a.Body)
	}
	if link, _, ok := strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">"); ok {
		next, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		page.Next = next.Query().Get("after")
	}
	return page
}

func repositories(page foundPage) (list []string) {
	for _, m := range page.Items {
		list = append(list, m.Repository)
	}
	return slices.Compact(list)
}

// TestSearch finds hosted and cached content by the names that the caller may pull, and tells others nothing.
func TestSearch(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, image, cached, _ := tenants(t, on(t, engine))
			ann, bob := s.As(t, "ann"), s.As(t, "bob")
			for query, want := range map[string][]string{
				"": {"a/hub/library/app", "a/secret/app"},
				"name=SECRET&type=application/vnd.test.sbom":    {"a/secret/app"},
				"name=a/hub/library":                            {"a/hub/library/app"},
				"name=a/secret/app":                             {"a/secret/app"},
				"name=a/hub/secret":                             nil,
				"name=a/secret/app1":                            nil,
				"platform=linux&tag=tag-real":                   {"a/hub/library/app", "a/secret/app"},
				"kind=hosted":                                   {"a/secret/app"},
				"kind=cached":                                   {"a/hub/library/app"},
				"kind=cached&upstream=far":                      {"a/hub/library/app"},
				"kind=hosted&upstream=far":                      nil,
				"upstream=far":                                  {"a/hub/library/app"},
				"digest=" + string(cached.Manifest.Digest)[:20]: {"a/hub/library/app"},
				"digest=" + url.QueryEscape(string(image.Manifest.Digest)): {"a/secret/app"},
				"tag=tag-*":                             {"a/hub/library/app", "a/secret/app"},
				"stale=true":                            nil,
				"not_pulled_since=2020-01-01T00:00:00Z": nil,
				"label=no&label=such=label":             nil,
			} {
				if got := repositories(search(t, ann, "a", query)); !slices.Equal(got, want) {
					t.Errorf("%q found %q, want %q", query, got, want)
				}
			}
			far := search(t, ann, "a", "upstream=far")
			if m := far.Items[0]; m.Upstream != "far" || m.Digest != string(cached.Manifest.Digest) || len(m.Tags) != 1 || m.Tags[0].Name != "tag-real" || m.Tags[0].Stale {
				t.Errorf("found %+v", m)
			}
			first := search(t, ann, "a", "limit=1")
			second := search(t, ann, "a", "limit=1&after="+first.Next)
			if len(first.Items) != 1 || len(second.Items) != 1 || first.Items[0].Digest == second.Items[0].Digest {
				t.Errorf("pages %+v and %+v", first, second)
			}
			a, none := bob.Do(t, "GET", "/api/v1/groups/a/search?name=app").Want(t, 404), bob.Do(t, "GET", "/api/v1/groups/none/search?name=app")
			if string(a.Body) != string(none.Body) || a.Status != none.Status {
				t.Errorf("a group that exists answers %s, one that does not %s", a.Body, none.Body)
			}
			s.As(t, "").Do(t, "GET", "/api/v1/groups/b/search").Want(t, 401)
			for _, query := range []string{"after=x", "digest=x", "limit=101", "limit=0", "label==x", "kind=x", "upstream=none", "unknown=x", "not_pulled_since=x"} {
				ann.Do(t, "GET", "/api/v1/groups/a/search?"+query).Want(t, 422)
			}
		})
	}
}

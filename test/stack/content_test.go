package stack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// apiOf is the API as a remote meets it.
func apiOf(t *testing.T, r stack.Remote) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Server: r.URL, Token: r.Token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// every reads a list to its end.
func every[T any](t *testing.T, list iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for item, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, item)
	}
	return all
}

// must is the result of a call that must not fail.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// refused checks the status of a call that fails.
func refused(t *testing.T, err error, status int) {
	t.Helper()
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != status {
		t.Errorf("%v, want status %d", err, status)
	}
}

// TestContent reads hosted and cached content through the API, and takes some of it away.
func TestContent(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, image, cached, u := tenants(t, on(t, engine))
			remote := s.As(t, "ann")
			ann := apiOf(t, remote)
			hosted, far := client.Place{Group: "a", Repository: "secret/app"}, client.Place{Group: "a", Repository: "library/app", Upstream: "far"}
			contentIsRead(t, ann, hosted, far, image, cached)
			tagsAreDeleted(t, remote, ann, hosted, image)
			cacheIsPurged(t, remote, ann, far, cached, u)
		})
	}
}

func contentIsRead(t *testing.T, ann *client.Client, hosted, far client.Place, image, cached registrytest.Image) {
	t.Helper()
	ctx := t.Context()
	for filter, want := range map[client.RepositoryFilter]string{
		{}:                        "library/app secret/app",
		{Kind: "hosted"}:          "secret/app",
		{Kind: "cached"}:          "library/app",
		{Upstream: "far"}:         "library/app",
		{Registry: "hub"}:         "library/app",
		{Prefix: "sec"}:           "secret/app",
		{Sort: "last_pulled_at"}:  "library/app secret/app",
		{Sort: "-last_pulled_at"}: "secret/app library/app",
	} {
		var names []string
		for _, r := range every(t, ann.Repositories(ctx, "a", filter)) {
			names = append(names, r.Name)
		}
		if filter.Sort != "" { // pulls are written some seconds late
			slices.Sort(names)
			want = "library/app secret/app"
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%+v: %q, want %q", filter, got, want)
		}
	}
	r := must(ann.Repository(ctx, far))(t)
	if r.Kind != "cached" || r.Tags != 1 || r.Manifests != 1 || r.Bytes == 0 || r.UniqueBytes != r.Bytes || strings.Join(r.Paths, " ") != "a/hub/library/app" {
		t.Errorf("repository %+v", r)
	}
	tag := must(ann.Tag(ctx, far, "tag-real"))(t)
	if f := tag.Cached; tag.Digest != string(cached.Manifest.Digest) || f == nil || f.Upstream != "far" || f.Stale || f.Class != "default" ||
		f.ExpiresAt == nil || !f.ExpiresAt.After(f.CheckedAt) || f.FetchedAt.IsZero() || len(tag.History) != 1 || tag.History[0].Actor.Name != "ann" {
		t.Errorf("cached tag %+v %+v", tag, tag.Cached)
	}
	tag = must(ann.Tag(ctx, hosted, "tag-real"))(t)
	if tag.Cached != nil || tag.Digest != string(image.Manifest.Digest) || len(tag.History) != 1 || tag.History[0].Actor.Name != "ann" {
		t.Errorf("hosted tag %+v", tag)
	}
	if tags := every(t, ann.Tags(ctx, far, "tag-", true)); len(tags) != 1 || tags[0].Size == 0 {
		t.Errorf("tags %+v", tags)
	}
	m := must(ann.Manifest(ctx, hosted, string(image.Manifest.Digest)))(t)
	var layers int64
	for _, b := range image.Blobs {
		layers += b.Size
	}
	if len(m.Layers) != 2 || !m.Layers[0].Here || m.Layers[0].SharedBy == nil || *m.Layers[0].SharedBy != 0 || m.Config == nil || m.Config.OS != "linux" ||
		m.UniqueBytes != layers || m.ReferencedBytes != layers+m.ManifestBytes || m.Size != m.ReferencedBytes || len(m.Referrers) != 1 || m.Referrers[0].ArtifactType != "application/vnd.test.sbom" {
		t.Errorf("manifest %+v, config %+v", m, m.Config)
	}
	if all := every(t, ann.Manifests(ctx, hosted)); len(all) != 2 {
		t.Errorf("manifests %+v", all)
	}
	evaluation := must(ann.Evaluate(ctx, "a", "hub", "library/app:1"))(t)
	if !evaluation.Allowed || len(evaluation.Members) != 2 || evaluation.Members[1].Verdict != "may_answer" {
		t.Errorf("evaluation %+v", evaluation)
	}
	evaluation = must(ann.Evaluate(ctx, "a", "hub", "secret/app:1"))(t) // hosted: nobody else answers for the name
	if evaluation.Members[1].ClaimedBy != "own" || evaluation.Members[1].Allowed {
		t.Errorf("evaluation %+v", evaluation)
	}
	_, err := ann.Evaluate(ctx, "a", "none", "library/app:1")
	refused(t, err, 404)
	_, err = ann.Evaluate(ctx, "a", "hub", "NO")
	refused(t, err, 422)
}

func tagsAreDeleted(t *testing.T, remote stack.Remote, ann *client.Client, hosted client.Place, image registrytest.Image) {
	t.Helper()
	path := "/api/v1/groups/a/repositories/secret%2Fapp/tags/tag-real"
	tag := remote.Do(t, "GET", path).Want(t, 200).WantHeader(t, "ETag", `"`+string(image.Manifest.Digest)+`"`)
	remote.Do(t, "DELETE", path, stack.Header("If-Match", `"other"`)).Want(t, 412)
	remote.Do(t, "DELETE", path+"?dry_run=true", stack.Header("If-Match", `"other"`)).Want(t, 412)
	of := "/api/v1/groups/a/repositories/secret%2Fapp/manifests/" + string(image.Manifest.Digest)
	for tried, want := range map[string]string{path: `"tags":1,"manifests":0,`, of: `"tags":1,"manifests":1,`} {
		if a := remote.Do(t, "DELETE", tried+"?dry_run=true").Want(t, 200); !strings.Contains(string(a.Body), want) || !strings.Contains(string(a.Body), `"dry_run":true`) {
			t.Errorf("a dry run of the deletion of %s answers %s", tried, a.Body)
		}
		remote.Do(t, "DELETE", strings.Replace(tried, "app/", "none/", 1)+"?dry_run=true").Want(t, 404)
	}
	remote.Do(t, "DELETE", strings.Replace(path, "tag-real", "none", 1)+"?dry_run=true").Want(t, 404)
	remote.Do(t, "DELETE", path, stack.Header("If-Match", tag.Header.Get("ETag"))).Want(t, 204)
	remote.Do(t, "DELETE", path).Want(t, 404)
	history := every(t, ann.TagHistory(t.Context(), hosted, "tag-real"))
	if len(history) != 2 || history[0].Digest != "" || history[0].Actor.Name != "ann" {
		t.Errorf("history %+v", history)
	}
	remote.Do(t, "GET", "a/secret/app/manifests/tag-real").Want(t, 404)
	remote.Do(t, "GET", "a/secret/app/manifests/"+string(image.Manifest.Digest)).Want(t, 200)
	if err := ann.DeleteManifest(t.Context(), hosted, string(image.Manifest.Digest)); err != nil {
		t.Error(err)
	}
	remote.Do(t, "GET", "a/secret/app/manifests/"+string(image.Manifest.Digest)).Want(t, 404)
	refused(t, ann.DeleteManifest(t.Context(), hosted, string(image.Manifest.Digest)), 404)
	remote.Do(t, "DELETE", "/api/v1/groups/a/repositories/secret%2Fapp/manifests/none").Want(t, 422)
}

func cacheIsPurged(t *testing.T, remote stack.Remote, ann *client.Client, far client.Place, cached registrytest.Image, u *registrytest.Upstream) {
	t.Helper()
	ctx := t.Context()
	// It was pulled a moment ago: the tag goes, the rest is left to the pull for a while, and a dry run knows.
	for _, target := range [][2]string{{}, {"library/app", ""}, {"library/app", "tag-real"}, {"library/app", string(cached.Manifest.Digest)}} {
		p := must(ann.Purge(ctx, "a", "far", target[0], target[1], true, nil))(t)
		if p.Tags != 1 || p.InUse != 1 || p.Manifests != 0 || p.Bytes != 0 || p.Repositories != 1 {
			t.Errorf("a dry run of %q would take %+v", target, p)
		}
	}
	p := must(ann.Purge(ctx, "a", "far", "", "", false, nil))(t)
	if p.Tags != 1 || p.InUse != 1 || p.Manifests != 0 || p.Bytes != 0 {
		t.Errorf("the purge took %+v", p)
	}
	purged := "/api/v1/groups/a/repositories/library%2Fapp/manifests/" + string(cached.Manifest.Digest) + "?upstream=far"
	if tried := remote.Do(t, "DELETE", purged+"&dry_run=true").Want(t, 200); !strings.Contains(string(tried.Body), `"in_use":1`) {
		t.Errorf("a dry run of a deletion of what is in use answers %s", tried.Body)
	}
	again := remote.Do(t, "DELETE", purged).Want(t, 202)
	if !strings.Contains(string(again.Body), `"in_use":1`) {
		t.Errorf("a deletion of what is in use answers %s", again.Body)
	}
	remote.Do(t, "GET", "a/hub/library/app/blobs/"+string(cached.Layers()[0].Digest)).Want(t, 200).WantBody(t, cached.Layers()[0].Bytes())
	newer := registrytest.RandomImage(77, 1, 500)
	u.Put("library/app", []string{"tag-real"}, newer)
	remote.Pull(t, "a/hub/library/app", "tag-real", newer) // although the old one would have been fresh for a day
	if err := ann.DeleteTag(ctx, far, "tag-real"); err != nil {
		t.Error(err)
	}
	_, err := ann.Tag(ctx, far, "tag-real")
	refused(t, err, 404)
	for _, target := range [][3]string{{"far", "none", ""}, {"far", "library/app", "none"}, {"none", "", ""}} {
		_, err := ann.Purge(ctx, "a", target[0], target[1], target[2], false, nil)
		refused(t, err, 404)
	}
	for _, target := range [][3]string{{"own", "", ""}, {"far", "", "tag"}, {"far", "library/app", "sha256:0"}} {
		_, err := ann.Purge(ctx, "a", target[0], target[1], target[2], false, nil)
		refused(t, err, 422)
	}
}

// TestContentRules hides from those who pull what the rules of their registries keep from them, and not from those who look after
// the cache.
func TestContentRules(t *testing.T) {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{Users: []string{"ann", "bob"}})
	declaration := `groups:
- name: a
  grants: [{user: ann, role: maintainer}, {user: bob, role: reader}]
  upstreams: [{name: far, url: %q%s}]
  registries: [{name: hub, members: [{upstream: far}]}]`
	s.Apply(t, fmt.Sprintf(declaration, u.URL(), ""))
	open, closed := registrytest.RandomImage(1, 1, 100), registrytest.RandomImage(2, 1, 100)
	u.Put("library/app", []string{"open"}, open)
	u.Put("library/app", []string{"closed"}, closed)
	u.Put("library/secret", []string{"open"}, open)
	remote := s.As(t, "ann")
	for _, pull := range []string{"library/app/manifests/open", "library/app/manifests/closed", "library/secret/manifests/open"} {
		remote.Do(t, "GET", "a/hub/"+pull).Want(t, 200)
	}
	s.Apply(t, fmt.Sprintf(declaration, u.URL(), `, rules: [{deny: "*:closed"}, {deny: "library/secret"}]`))
	place := client.Place{Group: "a", Repository: "library/app", Upstream: "far"}
	for who, want := range map[string]string{"ann": "library/app library/secret/closed open/2/404", "bob": "library/app/open/1/404"} {
		api := apiOf(t, s.As(t, who))
		var repositories, tags []string
		for _, r := range every(t, api.Repositories(t.Context(), "a", client.RepositoryFilter{})) {
			repositories = append(repositories, r.Name)
		}
		for _, tag := range every(t, api.Tags(t.Context(), place, "", false)) {
			tags = append(tags, tag.Name)
		}
		manifests := every(t, api.Manifests(t.Context(), place))
		_, err := api.Tag(t.Context(), place, "none")
		p, _ := errors.AsType[*client.Problem](err)
		if got := fmt.Sprintf("%s/%s/%d/%d", strings.Join(repositories, " "), strings.Join(tags, " "), len(manifests), p.Status); got != want {
			t.Errorf("%s sees %q, want %q", who, got, want)
		}
	}
	bob := apiOf(t, s.As(t, "bob"))
	_, err := bob.Tag(t.Context(), place, "closed")
	refused(t, err, 404)
	_, err = bob.Manifest(t.Context(), place, string(closed.Manifest.Digest))
	refused(t, err, 404)
	_, err = bob.Repository(t.Context(), client.Place{Group: "a", Repository: "library/secret", Upstream: "far"})
	refused(t, err, 404)
	refused(t, bob.DeleteTag(t.Context(), place, "open"), 403)
	_, err = bob.Purge(t.Context(), "a", "far", "", "", true, nil)
	refused(t, err, 403)
	if found := repositories(search(t, s.As(t, "bob"), "a", "")); !slices.Equal(found, []string{"a/hub/library/app"}) {
		t.Errorf("a search finds %q", found)
	}
}

// TestContentIsolation has a stranger ask for everything of a group by its true names and by names that do not exist. The
// answers must be the same to the byte.
func TestContentIsolation(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, image, cached, _ := tenants(t, on(t, engine))
			bob := s.As(t, "bob")
			none := string(nothing.Manifest.Digest)
			send := func(method, path, body string) string {
				var changes []stack.Change
				if body != "" {
					changes = append(changes, stack.Body("application/json", []byte(body)))
				}
				a := bob.Do(t, method, "/api/v1/groups/"+path, changes...)
				if a.Status < 400 {
					t.Errorf("%s %s: %d %s", method, path, a.Status, a.Body)
				}
				return fmt.Sprint(a.Status, string(a.Body))
			}
			for _, c := range []struct{ method, real, imagined, body, other string }{
				{"GET", "a/repositories", "none/repositories", "", ""},
				{"GET", "a/repositories?upstream=far", "none/repositories?upstream=far", "", ""},
				{"GET", "a/repositories/secret%2Fapp", "a/repositories/none", "", ""},
				{"GET", "a/repositories/secret%2Fapp", "none/repositories/none", "", ""},
				{"GET", "a/repositories/library%2Fapp?upstream=far", "none/repositories/none?upstream=none", "", ""},
				{"GET", "a/repositories/secret%2Fapp/tags", "none/repositories/none/tags", "", ""},
				{"GET", "a/repositories/secret%2Fapp/tags/tag-real", "a/repositories/none/tags/none", "", ""},
				{"GET", "a/repositories/secret%2Fapp/tags/tag-real/history", "a/repositories/none/tags/none/history", "", ""},
				{"GET", "a/repositories/secret%2Fapp/manifests", "none/repositories/none/manifests", "", ""},
				{"GET", "a/repositories/secret%2Fapp/manifests/" + string(image.Manifest.Digest), "a/repositories/none/manifests/" + none, "", ""},
				{"GET", "a/repositories/library%2Fapp/manifests/" + string(cached.Manifest.Digest) + "?upstream=far", "none/repositories/none/manifests/" + none, "", ""},
				{"DELETE", "a/repositories/secret%2Fapp/tags/tag-real", "none/repositories/none/tags/none", "", ""},
				{"DELETE", "a/repositories/secret%2Fapp/manifests/" + string(image.Manifest.Digest), "none/repositories/none/manifests/" + none, "", ""},
				{"POST", "a/upstreams/far/purge", "none/upstreams/none/purge", `{}`, `{}`},
				{"POST", "a/registries/hub/evaluate", "none/registries/none/evaluate", `{"reference":"secret/app:tag-real"}`, `{"reference":"none:none"}`},
				{"POST", "a/copy", "none/copy", `{"source":"b/open/x:1","target":"a/secret/app:1"}`, `{"source":"b/open/x:1","target":"none/x:1"}`},
				// Out of a group that he may not see, into his own.
				{
					"POST", "b/copy", "b/copy", `{"source":"a/secret/app:tag-real","target":"b/x:1"}`, `{"source":"a/secret/none:tag-none","target":"b/x:1"}`,
				},
				{
					"POST", "b/copy", "b/copy", `{"source":"a/hub/library/app:tag-real","target":"b/x:1"}`, `{"source":"a/hub/library/none:none","target":"b/x:1"}`,
				},
			} {
				x, y := send(c.method, c.real, c.body), send(c.method, c.imagined, c.other)
				x, y = withoutSource(x, c.body), withoutSource(y, c.other)
				if x != y {
					t.Errorf("%s %s %s tells more than %s:\n%s\n%s", c.method, c.real, c.body, c.imagined, x, y)
				}
			}
			s.As(t, "").Do(t, "GET", "/api/v1/groups/b/repositories").Want(t, 401)
		})
	}
}

// withoutSource takes the name that the caller sent out of an answer.
func withoutSource(answer, body string) string {
	var sent struct{ Source string }
	_ = json.Unmarshal([]byte(body), &sent)
	name, _, _ := strings.Cut(sent.Source, ":")
	if name == "" {
		return answer
	}
	return strings.ReplaceAll(answer, name, "<source>")
}

// TestContentNames reaches what it should by names that are hard to write in a URL.
func TestContentNames(t *testing.T) {
	s := stack.Start(t, stack.Options{Users: []string{"ann"}})
	s.Apply(t, "groups:\n- name: a\n  grants: [{user: ann, role: developer}]")
	ann, image := s.As(t, "ann"), registrytest.RandomImage(5, 1, 100)
	deep := strings.Repeat("x1/", 40) + "tags"
	ann.Push(t, "a/"+deep, []string{"tags"}, image)
	for path, status := range map[string]int{
		url.PathEscape(deep): 200, url.PathEscape(deep) + "/tags/tags": 200, url.PathEscape(deep) + "/tags/..%2f..": 404,
		"%00": 422, "a%20b": 404, strings.Repeat("x", 256): 422, url.PathEscape(deep) + "?upstream=%00": 422,
	} {
		ann.Do(t, "GET", "/api/v1/groups/a/repositories/"+path).Want(t, status)
	}
}

// TestTooManyToSort: in the order of their pulls a group's repositories are all read for each page, so there is a bound, and a way on.
func TestTooManyToSort(t *testing.T) {
	s := stack.Start(t, stack.Options{Users: []string{"ann"}})
	s.Apply(t, "groups: [{name: acme, grants: [{user: ann, role: maintainer}]}]")
	s.As(t, "ann").Push(t, "acme/team/app", []string{"1"}, registrytest.RandomImage(1, 1, 100))
	s.Stop()
	db := must(meta.Open(t.Context(), meta.Options{Engine: s.Config.Database.Engine, Path: s.Config.Database.Path}))(t)
	err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.Conn().ExecContext(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
			INSERT INTO repositories (id, group_id, upstream_id, epoch, format, name, created_at)
			SELECT i, r.group_id, 0, 0, 'container', 'many/' || i, 0 FROM n, repositories r`)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s.Start()
	ann, list := s.As(t, "ann"), "/api/v1/groups/acme/repositories"
	for _, sort := range []string{"last_pulled_at", "-last_pulled_at"} {
		a := ann.Do(t, "GET", list+"?sort="+sort).Want(t, 422)
		for _, part := range []string{`"location":"query.sort"`, "with prefix"} {
			if !strings.Contains(string(a.Body), part) {
				t.Errorf("no %s: %s", part, a.Body)
			}
		}
		if a := ann.Do(t, "GET", list+"?prefix=team/&sort="+sort).Want(t, 200); !strings.Contains(string(a.Body), `"team/app"`) {
			t.Errorf("of the team: %s", a.Body)
		}
	}
	ann.Do(t, "GET", list).Want(t, 200)
}

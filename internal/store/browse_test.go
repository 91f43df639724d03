package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// browseAll follows a list of repositories to its end, in pages of n.
func browseAll(t *testing.T, s *Store, q BrowseRepositories) (names []string) {
	t.Helper()
	q.GroupID = 1
	if q.Wanted == nil {
		q.Wanted = func(FoundIn) bool { return true }
	}
	for range 100 {
		page, err := s.BrowseRepositories(t.Context(), q)
		ok(t, err)
		if len(page.Repositories) > q.N {
			t.Fatalf("a page of %d has %d", q.N, len(page.Repositories))
		}
		for _, r := range page.Repositories {
			names = append(names, r.Name)
		}
		if q.After = page.Next; q.After == 0 {
			return names
		}
	}
	t.Fatal("the list does not end")
	return nil
}

func TestBrowseRepositories(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		var ids []int64
		img := newImage("a")
		for _, name := range []string{"a", "b", "team/app", "team/base"} {
			ids = append(ids, mustPush(t, s, RepositoryKey{GroupID: 1, Name: name}, img, "1"))
		}
		mustPush(t, s, cached, newImage("b"), "1")
		foreign := mustPush(t, s, other, img, "1")
		_, err := commit(t.Context(), s, RepositoryKey{GroupID: 1, Name: "nothing"}, []byte("no manifest"))
		ok(t, err)
		for i, id := range []int64{ids[2], ids[0], ids[3]} {
			now = now.Add(time.Duration(i+1) * time.Minute)
			s.Pulled(id, img.digest)
			s.deferred.flush(t.Context())
		}
		s.Pulled(ids[0], img.digest)
		s.Pulled(ids[0], img.digest)
		now = now.Add(time.Minute)
		s.Pulled(ids[3], img.digest)
		s.deferred.flush(t.Context())

		for name, test := range map[string]struct {
			q    BrowseRepositories
			want []string
		}{
			"by name":         {BrowseRepositories{}, []string{"a", "b", "library/alpine", "team/app", "team/base"}},
			"coldest":         {BrowseRepositories{Order: ByColdest}, []string{"b", "library/alpine", "team/app", "a", "team/base"}},
			"hottest":         {BrowseRepositories{Order: ByHottest}, []string{"team/base", "a", "team/app", "library/alpine", "b"}},
			"prefix":          {BrowseRepositories{Prefix: "team/"}, []string{"team/app", "team/base"}},
			"prefix, hottest": {BrowseRepositories{Prefix: "team/", Order: ByHottest}, []string{"team/base", "team/app"}},
			"cached":          {BrowseRepositories{Wanted: func(in FoundIn) bool { return in.UpstreamID == 7 }}, []string{"library/alpine"}},
			"none":            {BrowseRepositories{Prefix: "x"}, nil},
		} {
			for _, n := range []int{1, 2, 100} {
				test.q.N = n
				if got := browseAll(t, s, test.q); !slices.Equal(got, test.want) {
					t.Errorf("%s in pages of %d: %q, want %q", name, n, got, test.want)
				}
			}
		}
		for _, after := range []int64{foreign, 12345} {
			_, err := s.BrowseRepositories(t.Context(), BrowseRepositories{GroupID: 1, N: 1, After: after, Wanted: func(FoundIn) bool { return true }})
			want(t, err, ErrCursor)
		}
		info, totals, err := s.Repository(t.Context(), ids[0])
		ok(t, err)
		size := int64(len(img.config) + len(img.layer))
		if info.Pulls.Count != 3 || totals != (RepositoryTotals{Tags: 1, Manifests: 1, Bytes: size}) {
			t.Errorf("%+v %+v", info, totals)
		}
		if _, totals, err = s.Repository(t.Context(), foreign); err != nil || totals.Alone != size { // another group's does not count
			t.Errorf("%+v %v", totals, err)
		}
		want(t, errorOf(TagInfo{}, errorOnly(s.Repository(t.Context(), 12345))), ErrNotFound)
	})
}

// TestBrowseSorted: by pulls, no more repositories are sorted than a page may read; a prefix makes them fewer.
func TestBrowseSorted(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		mustPush(t, s, RepositoryKey{GroupID: 1, Name: "team/app"}, newImage("a"), "1")
		ok(t, s.db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			_, err := tx.Conn().ExecContext(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
				INSERT INTO repositories (id, group_id, upstream_id, epoch, format, name, created_at) SELECT i, 1, 0, 0, 'container', 'many/' || i, 0 FROM n`)
			return err
		}))
		ask := BrowseRepositories{GroupID: 1, N: 10, Order: ByColdest, Wanted: func(FoundIn) bool { return true }}
		page, err := s.BrowseRepositories(t.Context(), ask)
		if ok(t, err); len(page.Repositories) != 1 {
			t.Errorf("of %d: %+v", MaxSorted, page)
		}
		mustPush(t, s, RepositoryKey{GroupID: 1, Name: "team/base"}, newImage("b"), "1")
		for _, order := range []Order{ByColdest, ByHottest} {
			ask.Order, ask.Prefix = order, ""
			want(t, errorOf(s.BrowseRepositories(t.Context(), ask)), ErrUnsorted)
			ask.Prefix = "team/"
			page, err := s.BrowseRepositories(t.Context(), ask)
			if ok(t, err); len(page.Repositories) != 2 {
				t.Errorf("of the team: %+v", page)
			}
		}
		ask.Order, ask.Prefix = ByName, ""
		ok(t, errorOf(s.BrowseRepositories(t.Context(), ask)))
	})
}

func errorOnly(_ RepositoryInfo, _ RepositoryTotals, err error) error { return err }

func TestBrowseTags(t *testing.T) {
	now := time.Now().Truncate(time.Microsecond)
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		a, b := newImage("a"), newImage("b")
		ctx := event.WithActor(t.Context(), event.Actor{ID: 5})
		mustPush(t, s, acme, a)
		mustPush(t, s, acme, b)
		var id int64
		for i, tag := range []string{"2.0", "1.0", "1.1"} {
			now = now.Add(time.Second)
			var err error
			id, err = s.PutManifest(ctx, []image{a, b}[i%2].put(acme, tag))
			ok(t, err)
		}
		now = now.Add(time.Second)
		index := newIndex(a, b)
		_, err := s.PutManifest(ctx, index.put(acme, "2.0"))
		ok(t, err)
		list := func(q BrowseTags, n int) (names []string) {
			q.Repository, q.N = id, n
			for {
				tags, err := s.BrowseTags(t.Context(), q)
				ok(t, err)
				for _, tag := range tags {
					names = append(names, tag.Name)
				}
				if len(tags) < n {
					return names
				}
				q.After = tags[n-1]
			}
		}
		for _, n := range []int{1, 2, 10} {
			if got := list(BrowseTags{}, n); !slices.Equal(got, []string{"1.0", "1.1", "2.0"}) {
				t.Errorf("by name: %q", got)
			}
			if got := list(BrowseTags{Order: ByNewest}, n); !slices.Equal(got, []string{"2.0", "1.1", "1.0"}) {
				t.Errorf("newest: %q", got)
			}
			if got := list(BrowseTags{Order: ByNewest, Prefix: "1."}, n); !slices.Equal(got, []string{"1.1", "1.0"}) {
				t.Errorf("newest of a prefix: %q", got)
			}
		}
		tag, err := s.TagInfo(t.Context(), id, "2.0")
		ok(t, err)
		size := int64(len(index.payload))
		for _, img := range []image{a, b} {
			size += int64(len(img.payload) + len(img.config) + len(img.layer))
		}
		if tag.Digest != index.digest || tag.Size != size || !tag.UpdatedAt.Equal(now) {
			t.Errorf("tag %+v, size %d", tag, size)
		}
		want(t, errorOf(s.TagInfo(t.Context(), id, "2")), ErrNotFound)
		ok(t, s.DeleteTag(ctx, id, "2.0"))
		moves, err := s.TagHistory(t.Context(), id, "2.0", 0, 2)
		ok(t, err)
		first, err := s.TagHistory(t.Context(), id, "2.0", moves[1].ID, 10)
		ok(t, err)
		got := fmt.Sprint(moves[0].Digest, moves[1].Digest, first[0].Digest, len(moves), len(first), moves[0].ActorID)
		if want := fmt.Sprint(oci.Digest(""), index.digest, a.digest, 2, 1, 5); got != want {
			t.Errorf("history %s, want %s", got, want)
		}
	})
}

func TestInspect(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		a, b := newImage("a"), newImage("b")
		index := newIndex(a, b)
		mustPush(t, s, acme, a)
		mustPush(t, s, acme, b)
		id := mustPush(t, s, acme, index, "1", "2")
		elsewhere := mustPush(t, s, RepositoryKey{GroupID: 1, Name: "copy"}, b)
		mustPush(t, s, other, a)
		size := func(img image) int64 { return int64(len(img.config) + len(img.layer)) }
		tree, err := s.Tree(t.Context(), id, index.digest)
		ok(t, err)
		bytes := size(a) + size(b) + int64(len(index.payload)+len(a.payload)+len(b.payload))
		if len(tree.Manifests) != 3 || len(tree.Blobs) != 4 || tree.Bytes != bytes || tree.Cut {
			t.Errorf("tree %+v, want %d bytes", tree, bytes)
		}
		all := func(FoundIn) bool { return true }
		alone, err := s.Alone(t.Context(), 1, id, tree, all)
		ok(t, err)
		if alone != size(a) { // b is elsewhere in the group; that another group has a is nobody's business
			t.Errorf("alone %d, want %d", alone, size(a))
		}
		if alone, err = s.Alone(t.Context(), 1, id, tree, func(in FoundIn) bool { return in.Repository != elsewhere }); err != nil || alone != size(a)+size(b) {
			t.Errorf("alone %d, %v", alone, err)
		}
		part, err := s.Tree(t.Context(), id, a.digest)
		ok(t, err)
		if alone, err = s.Alone(t.Context(), 1, id, part, all); err != nil || alone != size(a) {
			t.Errorf("a child alone: %d, %v", alone, err)
		}
		info, err := s.ManifestInfo(t.Context(), id, a.digest)
		ok(t, err)
		if info.Platform != "linux/arm64/v8" || info.Labels["name"] != "a" || string(info.Payload) != string(a.payload) {
			t.Errorf("info %+v", info)
		}
		config, err := s.Config(t.Context(), id, a.manifest.Config.Digest)
		ok(t, err)
		if string(config) != string(a.config) {
			t.Errorf("config %s", config)
		}
		want(t, errorOf(s.Config(t.Context(), id, digestOf([]byte("none")))), ErrNotFound)
		manifests, err := s.BrowseManifests(t.Context(), id, "", 2)
		ok(t, err)
		rest, err := s.BrowseManifests(t.Context(), id, manifests[1].Digest, 2)
		ok(t, err)
		if len(manifests) != 2 || len(rest) != 1 {
			t.Errorf("%d and %d manifests", len(manifests), len(rest))
		}
		tags, err := s.TagsOf(t.Context(), id, index.digest, 1)
		ok(t, err)
		if !slices.Equal(tags, []string{"1"}) {
			t.Errorf("tags %q", tags)
		}
	})
}

func TestPurge(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a, b, c := newImage("a"), newImage("b"), newImage("c")
		index := newIndex(a, b)
		fill := func() (id int64) {
			mustPush(t, s, cached, a)
			mustPush(t, s, cached, b, "b")
			mustPush(t, s, cached, index, "1", "latest")
			return mustPush(t, s, cached, c, "c")
		}
		size := func(img image) int64 { return int64(len(img.config) + len(img.layer)) }
		id := fill()
		check := func(what string, got Purged, err error, want Purged) {
			t.Helper()
			ok(t, err)
			if got != want {
				t.Errorf("%s took %+v, want %+v", what, got, want)
			}
		}
		estimate := func(text string) Purged {
			t.Helper()
			ref, err := oci.ParseReference(text)
			ok(t, err)
			p, err := s.PurgeTag(ctx, id, text, "", true)
			if ref.IsDigest() {
				p, err = s.PurgeManifest(ctx, id, ref.Digest, true)
			}
			ok(t, err)
			return p
		}
		want(t, errorOf(s.PurgeTag(ctx, id, "1", a.digest, false)), ErrMoved)
		if p := estimate("1"); p != (Purged{Tags: 1}) {
			t.Errorf("the estimate of a tag is %+v", p)
		}
		if p := estimate(string(index.digest)); p != (Purged{Tags: 2, Manifests: 2, Bytes: size(a)}) {
			t.Errorf("the estimate of a digest is %+v", p)
		}
		p, err := s.PurgeTag(ctx, id, "1", index.digest, false) // latest holds the rest
		check("a tag", p, err, Purged{Tags: 1})
		if p := estimate("latest"); p != (Purged{Tags: 1, Manifests: 2, Bytes: size(a)}) {
			t.Errorf("the estimate of the last tag is %+v", p)
		}
		p, err = s.PurgeTag(ctx, id, "latest", "", false) // b has a tag of its own
		check("the last tag", p, err, Purged{Tags: 1, Manifests: 2, Bytes: size(a)})
		want(t, errorOf(s.PurgeTag(ctx, id, "latest", "", false)), ErrNotFound)
		want(t, errorOf(s.PurgeManifest(ctx, id, index.digest, false)), ErrNotFound)
		sound(t, s, false)

		fill()
		s.Pulled(id, c.digest)
		in := FoundIn{id, cached.Name, 7, 1}
		would := Purged{Tags: 4, Manifests: 3, Bytes: size(a) + size(b), InUse: 1}
		p, err = s.Estimate(1, false).Repository(ctx, in)
		check("the estimate", p, err, would)
		p, done, err := s.PurgeRepository(ctx, id, 100)
		check("the repository", p, err, would)
		if !done {
			t.Error("not done")
		}
		want(t, errorOf(s.Tag(ctx, id, "c")), ErrNotFound)
		if _, err := s.Blob(ctx, id, c.manifest.Config.Digest); err != nil { // of the pull that goes on
			t.Errorf("a layer in use: %v", err)
		}
		ok(t, collect(ctx, s, now))
		sound(t, s, false)
		if _, err := s.Blob(ctx, id, c.manifest.Config.Digest); err != nil {
			t.Errorf("a layer in use, after the collector: %v", err)
		}
		now = now.Add(25 * time.Hour)
		ok(t, collect(ctx, s, now))
		if n := objects(t, s); n != 0 {
			t.Errorf("%d objects are left", n)
		}
		now = now.Add(25 * time.Hour)
		ok(t, collect(ctx, s, now))
		_, err = s.loadRepositoryID(ctx, cached)
		want(t, err, ErrNotFound)

		hosted := mustPush(t, s, acme, a, "1")
		want(t, errorOf(s.PurgeTag(ctx, hosted, "1", "", false)), ErrNotFound)
		want(t, errorOf(s.PurgeManifest(ctx, hosted, a.digest, false)), ErrNotFound)
		want(t, s.DeleteTagOf(ctx, hosted, "1", b.digest), ErrMoved)
		ok(t, s.DeleteTagOf(ctx, hosted, "1", a.digest))
		if _, _, err := s.PurgeRepository(ctx, hosted, 1); err == nil {
			t.Error("a hosted repository was purged")
		}
		sound(t, s, false)
	})
}

func TestNote(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := event.WithActor(t.Context(), event.Actor{ID: 5, RequestID: "r"})
		ok(t, s.Note(ctx, 1, event.CachePurged, "upstream hub", nil))
		rows, err := s.db.Read().ListEvents(ctx, query.ListEventsParams{GroupID: 1, ID: 1 << 62, Limit: 10})
		ok(t, err)
		if len(rows) != 1 || rows[0].Kind != event.CachePurged || rows[0].ActorID != 5 || rows[0].RequestID != "r" {
			t.Errorf("events %+v", rows)
		}
	})
}

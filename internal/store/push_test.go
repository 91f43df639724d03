package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

func TestPushAndRead(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		_, err := s.RepositoryID(ctx, acme)
		want(t, err, ErrNotFound)
		id := mustPush(t, s, acme, img, "1", "latest")
		if got, err := s.RepositoryID(ctx, acme); got != id || err != nil {
			t.Fatalf("repository %d, %v; want %d", got, err, id)
		}
		tag, err := s.Tag(ctx, id, "latest")
		ok(t, err)
		if tag.Digest != img.digest || !tag.CheckedAt.IsZero() || tag.UpdatedAt.IsZero() {
			t.Errorf("tag %+v", tag)
		}
		m, err := s.Manifest(ctx, id, img.digest)
		ok(t, err)
		if string(m.Payload) != string(img.payload) || m.MediaType != oci.MediaTypeImageManifest {
			t.Errorf("manifest %+v", m)
		}
		b, err := s.Blob(ctx, id, digestOf(img.layer))
		ok(t, err)
		if b.Size != int64(len(img.layer)) {
			t.Errorf("blob %+v", b)
		}
		d, err := s.Reference(ctx, id, digestOf(img.layer))
		ok(t, err)
		if d.MediaType != "application/vnd.oci.image.layer.v1.tar" || d.Size != b.Size {
			t.Errorf("reference %+v", d)
		}
		tags, err := s.Tags(ctx, id, "1", 10)
		ok(t, err)
		if !slices.Equal(tags, []string{"latest"}) {
			t.Errorf("tags after 1: %q", tags)
		}
		names, err := s.HostedRepositories(ctx, acme.GroupID, "", 10)
		ok(t, err)
		if !slices.Equal(names, []string{acme.Name}) {
			t.Errorf("repositories %q", names)
		}
		sound(t, s, false)
	})
}

func TestPushRefusesWhatIsMissing(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		_, err := commit(ctx, s, acme, img.layer)
		ok(t, err)
		_, err = commit(ctx, s, other, img.config) // here, but not in the repository
		ok(t, err)
		_, err = s.PutManifest(ctx, img.put(acme, "1"))
		var missing *MissingError
		if !errors.As(err, &missing) || !slices.Equal(missing.Blobs, []oci.Digest{digestOf(img.config)}) || missing.Manifests != nil {
			t.Fatalf("error %v", err)
		}
		id, err := s.RepositoryID(ctx, acme)
		ok(t, err)
		_, err = s.Tag(ctx, id, "1")
		want(t, err, ErrNotFound)
		_, err = s.Manifest(ctx, id, img.digest)
		want(t, err, ErrNotFound)

		index := newIndex(img)
		_, err = s.PutManifest(ctx, index.put(acme, "all"))
		if !errors.As(err, &missing) || !slices.Equal(missing.Manifests, []oci.Digest{img.digest}) {
			t.Fatalf("error %v", err)
		}
		sparse := index.put(acme, "all")
		sparse.Sparse = true
		_, err = s.PutManifest(ctx, sparse)
		ok(t, err)
		_, err = s.PutManifest(ctx, newReferrer(img.digest, "a/b").put(acme)) // its subject may come later
		ok(t, err)
		foreign := image{}.seal(map[string]any{"layers": []oci.Descriptor{
			{MediaType: "a/b", Digest: digestOf([]byte("far away")), Size: 8, URLs: []string{"https://example.test/x"}},
		}}, oci.MediaTypeImageManifest)
		_, err = s.PutManifest(ctx, foreign.put(acme, "foreign"))
		ok(t, err)
	})
}

func TestTagMovesOnceAndKeepsHistory(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := event.WithActor(t.Context(), event.Actor{ID: 42, RequestID: "r1"})
		a, b := newImage("a"), newImage("b")
		id := mustPush(t, s, acme, a, "1")
		for range 3 {
			_, err := push(ctx, s, acme, b, "1")
			ok(t, err)
		}
		ok(t, s.DeleteTag(ctx, id, "1"))
		want(t, s.DeleteTag(ctx, id, "1"), ErrNotFound)
		_, err := s.Tag(ctx, id, "1")
		want(t, err, ErrNotFound)
		_, err = s.Manifest(ctx, id, b.digest)
		ok(t, err)

		history, err := s.db.Read().ListTagHistory(ctx, query.ListTagHistoryParams{RepositoryID: id, Name: "1", Before: 1 << 62, N: 10})
		ok(t, err)
		if len(history) != 3 || history[0].Digest != nil || digestText(history[1].Digest) != string(b.digest) ||
			digestText(history[2].Digest) != string(a.digest) || history[1].ActorID != 42 {
			t.Errorf("history %+v", history)
		}
		events, err := s.db.Read().ListEvents(ctx, query.ListEventsParams{GroupID: acme.GroupID, ID: 1 << 62, Limit: 100})
		ok(t, err)
		var kinds []string
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		slices.Reverse(kinds)
		if !slices.Equal(kinds, []string{event.TagMoved, event.ManifestPushed, event.TagMoved, event.ManifestPushed, event.TagDeleted}) {
			t.Errorf("events %q", kinds)
		}
		if last := events[0]; last.ActorID != 42 || last.RequestID != "r1" || last.Subject != "team/app:1" {
			t.Errorf("event %+v", last)
		}
	})
}

func TestImageInfoInEitherOrder(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		check := func(key RepositoryKey) {
			t.Helper()
			id, err := s.RepositoryID(ctx, key)
			ok(t, err)
			row, err := s.db.Read().StatManifest(ctx, query.StatManifestParams{RepositoryID: id, Digest: oci.DigestBytes(img.digest)})
			ok(t, err)
			if row.Platform != "linux/arm64/v8" || row.Labels != `{"name":"a"}` || !fromMicros(row.ImageCreated).Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
				t.Errorf("image %+v", row)
			}
		}
		mustPush(t, s, acme, img, "1")
		check(acme)
		_, err := s.PutManifest(ctx, img.put(cached, "1"))
		ok(t, err)
		_, err = s.LinkBlob(ctx, cached, digestOf(img.config))
		ok(t, err)
		check(cached)
		odd := parseImageInfo([]byte(`{"os":"linux","architecture":7,"created":"now","config":{"Labels":{"a":"b"}}}`))
		if odd.platform != "" || !odd.created.IsZero() || odd.labels != `{"a":"b"}` {
			t.Errorf("odd config: %+v", odd)
		}
	})
}

func TestIsolation(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		mine := mustPush(t, s, acme, img, "1")
		theirs := mustPush(t, s, other, newImage("b"), "1")
		d := digestOf(img.layer)
		_, err := s.Blob(ctx, theirs, d)
		want(t, err, ErrNotFound)
		_, err = s.Manifest(ctx, theirs, img.digest)
		want(t, err, ErrNotFound)
		for _, group := range []int64{acme.GroupID, other.GroupID} { // hosted content is known to no cache
			_, err = s.KnownBlob(ctx, group, d)
			want(t, err, ErrNotFound)
		}
		_, err = commit(ctx, s, cached, img.layer)
		ok(t, err)
		known, err := s.KnownBlob(ctx, cached.GroupID, d)
		ok(t, err)
		if known.Digest != d {
			t.Errorf("known %+v", known)
		}
		_, err = s.KnownBlob(ctx, other.GroupID, d)
		want(t, err, ErrNotFound)
		if n := objects(t, s); n != 4 {
			t.Errorf("%d objects, want each blob once: 4", n)
		}
		want(t, s.UnlinkBlob(ctx, mine, d), ErrInUse)
		want(t, s.UnlinkBlob(ctx, theirs, d), ErrNotFound)
	})
}

func TestReferrersAndLists(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		id := mustPush(t, s, acme, img, "1")
		for _, artifactType := range []string{"a/sbom", "a/signature"} {
			mustPush(t, s, acme, newReferrer(img.digest, artifactType))
		}
		all, err := s.Referrers(ctx, id, img.digest, "", 10)
		ok(t, err)
		signatures, err := s.Referrers(ctx, id, img.digest, "a/signature", 10)
		ok(t, err)
		if len(all) != 2 || len(signatures) != 1 || signatures[0].ArtifactType != "a/signature" || signatures[0].Annotations["of"] != string(img.digest) {
			t.Errorf("referrers %+v, signatures %+v", all, signatures)
		}
		at := time.UnixMicro(1_700_000_000_000_000).UTC()
		ok(t, s.PutList(ctx, List{Repository: cached, Kind: "tags", Payload: []byte(`["1"]`), CheckedAt: at}))
		cid, err := s.RepositoryID(ctx, cached)
		ok(t, err)
		payload, checked, err := s.List(ctx, cid, "tags", "")
		if err != nil || string(payload) != `["1"]` || !checked.Equal(at) {
			t.Errorf("list %s %v %v", payload, checked, err)
		}
		_, _, err = s.List(ctx, cid, "referrers", img.digest)
		want(t, err, ErrNotFound)
	})
}

func TestLostBytesAreReplaced(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, content := t.Context(), []byte("bytes")
		b, err := commit(ctx, s, acme, content)
		ok(t, err)
		ok(t, s.blobs.Delete(ctx, b.Key))
		_, err = s.OpenBlob(ctx, b, 0, -1)
		want(t, err, ErrNotFound)
		again, err := commit(ctx, s, cached, content)
		ok(t, err)
		if again.Key == b.Key {
			t.Fatal("the key has not moved")
		}
		c, err := s.OpenBlob(ctx, b, 0, -1) // the old key is followed
		ok(t, err)
		ok(t, c.Body.Close())
		ok(t, collect(ctx, s, time.Now()))
		sound(t, s, false)
	})
}

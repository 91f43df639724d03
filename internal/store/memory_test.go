package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob/mem"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// observed counts reads and pretends to lag.
type observed struct {
	database
	reads  atomic.Int64
	behind atomic.Bool
}

func (o *observed) Read() *query.Queries {
	o.reads.Add(1)
	return o.database.Read()
}

func (o *observed) Current() bool { return !o.behind.Load() }

func TestWarmReadsAskNoDatabase(t *testing.T) {
	run(t, Options{}, func(t *testing.T, plain *Store) {
		ctx, img := t.Context(), newImage("a")
		o := &observed{database: plain.db}
		s := open(t, o, plain.blobs, Options{})
		id := mustPush(t, s, acme, img, "1")
		look := func() {
			t.Helper()
			_, err := s.RepositoryID(ctx, acme)
			ok(t, err)
			_, err = s.RepositoryID(ctx, other)
			want(t, err, ErrNotFound)
			_, err = s.Tag(ctx, id, "1")
			ok(t, err)
			_, err = s.Tag(ctx, id, "2")
			want(t, err, ErrNotFound)
			_, err = s.Manifest(ctx, id, img.digest)
			ok(t, err)
			_, err = s.Blob(ctx, id, digestOf(img.layer))
			ok(t, err)
			s.Pulled(id, img.digest)
			ok(t, s.ConfirmTag(ctx, id, "1", img.digest, time.Now()))
		}
		look()
		before := o.reads.Load()
		for range 10 {
			look()
		}
		if n := o.reads.Load() - before; n != 0 {
			t.Errorf("%d queries on the warm path", n)
		}
		o.behind.Store(true)
		look()
		if n := o.reads.Load() - before; n != 6 {
			t.Errorf("%d queries while the feed lags, want 6", n)
		}
	})
}

func TestWarmReadsAllocateLittle(t *testing.T) {
	db := metatest.Open(t, meta.SQLite)
	addGroups(t, db)
	s := open(t, db, mem.New(mem.Options{}), Options{})
	ctx, img := t.Context(), newImage("a")
	id := mustPush(t, s, acme, img, "1")
	layer := digestOf(img.layer)
	for name, read := range map[string]func(){
		"repository": func() { _, _ = s.RepositoryID(ctx, acme) },
		"tag":        func() { _, _ = s.Tag(ctx, id, "1") },
		"manifest":   func() { _, _ = s.Manifest(ctx, id, img.digest) },
		"blob":       func() { _, _ = s.Blob(ctx, id, layer) },
		"pulled":     func() { s.Pulled(id, img.digest) },
	} {
		read()
		if n := testing.AllocsPerRun(200, read); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestAnotherReplicaWrites has two databases handles, as two servers have, on one PostgreSQL database.
func TestAnotherReplicaWrites(t *testing.T) {
	options := metatest.Options(t, meta.PostgreSQL)
	one, two := metatest.Reopen(t, options), metatest.Reopen(t, options)
	addGroups(t, one)
	blobs := mem.New(mem.Options{})
	a, b := open(t, one, blobs, Options{}), open(t, two, blobs, Options{})
	ctx := t.Context()
	told := make(chan meta.Change, 100)
	two.Follow(ctx, func(c meta.Change) { told <- c })
	_, err := b.RepositoryID(ctx, acme)
	want(t, err, ErrNotFound)
	img := newImage("a")
	id := mustPush(t, a, acme, img, "1")
	for c := range told {
		if c.Kind == ChangeManifest {
			break
		}
	}
	got, err := b.RepositoryID(ctx, acme)
	if got != id || err != nil {
		t.Errorf("repository %d, %v", got, err)
	}
	_, err = b.Tag(ctx, id, "1")
	ok(t, err)
	ok(t, a.DeleteTag(ctx, id, "1"))
	for err = nil; err == nil; { // the push has changed the tag, too
		if c := <-told; c.Kind == ChangeTag && c.Key == itemChange(id, "1") {
			_, err = b.Tag(ctx, id, "1")
		}
	}
	want(t, err, ErrNotFound)
}

func TestLateLoadsAreDropped(t *testing.T) {
	m := newMemory(1<<20, weighItem, func() bool { return true })
	defer m.close()
	key := itemKey{ChangeTag, 1, "a"}
	ticket := m.begin(key)
	m.forget(key)
	keep(m, key, ticket, &Tag{Name: "a"})
	if _, ok := recall[Tag](m, key); ok {
		t.Error("a value read before the change was kept after it")
	}
	ticket = m.begin(key)
	m.forgetAll()
	keep(m, key, ticket, &Tag{Name: "a"})
	if _, ok := recall[Tag](m, key); ok {
		t.Error("a value read before everything was forgotten was kept after it")
	}
	keep[Tag](m, key, m.begin(key), nil)
	if tag, ok := recall[Tag](m, key); tag != nil || !ok {
		t.Error("absence is not remembered")
	}
}

// TestReadersNeverGoBack moves a tag forth while readers look: none may see an older one after a newer.
func TestReadersNeverGoBack(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, stop := context.WithCancel(t.Context())
		const moves = 20
		order := map[string]int{}
		images := make([]image, moves)
		for i := range images {
			images[i] = image{}.seal(map[string]any{"annotations": map[string]string{"n": fmt.Sprint(i)}}, oci.MediaTypeImageManifest)
			order[string(images[i].digest)] = i
		}
		id := mustPush(t, s, acme, images[0], "1")
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				last := 0
				for ctx.Err() == nil {
					tag, err := s.Tag(t.Context(), id, "1")
					if err != nil {
						t.Error(err)
						return
					}
					n := order[string(tag.Digest)]
					if n < last {
						t.Errorf("tag went back from %d to %d", last, n)
						return
					}
					last = n
				}
			})
		}
		for i := 1; i < moves; i++ {
			mustPush(t, s, acme, images[i], "1")
			tag, err := s.Tag(ctx, id, "1")
			if err != nil || tag.Digest != images[i].digest {
				t.Errorf("own write %d not seen: %v", i, err)
			}
		}
		stop()
		wg.Wait()
	})
}

func TestConfirmations(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		at := time.UnixMicro(1_700_000_000_000_000).UTC()
		p := img.put(cached, "1")
		p.CheckedAt = at
		id, err := s.PutManifest(ctx, p)
		ok(t, err)
		check := func(s *Store, want time.Time) {
			t.Helper()
			tag, err := s.Tag(ctx, id, "1")
			ok(t, err)
			if !tag.CheckedAt.Equal(want) {
				t.Errorf("checked at %v, want %v", tag.CheckedAt, want)
			}
		}
		check(s, at)
		ok(t, s.ConfirmTag(ctx, id, "1", img.digest, at.Add(time.Hour)))
		check(s, at.Add(time.Hour))
		s.content.forgetAll()
		check(s, at.Add(time.Hour)) // read anew, and not written yet
		ok(t, s.ConfirmTag(ctx, id, "1", digestOf([]byte("moved meanwhile")), at.Add(2*time.Hour)))
		check(s, at.Add(time.Hour))
		s.deferred.flush(ctx)
		check(open(t, s.db, s.blobs, Options{}), at)
	})
}

// TestConfirmationsFromTheFuture: a clock stood ahead, a tag was confirmed, the clock was set right. The next confirmation must count.
func TestConfirmationsFromTheFuture(t *testing.T) {
	now := time.UnixMicro(1_700_000_000_000_000).UTC()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx, img := t.Context(), newImage("a")
		p := img.put(cached, "1")
		p.CheckedAt = now.AddDate(10, 0, 0)
		id, err := s.PutManifest(ctx, p)
		ok(t, err)
		confirmed := func(want time.Time) {
			t.Helper()
			for range 2 { // as remembered, then as written
				tag, err := s.Tag(ctx, id, "1")
				ok(t, err)
				if !tag.CheckedAt.Equal(want) {
					t.Errorf("checked at %v, want %v", tag.CheckedAt, want)
				}
				s.deferred.flush(ctx)
				s.content.forgetAll()
			}
		}
		confirmed(p.CheckedAt)
		_, err = s.Tag(ctx, id, "1")
		ok(t, err)
		ok(t, s.ConfirmTag(ctx, id, "1", img.digest, now.Add(-time.Second)))
		confirmed(now.Add(-time.Second))
		p.CheckedAt = now.AddDate(10, 0, 0)
		_, err = s.PutManifest(ctx, p)
		ok(t, err)
		p.CheckedAt = now
		_, err = s.PutManifest(ctx, p) // as a pull that found the manifest anew
		ok(t, err)
		confirmed(now)
	})
}

// TestNewRepositoryIsSeenByItsWriters: readers may learn a moment late of a repository that was just made, but nobody who has written
// to it, and no upload that goes on.
func TestNewRepositoryIsSeenByItsWriters(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		late := func() { // as between the commit of another writer and its delivery
			t.Helper()
			s.ids.forget(acme)
			keep[int64](s.ids, acme, s.ids.begin(acme), nil)
			_, err := s.RepositoryID(ctx, acme)
			want(t, err, ErrNotFound)
		}
		late()
		u, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, u.Append(ctx, -1, strings.NewReader("one")))
		ok(t, u.Close())
		late()
		u, err = s.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		if u.Size() != 3 {
			t.Errorf("%d bytes of the session are known, 3 were acknowledged", u.Size())
		}
		_, err = u.Commit(ctx, digestOf([]byte("one")))
		ok(t, err)
		late()
		id := mustPush(t, s, acme, newImage("a"), "1")
		if got, err := s.RepositoryID(ctx, acme); got != id || err != nil {
			t.Errorf("after a push the repository is %d, %v, want %d", got, err, id)
		}
	})
}

func TestPullsAreCounted(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		d := newImage("a").digest
		for range 3 {
			s.Pulled(5, d)
		}
		s.deferred.flush(t.Context())
		s.Pulled(5, d)
		s.Wanted(5, d)
		s.deferred.flush(t.Context())
		row, err := s.db.Read().GetPulls(t.Context(), query.GetPullsParams{RepositoryID: 5, Digest: oci.DigestBytes(d)})
		if err != nil || row.PullCount != 4 {
			t.Errorf("pulls %+v, %v", row, err)
		}
	})
}

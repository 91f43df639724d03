package store

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

func TestUploadSurvivesTheProcess(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		u, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, u.Append(ctx, 0, strings.NewReader("hello, ")))
		want(t, u.Append(ctx, 3, strings.NewReader("x")), ErrOffset)
		_, err = s.ResumeUpload(ctx, acme, u.ID())
		want(t, err, ErrBusy)
		cut := io.MultiReader(strings.NewReader("wor"), iotest.ErrReader(io.ErrUnexpectedEOF))
		want(t, u.Append(ctx, -1, cut), io.ErrUnexpectedEOF)
		if u.Size() != 10 {
			t.Errorf("size %d after a cut request, want 10", u.Size())
		}
		ok(t, u.Close())
		u, err = s.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		ok(t, u.Append(ctx, -1, strings.NewReader("never acknowledged")))
		ok(t, u.stage.Close())
		// The process ends here without Close: another one, with nothing but rows and bytes, goes on.
		later := open(t, s.db, s.blobs, Options{})
		_, err = later.ResumeUpload(ctx, other, u.ID())
		want(t, err, ErrNotFound)
		v, err := later.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		if v.Size() != 10 {
			t.Fatalf("size %d after a restart, want 10", v.Size())
		}
		ok(t, v.Append(ctx, 10, strings.NewReader("ld")))
		ok(t, v.Close())
		v, err = later.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		b, err := v.Commit(ctx, digestOf([]byte("hello, world")))
		ok(t, err)
		if b.Size != 12 {
			t.Errorf("blob %+v", b)
		}
		ok(t, v.Close())
		_, err = later.ResumeUpload(ctx, acme, u.ID())
		want(t, err, ErrNotFound)
		for range s.blobs.Stages(ctx) {
			t.Error("a stage is left")
		}
		sound(t, s, false)
	})
}

func TestUploadDigests(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, content := t.Context(), []byte("some content")
		start := func() *Upload {
			t.Helper()
			u, err := s.StartUpload(ctx, acme)
			ok(t, err)
			ok(t, u.Append(ctx, -1, bytes.NewReader(content)))
			return u
		}
		for _, wrong := range []oci.Digest{digestOf([]byte("x")), oci.DigestOf(oci.SHA512, []byte("x"))} {
			u := start()
			_, err := u.Commit(ctx, wrong)
			want(t, err, ErrDigest)
			_, err = s.ResumeUpload(ctx, acme, u.ID())
			want(t, err, ErrNotFound)
		}
		if n := objects(t, s); n != 0 {
			t.Fatalf("%d objects after wrong digests", n)
		}
		for range 2 { // the second finds the first
			for _, right := range []oci.Digest{digestOf(content), oci.DigestOf(oci.SHA512, content)} {
				b, err := start().Commit(ctx, right)
				ok(t, err)
				if b.Digest != right || b.Size != int64(len(content)) {
					t.Errorf("blob %+v", b)
				}
			}
		}
		if n := objects(t, s); n != 2 {
			t.Errorf("%d objects, want 2", n)
		}
		u := start()
		ok(t, u.Cancel(ctx))
		ok(t, u.Cancel(ctx))
		want(t, u.Append(ctx, -1, strings.NewReader("x")), ErrNotFound)
		for range s.blobs.Stages(ctx) {
			t.Error("a stage is left")
		}
	})
}

func TestUploadsExpire(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		left, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, left.Append(ctx, -1, strings.NewReader("x")))
		stage := left.stage.ID()
		ok(t, left.Close())
		held, err := s.StartUpload(ctx, acme)
		ok(t, err)
		owned, err := s.HasStage(ctx, stage)
		if !owned || err != nil {
			t.Errorf("the stage is nobody's: %v", err)
		}
		n, err := s.ExpireUploads(ctx, now.Add(time.Second))
		if n != 1 || err != nil {
			t.Errorf("expired %d, %v; want 1", n, err)
		}
		_, err = s.ResumeUpload(ctx, acme, left.ID())
		want(t, err, ErrNotFound)
		ok(t, held.Append(ctx, -1, strings.NewReader("x")))
		ok(t, held.Close())
	})
}

// TestUploadAtTwoReplicas has two processes, which share no memory, on one session: whatever they do, the bytes of a request that was
// acknowledged are those that are committed.
func TestUploadAtTwoReplicas(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, there := t.Context(), open(t, s.db, s.blobs, Options{})
		u, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, u.Append(ctx, -1, strings.NewReader("one ")))
		ok(t, u.Close())

		here, err := s.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		ok(t, here.Append(ctx, -1, strings.NewReader("lost")))
		other, err := there.ResumeUpload(ctx, acme, u.ID())
		winner := here
		if err == nil { // the blob store let the second take it over
			ok(t, other.Append(ctx, -1, strings.NewReader("two")))
			want(t, here.Close(), ErrBusy)
			winner = other
		} else {
			want(t, err, ErrBusy)
		}
		size := winner.Size()
		ok(t, winner.Close())
		last, err := there.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		if last.Size() != size {
			t.Fatalf("%d bytes, %d were acknowledged", last.Size(), size)
		}
		content := map[int64]string{7: "one two", 8: "one lost"}[size]
		_, err = last.Commit(ctx, digestOf([]byte(content)))
		ok(t, err)
		sound(t, s, false)
	})
}

// TestUploadBegunAtTwoReplicas: a session that nothing was sent to may begin at two places, and goes on at one of them.
func TestUploadBegunAtTwoReplicas(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, there := t.Context(), open(t, s.db, s.blobs, Options{})
		u, err := s.StartUpload(ctx, acme)
		ok(t, err)
		other, err := there.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		ok(t, u.Append(ctx, -1, strings.NewReader("here")))
		ok(t, other.Append(ctx, -1, strings.NewReader("there")))
		ok(t, other.Close())
		want(t, u.Close(), ErrBusy)
		u, err = s.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		_, err = u.Commit(ctx, digestOf([]byte("there")))
		ok(t, err)
		_, err = there.ResumeUpload(ctx, acme, u.ID())
		ok(t, err) // it knows nothing of the end, and takes it for a session that nothing was sent to
		for range s.blobs.Stages(ctx) {
			t.Error("a stage is left")
		}
	})
}

// TestUploadResumedWithAnOldRow lets another replica save between the first look at a row and taking the stage.
func TestUploadResumedWithAnOldRow(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		u, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, u.Append(ctx, -1, strings.NewReader("one ")))
		ok(t, u.Close())
		late := &lateStages{Store: s.blobs}
		late.before = func() {
			u, err := s.ResumeUpload(ctx, acme, u.ID())
			ok(t, err)
			ok(t, u.Append(ctx, -1, strings.NewReader("two")))
			ok(t, u.Close())
		}
		v, err := open(t, s.db, late, Options{}).ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		if v.Size() != 7 {
			t.Errorf("resumed at %d, want 7", v.Size())
		}
		_, err = v.Commit(ctx, digestOf([]byte("one two")))
		ok(t, err)
	})
}

// lateStages does something before it resumes a stage for the first time.
type lateStages struct {
	blob.Store

	before func()
}

func (l *lateStages) ResumeStage(ctx context.Context, id string, state []byte) (blob.Stage, error) {
	if before := l.before; before != nil {
		l.before = nil
		before()
	}
	return l.Store.ResumeStage(ctx, id, state)
}

// TestEmptyUpload: a session that nothing was sent to leaves no trace, and its id is good for its repository alone.
func TestEmptyUpload(t *testing.T) {
	now := time.Now()
	run(t, Options{Now: func() time.Time { return now }}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		u, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, u.Close())
		_, err = s.RepositoryID(ctx, acme)
		want(t, err, ErrNotFound)
		_, err = s.ResumeUpload(ctx, other, u.ID())
		want(t, err, ErrNotFound)
		for _, id := range []string{"", "x", "-", u.ID() + "0", u.ID()[1:], blob.NewID() + "-00000000"} {
			_, err = s.ResumeUpload(ctx, acme, id)
			want(t, err, ErrNotFound)
		}
		later := open(t, s.db, s.blobs, Options{})
		v, err := later.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		_, err = v.Commit(ctx, digestOf([]byte("what was sent elsewhere")))
		want(t, err, ErrNotFound)
		v, err = s.ResumeUpload(ctx, acme, u.ID())
		ok(t, err)
		ok(t, v.Cancel(ctx))
		_, err = s.ResumeUpload(ctx, acme, u.ID())
		want(t, err, ErrNotFound)
		empty, err := s.StartUpload(ctx, acme)
		ok(t, err)
		_, err = empty.Commit(ctx, digestOf(nil))
		ok(t, err)
		old, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, old.Close())
		now = now.Add(emptySessionAge + time.Minute)
		_, err = s.ResumeUpload(ctx, acme, old.ID())
		want(t, err, ErrNotFound)
		now = now.Add(-emptySessionAge)
	})
}

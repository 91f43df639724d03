package store

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/weir-registry/weir/internal/oci"
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
		ok(t, left.Close())
		held, err := s.StartUpload(ctx, acme)
		ok(t, err)
		owned, err := s.HasStage(ctx, left.stage.ID())
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

// TestUploadTakenOver has two replicas, which share no memory, on one session.
func TestUploadTakenOver(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, a.Append(ctx, -1, strings.NewReader("one")))
		b, err := open(t, s.db, s.blobs, Options{}).ResumeUpload(ctx, acme, a.ID())
		ok(t, err)
		ok(t, b.Append(ctx, -1, strings.NewReader("two")))
		err = a.Append(ctx, -1, strings.NewReader("three"))
		if !errors.Is(err, ErrBusy) {
			t.Errorf("the first replica acknowledged bytes of a session it has lost: %v", err)
		}
		ok(t, b.Close())
	})
}

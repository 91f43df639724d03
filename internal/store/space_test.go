package store

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/mem"
)

// smallDisk has as much free space as the test says.
type smallDisk struct {
	blob.Store
	free atomic.Int64
}

func (d *smallDisk) Space(context.Context) (int64, error) { return d.free.Load(), nil }

// TestReserve: pushes leave the reserve alone, give back what they have taken, and go on once there is room.
func TestReserve(t *testing.T) {
	run(t, Options{}, func(t *testing.T, s *Store) {
		ctx, disk := t.Context(), &smallDisk{Store: mem.New(mem.Options{PartSize: 256 << 10})}
		s = open(t, s.db, disk, Options{})
		full := func(what string, err error) {
			t.Helper()
			if !Full(err) {
				t.Errorf("%s: %v, want full", what, err)
			}
		}
		disk.free.Store(Reserve - 1)
		_, err := s.StartUpload(ctx, acme)
		full("start", err)

		disk.free.Store(Reserve)
		u, err := s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, u.Append(ctx, 0, strings.NewReader("begun")))
		filling := io.MultiReader(bytes.NewReader(make([]byte, spaceStep)), readerFunc(func(p []byte) (int, error) {
			disk.free.Store(0)
			return len(p), nil // without an end
		}))
		full("append", u.Append(ctx, -1, filling))
		ok(t, u.Close())
		for range s.blobs.Stages(ctx) {
			t.Error("bytes are left")
		}
		_, err = s.ResumeUpload(ctx, acme, u.ID())
		want(t, err, ErrNotFound)

		disk.free.Store(Reserve)
		u, err = s.StartUpload(ctx, acme)
		ok(t, err)
		ok(t, u.Append(ctx, 0, strings.NewReader("hello")))
		_, err = u.Commit(ctx, digestOf([]byte("hello")))
		ok(t, err)
		sound(t, s, false)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

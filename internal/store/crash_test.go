package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/blobtest"
	"github.com/weir-registry/weir/internal/store/blob/mem"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// crashing is a database whose process dies at a chosen transaction, together with its blob store.
type crashing struct {
	database
	blobs *blobtest.Faulty

	mu     sync.Mutex
	steps  int
	at     int
	moment moment
	dead   bool
}

// moment is where in its transaction the process dies.
type moment string

const (
	inside moment = "inside" // everything is done but the commit; the same to the next process as dying before it
	after  moment = "after"  // committed, and nobody has heard of it
)

func (c *crashing) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead || c.blobs.Crashed()
}

// step reports whether the process is dead, or dies in this transaction.
func (c *crashing) step() (dead, now bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.blobs.Crashed() {
		return true, false
	}
	c.steps++
	if c.steps != c.at {
		return false, false
	}
	c.dead = true
	c.blobs.CrashAt(1, blobtest.Before)
	return false, true
}

func (c *crashing) Write(ctx context.Context, fn func(ctx context.Context, tx *meta.Tx) error) error {
	dead, now := c.step()
	switch {
	case dead:
		return blobtest.ErrCrash
	case now && c.moment == inside:
		return c.database.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
			return errors.Join(fn(ctx, tx), blobtest.ErrCrash)
		})
	case now:
		return errors.Join(c.database.Write(ctx, fn), blobtest.ErrCrash)
	}
	return c.database.Write(ctx, fn)
}

func (c *crashing) WriteTelemetry(ctx context.Context, fn func(ctx context.Context, q *query.Queries) error) error {
	if c.crashed() {
		return blobtest.ErrCrash
	}
	return c.database.WriteTelemetry(ctx, fn)
}

// crashPoint chooses a step: one of the database's, or one of the blob store's.
type crashPoint struct {
	database moment
	blobs    blobtest.Moment
}

var crashPoints = map[string]crashPoint{
	"inside a transaction":  {database: inside},
	"after a transaction":   {database: after},
	"before a blob's step":  {blobs: blobtest.Before},
	"after the blob's step": {blobs: blobtest.After},
}

// operation is something that must not leave a mess, wherever it stops.
type operation struct {
	name  string
	key   RepositoryKey
	setup func(ctx context.Context, s *Store, key RepositoryKey) error
	do    func(ctx context.Context, s *Store, key RepositoryKey) error // also by the next process, once more
	check func(ctx context.Context, s *Store, key RepositoryKey) error // after it was retried
}

func operations() []operation {
	a, b := newImage("a"), newImage("b")
	hosted, fill := RepositoryKey{GroupID: 1}, RepositoryKey{GroupID: 1, UpstreamID: 7, Epoch: 1}
	nothing := func(context.Context, *Store, RepositoryKey) error { return nil }
	pushA := func(ctx context.Context, s *Store, key RepositoryKey) error {
		_, err := push(ctx, s, key, a, "1")
		return err
	}
	pushB := func(ctx context.Context, s *Store, key RepositoryKey) error {
		_, err := push(ctx, s, key, b, "1")
		return err
	}
	return []operation{
		{"push", hosted, nothing, pushA, tagIs(a)},
		{"upload in pieces", hosted, nothing, uploadInPieces, nothing},
		{"upload at once", hosted, nothing, uploadAtOnce, nothing},
		{"tag move", hosted, pushA, pushB, tagIs(b)},
		{"fill", fill, nothing, func(ctx context.Context, s *Store, key RepositoryKey) error {
			if _, err := s.PutManifest(ctx, a.put(key, "1")); err != nil {
				return err
			}
			return pushA(ctx, s, key)
		}, tagIs(a)},
		{"delete", hosted, pushA, func(ctx context.Context, s *Store, key RepositoryKey) error {
			return deleteImage(ctx, s, key, a)
		}, gone(a)},
		{"collection", hosted, func(ctx context.Context, s *Store, key RepositoryKey) error {
			return errors.Join(pushA(ctx, s, key), deleteImage(ctx, s, key, a))
		}, func(ctx context.Context, s *Store, _ RepositoryKey) error {
			return collect(ctx, s, time.Now().Add(time.Hour))
		}, gone(a)},
		{"eviction", fill, pushA, func(ctx context.Context, s *Store, key RepositoryKey) error {
			id, err := s.RepositoryID(ctx, key)
			if err != nil && !errors.Is(err, ErrNotFound) { // collected with what it held
				return err
			}
			if err := s.EvictManifest(ctx, id, a.digest); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			return collect(ctx, s, time.Now().Add(time.Hour))
		}, gone(a)},
	}
}

// uploadInPieces sends a blob in requests of their own, the last of which also commits it.
func uploadInPieces(ctx context.Context, s *Store, key RepositoryKey) error {
	content := bytes.Repeat([]byte("0123456789"), 10)
	u, err := s.StartUpload(ctx, key)
	for at := 0; err == nil; at += 40 {
		last := min(at+40, len(content))
		if err = u.Append(ctx, int64(at), bytes.NewReader(content[at:last])); err != nil {
			break
		}
		if last == len(content) {
			_, err = u.Commit(ctx, digestOf(content))
			break
		}
		if err = u.Close(); err == nil {
			u, err = s.ResumeUpload(ctx, key, u.ID())
		}
	}
	if u != nil {
		err = errors.Join(err, u.Close())
	}
	return err
}

// uploadAtOnce sends and commits a blob in one request.
func uploadAtOnce(ctx context.Context, s *Store, key RepositoryKey) error {
	content := []byte("all at once")
	u, err := s.StartUpload(ctx, key)
	if err == nil {
		err = u.Close()
	}
	if err == nil {
		u, err = s.ResumeUpload(ctx, key, u.ID())
	}
	if err != nil {
		return err
	}
	err = u.Append(ctx, 0, bytes.NewReader(content))
	if err == nil {
		_, err = u.Commit(ctx, digestOf(content))
	}
	return errors.Join(err, u.Close())
}

func deleteImage(ctx context.Context, s *Store, key RepositoryKey, img image) error {
	id, err := s.RepositoryID(ctx, key)
	if err != nil {
		return err
	}
	if err := s.DeleteManifest(ctx, id, img.digest); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

func tagIs(img image) func(context.Context, *Store, RepositoryKey) error {
	return func(ctx context.Context, s *Store, key RepositoryKey) error {
		id, err := s.RepositoryID(ctx, key)
		if err != nil {
			return err
		}
		tag, err := s.Tag(ctx, id, "1")
		if err != nil {
			return err
		}
		_, blobErr := s.Blob(ctx, id, digestOf(img.layer))
		row, rowErr := s.db.Read().StatManifest(ctx, query.StatManifestParams{RepositoryID: id, Digest: oci.DigestBytes(img.digest)})
		if tag.Digest != img.digest || row.Platform == "" {
			return fmt.Errorf("tag %+v, image %+v", tag, row)
		}
		return errors.Join(blobErr, rowErr)
	}
}

func gone(img image) func(context.Context, *Store, RepositoryKey) error {
	return func(ctx context.Context, s *Store, key RepositoryKey) error {
		id, err := s.RepositoryID(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		_, tagErr := s.Tag(ctx, id, "1")
		if _, err := s.Manifest(ctx, id, img.digest); !errors.Is(err, ErrNotFound) || !errors.Is(tagErr, ErrNotFound) {
			return fmt.Errorf("the manifest or its tag is still here: %w", errors.Join(err, tagErr))
		}
		return nil
	}
}

func TestCrashes(t *testing.T) {
	run(t, Options{Grace: never}, func(t *testing.T, next *Store) {
		for _, op := range operations() {
			for name, point := range crashPoints {
				if _, inMemory := next.blobs.(*mem.Store); point.database == "" && inMemory {
					continue // where the bytes stand does not depend on the engine: once is enough
				}
				var used []RepositoryKey
				for step, crashed := 1, true; crashed; step++ {
					op.key.Name = fmt.Sprintf("crash/n%d", step)
					used = append(used, op.key)
					crashed = crashAt(t, next, op, point, step)
					if t.Failed() {
						t.Fatalf("%s, killed %s, step %d", op.name, name, step)
					}
				}
				emptyAll(t, next, used)
			}
		}
	})
}

// crashAt runs the operation in a process that dies at a step, and then everything that the next process does. It reports
// whether the process got as far as the step.
func crashAt(t *testing.T, next *Store, op operation, point crashPoint, step int) bool {
	t.Helper()
	ctx := t.Context()
	ok(t, op.setup(ctx, next, op.key))
	faulty := blobtest.NewFaulty(next.blobs)
	db := &crashing{database: next.db, blobs: faulty, moment: point.database}
	if point.database != "" {
		db.at = step
	} else {
		faulty.CrashAt(step, point.blobs)
	}
	victim := newStore(db, faulty, Options{Grace: never})
	err := op.do(ctx, victim, op.key)
	crashed := db.crashed()
	if !crashed && err != nil {
		t.Fatalf("%s: %v", op.name, err)
	}
	ok(t, victim.Close())
	sound(t, next, true)
	ok(t, op.do(ctx, next, op.key))
	ok(t, op.check(ctx, next, op.key))
	return crashed
}

// emptyAll deletes every manifest of the repositories, collects, and expects that nothing is left.
func emptyAll(t *testing.T, s *Store, keys []RepositoryKey) {
	t.Helper()
	ctx := t.Context()
	for _, key := range keys {
		for _, img := range []image{newImage("a"), newImage("b")} {
			if err := deleteImage(ctx, s, key, img); !errors.Is(err, ErrNotFound) {
				ok(t, err)
			}
		}
	}
	_, err := s.ExpireUploads(ctx, time.Now().Add(time.Hour))
	ok(t, err)
	ok(t, collect(ctx, s, time.Now().Add(time.Hour)))
	scrub(ctx, t, s)
	sound(t, s, false)
	if n := objects(t, s); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	for st, err := range s.blobs.Stages(ctx) {
		ok(t, err)
		t.Errorf("stage %s is left", st.ID)
	}
}

// scrub removes what crashes have left and no row names, as the collector's scrub does.
func scrub(ctx context.Context, t *testing.T, s *Store) {
	t.Helper()
	var garbage []blob.Info
	for info, err := range s.blobs.List(ctx, "", "") {
		ok(t, err)
		if named, err := s.HasKey(ctx, info.Key); !named {
			ok(t, err)
			garbage = append(garbage, info)
		}
	}
	for _, info := range garbage {
		ok(t, s.blobs.Delete(ctx, info.Key))
	}
	var stages []string
	for st, err := range s.blobs.Stages(ctx) {
		ok(t, err)
		if owned, err := s.HasStage(ctx, st.ID); !owned {
			ok(t, err)
			stages = append(stages, st.ID)
		}
	}
	for _, id := range stages {
		ok(t, s.blobs.DropStage(ctx, id))
	}
}

// TestAcknowledgedBytesSurviveACrash kills the process at each step of an upload: a session that exists then holds at least
// what was acknowledged, and can be finished.
func TestAcknowledgedBytesSurviveACrash(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10)
	run(t, Options{}, func(t *testing.T, next *Store) {
		ctx := t.Context()
		for _, point := range crashPoints {
			for step := 1; ; step++ {
				faulty := blobtest.NewFaulty(next.blobs)
				db := &crashing{database: next.db, blobs: faulty, moment: point.database}
				victim := newStore(db, faulty, Options{})
				u, err := victim.StartUpload(ctx, acme)
				ok(t, err)
				if point.database != "" {
					db.at = db.steps + step
				} else {
					faulty.CrashAt(step, point.blobs)
				}
				acknowledged := 0
				for at := 0; at < len(content) && err == nil; at += 25 {
					if err = u.Append(ctx, int64(at), bytes.NewReader(content[at:at+25])); err != nil {
						break
					}
					if err = u.Close(); err != nil {
						break
					}
					acknowledged = at + 25
					var next *Upload
					if next, err = victim.ResumeUpload(ctx, acme, u.ID()); err == nil {
						u = next
					}
				}
				_ = u.Close()
				crashed := db.crashed()
				ok(t, victim.Close())
				finish(t, next, u.ID(), content, acknowledged)
				if !crashed {
					break
				}
			}
		}
	})
}

func finish(t *testing.T, s *Store, id string, content []byte, acknowledged int) {
	t.Helper()
	ctx := t.Context()
	u, err := s.ResumeUpload(ctx, acme, id)
	ok(t, err)
	if u.Size() < int64(acknowledged) {
		t.Fatalf("%d bytes survive, %d were acknowledged", u.Size(), acknowledged)
	}
	ok(t, u.Append(ctx, -1, bytes.NewReader(content[u.Size():])))
	b, err := u.Commit(ctx, digestOf(content))
	ok(t, err)
	if b.Size != int64(len(content)) {
		t.Errorf("blob %+v", b)
	}
}

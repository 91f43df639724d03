package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
)

// compare walks rows and objects side by side, both in the order of keys.
func (r *run) compare(ctx context.Context) error {
	rows, objects := newStream(r.allBlobs(ctx)), newStream(r.blobs.List(ctx, "", ""))
	defer rows.stop()
	defer objects.stop()
	err := errors.Join(rows.advance(), objects.advance())
	for err == nil && (rows.more || objects.more) {
		row, object := rows.head, objects.head
		takeRow := rows.more && (!objects.more || row.Key <= object.Key)
		takeObject := objects.more && (!rows.more || object.Key <= row.Key)
		switch {
		case takeRow && takeObject:
			err = r.pair(ctx, row, object)
		case takeRow:
			err = r.rowAlone(ctx, row)
		default:
			err = r.objectAlone(ctx, object)
		}
		if takeRow && err == nil {
			r.sum.Blobs++
			r.sum.Bytes += row.Size
			r.tell()
			err = rows.advance()
		}
		if takeObject && err == nil {
			r.sum.Objects++
			err = objects.advance()
		}
	}
	return err
}

// stream is a sequence with its next element in sight.
type stream[T any] struct {
	next func() (T, error, bool)
	stop func()
	head T
	more bool
}

func newStream[T any](seq iter.Seq2[T, error]) *stream[T] {
	next, stop := iter.Pull2(seq)
	return &stream[T]{next: next, stop: stop}
}

func (s *stream[T]) advance() (err error) {
	s.head, err, s.more = s.next()
	return err
}

const pageSize = 1000

// allBlobs yields all blobs in the order of their keys, which is that of their digests: a key begins with its digest.
func (r *run) allBlobs(ctx context.Context) iter.Seq2[store.Blob, error] {
	return func(yield func(store.Blob, error) bool) {
		var after oci.Digest
		for {
			page, err := r.rows.BlobPage(ctx, after, pageSize)
			if err != nil {
				yield(store.Blob{}, err)
				return
			}
			for _, b := range page {
				if !yield(b, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after = page[len(page)-1].Digest
		}
	}
}

// rowAlone looks at a row whose object was not listed.
func (r *run) rowAlone(ctx context.Context, b store.Blob) error {
	info, err := r.blobs.Stat(ctx, b.Key)
	if err == nil { // stored after the listing had passed its place
		return r.pair(ctx, b, info)
	}
	if !errors.Is(err, blob.ErrNotFound) {
		return r.unreadable(ctx, b.Key, err)
	}
	return r.lost(ctx, b, MissingBytes, "no such object")
}

// unreadable reports an object that cannot be looked at; the others can, perhaps.
func (r *run) unreadable(ctx context.Context, key string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.found(Finding{Problem: store.Problem{Kind: Unreadable, Subject: key, Detail: err.Error()}, Advice: advice(Unreadable)})
	return nil
}

// pair looks at a row and its object.
func (r *run) pair(ctx context.Context, b store.Blob, object blob.Info) error {
	if object.Size != b.Size {
		return r.lost(ctx, b, WrongSize, fmt.Sprintf("the object has %d bytes, the row says %d", object.Size, b.Size))
	}
	if !r.o.Deep {
		return nil
	}
	digest, err := r.hash(ctx, b)
	if err == nil && digest != b.Digest {
		digest, err = r.hash(ctx, b) // a second look, before anything is thrown away for it
	}
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return r.lost(ctx, b, MissingBytes, "no such object")
	case err != nil:
		return r.unreadable(ctx, b.Key, err)
	case digest != b.Digest:
		return r.lost(ctx, b, WrongDigest, "the bytes have the digest "+string(digest))
	}
	return nil
}

func (r *run) hash(ctx context.Context, b store.Blob) (oci.Digest, error) {
	h, err := oci.NewHash(b.Digest.Algorithm())
	if err != nil {
		return "", err
	}
	content, err := r.blobs.Open(ctx, b.Key, 0, -1)
	if err != nil {
		return "", err
	}
	if content.Body == nil {
		return "", errors.New("the driver gives locations instead of bytes")
	}
	defer content.Body.Close()
	n, err := io.Copy(h, io.LimitReader(&cancelled{ctx, content.Body}, content.Length))
	if err == nil && n != content.Length {
		err = io.ErrUnexpectedEOF
	}
	return oci.SumDigest(b.Digest.Algorithm(), h), err
}

// cancelled is a reader that ends with its context: hashing a large object takes minutes.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// lost reports a blob whose bytes are missing or wrong, if its row still says so.
func (r *run) lost(ctx context.Context, b store.Blob, kind, detail string) error {
	current, err := r.rows.IsCurrent(ctx, b)
	if err != nil || !current {
		return err
	}
	f := Finding{Problem: store.Problem{Kind: kind, Subject: string(b.Digest), Detail: detail + " (" + b.Key + ")"}, Advice: advice(kind)}
	if r.o.DropLost {
		if err := r.rows.DropLost(ctx, b); err != nil {
			return err
		}
		f.Repaired = true
	}
	r.found(f)
	return nil
}

// objectAlone looks at an object whose row was not listed.
func (r *run) objectAlone(ctx context.Context, object blob.Info) error {
	_, made, err := blob.ParseKey(object.Key)
	if err != nil {
		return err
	}
	if r.o.Now().Sub(made) < r.o.Grace {
		return nil
	}
	named, err := r.rows.HasKey(ctx, object.Key) // a row that came after its page was read, or a doomed key
	if err != nil || named {
		return err
	}
	// A deleted object may be listed for a while.
	if _, err := r.blobs.Stat(ctx, object.Key); errors.Is(err, blob.ErrNotFound) {
		return nil
	} else if err != nil {
		return r.unreadable(ctx, object.Key, err)
	}
	f := Finding{Advice: advice(OrphanBytes), Problem: store.Problem{
		Kind: OrphanBytes, Subject: object.Key, Warning: true, // a crash leaves them
		Detail: fmt.Sprintf("%d bytes of %s", object.Size, made.UTC().Format(time.RFC3339)),
	}}
	if r.o.DropOrphans {
		if err := r.blobs.Delete(ctx, object.Key); err != nil {
			return err
		}
		f.Repaired = true
	}
	r.found(f)
	return nil
}

// stages looks for stages that nobody will go on with.
func (r *run) stages(ctx context.Context) error {
	for stage, err := range r.blobs.Stages(ctx) {
		if err != nil {
			return err
		}
		r.sum.Stages++
		if r.o.Now().Sub(stage.Modified) < r.o.Grace {
			continue
		}
		owned, err := r.rows.HasStage(ctx, stage.ID)
		if err != nil {
			return err
		}
		if owned {
			continue
		}
		f := Finding{Advice: advice(OrphanStage), Problem: store.Problem{
			Kind: OrphanStage, Subject: stage.ID, Warning: true, Detail: fmt.Sprintf("%d bytes", stage.Size),
		}}
		if r.o.DropOrphans {
			if err := r.blobs.DropStage(ctx, stage.ID); err != nil {
				return err
			}
			f.Repaired = true
		}
		r.found(f)
	}
	return nil
}

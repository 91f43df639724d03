package cache

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// follow makes the caller, who attached to t, a response of what rng selects.
func (e *Fills) follow(ctx context.Context, t *transfer, v view, rng registry.Range, status registry.CacheStatus) (*registry.Blob, registry.CacheStatus, error) {
	b := &registry.Blob{
		Descriptor: oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: t.fill.Expect.Digest, Size: v.total},
		Length:     v.total,
	}
	end := v.total
	if !rng.IsZero() {
		var err error
		if b.Offset, b.Length, err = rng.Resolve(v.total); err != nil {
			t.leave(ctx)
			return nil, "", err
		}
		end = b.Offset + b.Length
	}
	whole := b.Offset == 0 && end == v.total
	if b.Offset > v.size+farAhead {
		if release, ok := e.tryPass(); ok {
			t.leave(ctx)
			return e.passRange(ctx, t.fill, registry.Range{Offset: b.Offset, Length: b.Length}, release)
		}
	}
	if !whole {
		t.log.Debug("a range is served before the content is verified", "offset", b.Offset, "length", b.Length)
	}
	b.Body = &follower{t: t, ctx: ctx, whole: whole, offset: b.Offset, end: end}
	return b, status, nil
}

// follower is one client's reader of a growing spool. It costs no goroutine and no buffer: Read blocks until the spool has
// grown, and reads it at the client's own offset.
type follower struct {
	t      *transfer
	ctx    context.Context //nolint:containedctx // the request's: Read has no context of its own
	whole  bool            // the end is held back until the content is verified
	offset int64
	end    int64         // -1 = not known yet
	rest   io.ReadCloser // where to go on when the spool cannot be read any more
	closed bool
}

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for f.rest == nil {
		n, err := f.next(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	n, err := f.rest.Read(p)
	f.offset += int64(n)
	return n, err
}

// next reads from the spool, or waits for it, or finds the rest elsewhere: then it returns 0, nil.
func (f *follower) next(p []byte) (int, error) {
	t := f.t
	t.mu.Lock()
	if f.end < 0 && t.verified {
		f.end = t.total
	}
	end, limit, ph, spool := f.end, f.limit(), t.phase, t.spool
	var changed <-chan struct{}
	if f.offset >= limit && f.offset != end && ph == flowing {
		changed = t.waitLocked()
	}
	failure := t.err
	t.mu.Unlock()
	switch {
	case end >= 0 && f.offset >= end:
		return 0, io.EOF
	case ph == failed:
		return 0, fmt.Errorf("the transfer from the upstream failed: %w", failure)
	case ph == stored && spool == nil:
		return 0, f.fromStore()
	case f.offset < limit:
		return f.readSpool(spool, p[:min(int64(len(p)), limit-f.offset)], ph)
	case ph == detached:
		return 0, f.fromUpstream()
	}
	return 0, f.wait(changed)
}

// wait waits until the transfer has moved on.
func (f *follower) wait(changed <-chan struct{}) error {
	defer timed(registry.TraceFrom(f.ctx))()
	select {
	case <-changed:
		return nil
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

// limit is how far the client may read now. t.mu must be held.
func (f *follower) limit() int64 {
	t := f.t
	limit := t.size
	if f.whole && !t.verified && t.phase != detached {
		if t.total >= 0 {
			limit = min(limit, t.total-min(heldBack, t.total))
		} else {
			limit -= heldBack
		}
	}
	if f.end >= 0 {
		limit = min(limit, f.end)
	}
	return limit
}

// readSpool reads what has arrived. Some stages cannot be read any more once they are being committed: then the content
// is read from the store as soon as it is there.
func (f *follower) readSpool(s spool, p []byte, ph phase) (int, error) {
	n, err := s.ReadAt(p, f.offset)
	f.offset += int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case ph == stored:
		return 0, f.fromStore()
	case ph == detached:
		return 0, f.fromUpstream()
	}
	f.t.mu.Lock()
	if f.t.phase != flowing {
		f.t.mu.Unlock()
		return 0, nil // look again
	}
	if !f.t.verified {
		f.t.mu.Unlock()
		return 0, fmt.Errorf("read the spool: %w", err)
	}
	changed := f.t.waitLocked()
	f.t.mu.Unlock()
	return 0, f.wait(changed)
}

// fromStore goes on from the committed blob.
func (f *follower) fromStore() error {
	f.t.mu.Lock()
	b := f.t.blob
	f.t.mu.Unlock()
	if f.end < 0 {
		f.end = b.Size
	}
	content, err := f.t.engine.options.Store.OpenBlob(f.ctx, b, f.offset, f.end-f.offset)
	if err != nil {
		return fmt.Errorf("open blob %s: %w", b.Digest, err)
	}
	if content.Body == nil {
		return fmt.Errorf("open blob %s: the store gives a location, not bytes", b.Digest)
	}
	f.rest = content.Body
	return nil
}

// fromUpstream goes on without the store.
func (f *follower) fromUpstream() error {
	body, err := f.directBody()
	if err != nil {
		return err
	}
	f.t.engine.options.Metrics.Passed(f.t.fill.Name, f.t.reason)
	f.rest = body
	return nil
}

// directBody is the rest from the upstream. A whole response goes on hashing where the transfer ended; if the spool could not be
// read that far, it is all asked for again, because unverified bytes must not complete it.
func (f *follower) directBody() (io.ReadCloser, error) {
	t := f.t
	rng := registry.Range{Offset: f.offset}
	if f.end >= 0 {
		rng.Length = f.end - f.offset
	}
	switch {
	case !f.whole:
		return t.engine.passFrom(f.ctx, t.fill, rng, nil)
	case f.offset == t.sums.size:
		check, err := t.sums.clone()
		if err != nil {
			return nil, err
		}
		return t.engine.passFrom(f.ctx, t.fill, rng, check)
	}
	body, err := t.engine.passFrom(f.ctx, t.fill, registry.Range{}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, body, f.offset); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

// Close implements io.Closer. The transfer goes on without this client.
func (f *follower) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	var err error
	if f.rest != nil {
		err = f.rest.Close()
	}
	f.t.leave(f.ctx)
	return err
}

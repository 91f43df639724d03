package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

// Why content passed through uncached, as metric labels.
const (
	passRange  = "range"  // far ahead of the spool
	passFull   = "full"   // the device is full
	passBudget = "budget" // the group's bytes
	passStore  = "store"  // the store has trouble
)

// tryPass takes a place among the responses that pass through, if one is free.
func (e *Fills) tryPass() (release func(), ok bool) {
	select {
	case e.passes <- struct{}{}:
		return sync.OnceFunc(func() { <-e.passes }), true
	default:
		return nil, false
	}
}

// acquirePass waits for a place.
func (e *Fills) acquirePass(ctx context.Context) (release func(), err error) {
	timer := time.NewTimer(e.options.QueueWait)
	defer timer.Stop()
	select {
	case e.passes <- struct{}{}:
		return sync.OnceFunc(func() { <-e.passes }), nil
	case <-timer.C:
		return nil, tooMany(e.options.QueueWait)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// pass answers from the upstream alone and keeps nothing. A whole response is still verified.
func (e *Fills) pass(ctx context.Context, fill Fill, rng registry.Range, reason string) (*registry.Blob, registry.CacheStatus, error) {
	release, err := e.acquirePass(ctx)
	if err != nil {
		return nil, "", err
	}
	b, err := e.passing(ctx, fill, rng, release, nil)
	if err != nil {
		return nil, "", err
	}
	e.options.Metrics.Passed(fill.Name, reason)
	return b, registry.CachePass, nil
}

// passRange answers a range far ahead of the spool.
func (e *Fills) passRange(ctx context.Context, fill Fill, rng registry.Range, release func()) (*registry.Blob, registry.CacheStatus, error) {
	b, err := e.passing(ctx, fill, rng, release, nil)
	if err != nil {
		return nil, "", err
	}
	e.options.Metrics.Passed(fill.Name, passRange)
	e.options.Log.Debug("a range passes through", "upstream", fill.Name, "repository", fill.Repository, "content", fill.Path, "offset", rng.Offset)
	return b, registry.CachePass, nil
}

// passFrom is the rest of a response whose beginning came from a spool; check has hashed that, or is nil.
func (e *Fills) passFrom(ctx context.Context, fill Fill, rng registry.Range, check *sums) (io.ReadCloser, error) {
	release, err := e.acquirePass(ctx)
	if err != nil {
		return nil, err
	}
	b, err := e.passing(ctx, fill, rng, release, check)
	if err != nil {
		return nil, err
	}
	if b.Body == nil {
		return nil, errLocation
	}
	return b.Body, nil
}

// passing asks the upstream and wraps its answer: release is called when the body is closed, or at once on an error.
func (e *Fills) passing(ctx context.Context, fill Fill, rng registry.Range, release func(), check *sums) (*registry.Blob, error) {
	b, err := fill.Fetch(ctx, rng)
	if err != nil {
		release()
		return nil, err
	}
	if b.Body == nil { // a location: nothing passes through here
		release()
		return b, nil
	}
	if check == nil && rng.IsZero() {
		if check, err = newSums(fill.Expect); err != nil {
			release()
			return nil, errors.Join(err, b.Body.Close())
		}
	}
	body := &passingBody{source: b.Body, release: release, trace: registry.TraceFrom(ctx)}
	if err := body.align(b, rng); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	if check != nil {
		body.check, body.wrong = check, func(err *wrongError) {
			now := e.options.Now()
			e.wrong.put(fill.Identity, err.reason, now, now.Add(wrongFor))
		}
	}
	out := *b
	out.Body = body
	return &out, nil
}

// passingBody is a response on its way through. With check set it withholds the last heldBack bytes until all have been
// hashed and found right.
type passingBody struct {
	source  io.ReadCloser
	release func()
	trace   *registry.Trace
	left    int64 // bytes that may still come, -1 = to the source's end
	check   *sums
	wrong   func(*wrongError)

	buffer     []byte // bytes read and not given out, between first and last
	first, end int
	err        error // after the buffer
}

// align makes the body begin and end where rng wants it, should the upstream have sent more than that; it corrects b.
func (p *passingBody) align(b *registry.Blob, rng registry.Range) error {
	p.left = -1
	if rng.IsZero() {
		return nil
	}
	if rng.Offset < 0 {
		if b.Size < 0 {
			return nil
		}
		offset, length, err := rng.Resolve(b.Size)
		if err != nil {
			return err
		}
		rng = registry.Range{Offset: offset, Length: length}
	}
	if b.Offset > rng.Offset {
		return &wrongError{"the upstream began behind the range asked for"}
	}
	if skip := rng.Offset - b.Offset; skip > 0 {
		if _, err := io.CopyN(io.Discard, p.source, skip); err != nil {
			return fmt.Errorf("read up to the range: %w", errors.Join(errShort, err))
		}
		b.Offset = rng.Offset
		if b.Length >= 0 {
			b.Length -= skip
		}
	}
	if rng.Length > 0 {
		p.left = rng.Length
		if b.Size >= 0 {
			p.left = min(p.left, b.Size-b.Offset)
		}
		b.Length = p.left
	}
	return nil
}

// Read implements io.Reader.
func (p *passingBody) Read(out []byte) (int, error) {
	if p.check == nil {
		return p.plain(out)
	}
	if p.buffer == nil {
		p.buffer = make([]byte, 2*heldBack)
	}
	for p.err == nil && p.end-p.first <= heldBack {
		p.more()
	}
	ready := p.end - p.first
	switch {
	case p.err == nil:
		ready -= heldBack
	case p.err != io.EOF: //nolint:errorlint // set by more to io.EOF itself
		return 0, p.err // what is withheld stays withheld
	case ready == 0:
		return 0, io.EOF
	}
	n := copy(out, p.buffer[p.first:p.first+ready])
	p.first += n
	return n, nil
}

func (p *passingBody) plain(out []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if p.left > 0 {
		out = out[:min(int64(len(out)), p.left)]
	}
	stop := timed(p.trace)
	n, err := p.source.Read(out)
	stop()
	if p.left > 0 {
		p.left -= int64(n)
		if err == io.EOF && p.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// more reads once from the source; at its end it verifies.
func (p *passingBody) more() {
	if p.end == len(p.buffer) {
		p.end = copy(p.buffer, p.buffer[p.first:p.end])
		p.first = 0
	}
	n, err := p.plain(p.buffer[p.end:])
	_, _ = p.check.Write(p.buffer[p.end : p.end+n])
	p.end += n
	if err == io.EOF { //nolint:errorlint // io.Reader promises io.EOF itself
		if _, bad := p.check.check(); bad != nil {
			if w, ok := errors.AsType[*wrongError](bad); ok {
				p.wrong(w)
			}
			err = bad
		}
	}
	p.err = err
}

// Close implements io.Closer.
func (p *passingBody) Close() error {
	defer p.release()
	return p.source.Close()
}

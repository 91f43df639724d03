package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/store/blob"
)

var errShort = errors.New("the upstream's response ended early")

// receive reads the content to its end, taking a broken read up again where it broke.
func (t *transfer) receive(ctx context.Context) error {
	buffer := t.engine.buffer()
	t.buffer = *buffer
	defer func() {
		t.buffer = nil
		t.engine.buffers.Put(buffer)
	}()
	idle := 0 // tries in a row that brought nothing
	for !t.complete() {
		before := t.spool.size()
		err := t.read(ctx)
		if err == nil {
			continue
		}
		if t.spool.size() > before {
			idle = 0
		}
		idle++
		if !t.mayRetry(ctx, err, idle) {
			return err
		}
		t.resumes++
		t.log.Info("taking a broken upstream read up again", "offset", t.spool.size(), "try", idle, "error", err)
		if err := pause(ctx, retryDelay(err, idle)); err != nil {
			return err
		}
	}
	return nil
}

// buffer is one to read with. Small content comes in crowds: a buffer of its own for each would be most of what the server allocates.
func (f *Fills) buffer() *[]byte {
	if b, ok := f.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 128<<10)
	return &b
}

func (t *transfer) complete() bool {
	return t.ended || t.total >= 0 && t.spool.size() >= t.total
}

// mayRetry tells whether to ask again. An upstream that has not answered at all gets no second try: the client shall
// learn it at once.
func (t *transfer) mayRetry(ctx context.Context, err error, tries int) bool {
	_, isWrong := errors.AsType[*wrongError](err)
	_, isStore := errors.AsType[*storeError](err)
	if isWrong || isStore || ctx.Err() != nil || t.phase == waiting || tries > t.engine.options.Retries {
		return false
	}
	return registry.AsOutcome(err).Outcome == registry.Unknown
}

// retryDelay grows from 100 ms to 5 s; an upstream's own wish counts up to 10 s.
func retryDelay(err error, tries int) time.Duration {
	d := min(100*time.Millisecond<<min(tries-1, 6), 5*time.Second)
	if tries == 1 {
		d = 10 * time.Millisecond // it made progress: most likely a connection that was cut
	}
	return max(d, min(registry.AsOutcome(err).RetryAfter, 10*time.Second))
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errIdle = errors.New("the upstream sent nothing for too long")

// read takes one response of the upstream, from where the spool ends.
func (t *transfer) read(ctx context.Context) error {
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(t.engine.options.Idle, func() { cancel(errIdle) })
	defer watchdog.Stop()

	offset := t.spool.size()
	b, err := t.fill.Fetch(reading, registry.Range{Offset: offset})
	if err != nil {
		if offset > 0 && oci.ErrorCode(err) == oci.CodeRangeInvalid {
			return &wrongError{"the upstream has less content than it said"}
		}
		return err
	}
	if b.Body == nil {
		return &storeError{errLocation}
	}
	defer func() { _ = b.Body.Close() }()
	if err := t.begin(ctx, b); err != nil {
		return err
	}
	if err := t.skip(b, offset, watchdog); err != nil {
		return err
	}
	err = t.copy(ctx, b, watchdog)
	if err != nil && errors.Is(context.Cause(reading), errIdle) {
		err = errIdle
	}
	return err
}

// errLocation is the answer of a remote that sends its clients elsewhere: nothing to fill from.
var errLocation = errors.New("the upstream answered with a location")

// begin checks a response against what is known, and tells the clients when it is the first.
func (t *transfer) begin(ctx context.Context, b *registry.Blob) error {
	if b.Size >= 0 && t.total >= 0 && b.Size != t.total {
		return &wrongError{fmt.Sprintf("the upstream changed the content's size from %d to %d", t.total, b.Size)}
	}
	if want := t.fill.Expect.Size; want > 0 && b.Size >= 0 && b.Size != want {
		return &wrongError{fmt.Sprintf("the upstream offers %d bytes instead of %d", b.Size, want)}
	}
	if t.phase != waiting {
		return nil
	}
	if err := t.room(ctx, b.Size); err != nil {
		return &storeError{err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase = flowing
	if t.total < 0 {
		t.total = b.Size
	}
	t.broadcastLocked()
	return nil
}

// room tells why size more bytes (-1 = not known) cannot be kept.
func (t *transfer) room(ctx context.Context, size int64) error {
	o := &t.engine.options
	if o.Admit != nil && !o.Admit(ctx, t.fill.Group, size) {
		return errBudget
	}
	if o.Space == nil {
		return nil
	}
	free, err := o.Space(ctx)
	if err != nil {
		t.log.Warn("the free space is unknown", "error", err)
		return nil
	}
	if others := t.engine.coming(); free >= 0 && free-others-max(size-t.spool.size(), 0) < o.Floor {
		return fmt.Errorf("%d bytes free, %d to come beside %d of other transfers, %d must stay: %w", free, size, others, o.Floor, blob.ErrFull)
	}
	return nil
}

// skip reads past what is here already, when the upstream ignored the range and began earlier.
func (t *transfer) skip(b *registry.Blob, offset int64, watchdog *time.Timer) error {
	if b.Offset > offset {
		return &wrongError{"the upstream began behind the range asked for"}
	}
	for at := b.Offset; at < offset; {
		n, err := b.Body.Read(t.buffer[:min(int64(len(t.buffer)), offset-at)])
		watchdog.Reset(t.engine.options.Idle)
		at += int64(n)
		t.received += int64(n)
		if err != nil && at < offset {
			return fmt.Errorf("read past what is known: %w", errors.Join(errShort, err))
		}
	}
	return nil
}

// copy moves one response into the spool.
func (t *transfer) copy(ctx context.Context, b *registry.Blob, watchdog *time.Timer) error {
	for {
		n, readErr := b.Body.Read(t.buffer)
		watchdog.Reset(t.engine.options.Idle)
		t.received += int64(n)
		if t.total >= 0 && t.spool.size()+int64(n) > t.total {
			return &wrongError{fmt.Sprintf("the upstream sent more than the %d bytes it said", t.total)}
		}
		if n > 0 {
			if err := t.keep(ctx, t.buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case t.total >= 0 && t.spool.size() == t.total && (readErr != nil || b.Length >= 0):
			return nil //nolint:nilerr // all of it is here, even if the connection broke right behind the last byte
		case readErr == io.EOF && t.total < 0:
			t.ended = true
			return nil
		case readErr == io.EOF:
			return errShort
		case readErr != nil:
			return fmt.Errorf("read from the upstream: %w", readErr)
		}
	}
}

// keep appends p to the spool and shows it to the followers.
func (t *transfer) keep(ctx context.Context, p []byte) error {
	n, err := t.spool.append(ctx, p)
	_, _ = t.sums.Write(p[:n])
	t.advance(n)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &storeError{fmt.Errorf("write the spool: %w", err)}
	}
	return t.saveIfDue(ctx)
}

package store

import (
	"context"
	"sync/atomic"

	"github.com/weir-registry/weir/internal/store/meta"
)

// note is an event that waits for a change.
type note struct {
	event   meta.Event
	written atomic.Bool
}

type noteKey struct{}

// WithNote returns a context whose first change of a repository has another event in its transaction: of what takes many changes, or
// is more than the change tells of. Without a change there is no event.
func WithNote(ctx context.Context, group int64, kind, subject string, detail any) context.Context {
	return context.WithValue(ctx, noteKey{}, &note{event: meta.Event{GroupID: group, Kind: kind, Subject: subject, Detail: detail}})
}

// write writes what no transaction before has written.
func (n *note) write(ctx context.Context, c *change) error {
	if n == nil || n.written.Load() {
		return nil
	}
	return c.Event(ctx, n.event)
}

// committed is told that the transaction is done.
func (n *note) committed(err error) error {
	if n != nil && err == nil {
		n.written.Store(true)
	}
	return err
}

func noteFrom(ctx context.Context) *note {
	n, _ := ctx.Value(noteKey{}).(*note)
	return n
}

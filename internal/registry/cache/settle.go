package cache

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
)

// Settle waits while content is being transferred, until it is known whether it is kept: whoever has read it to its end may be a moment
// ahead of that.
func (r *Registry) Settle(ctx context.Context, repository string, digest oci.Digest) error {
	r.Fills.mu.Lock()
	t := r.Fills.transfers[r.identity(repository, digest)]
	r.Fills.mu.Unlock()
	for t != nil {
		t.mu.Lock()
		settled, changed := t.phase > flowing, t.waitLocked()
		t.mu.Unlock()
		if settled {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

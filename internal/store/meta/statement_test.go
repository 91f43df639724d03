package meta_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// Statements are prepared at their first use, which several may have at once, and some of them give up.
func TestFirstUses(t *testing.T) {
	t.Parallel()
	db := metatest.Open(t, meta.SQLite)
	if err := db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error { return tx.SetSetting(ctx, "x", "1") }); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if i%2 == 0 {
				if _, err := db.Read().GetSetting(gone, "x"); !errors.Is(err, context.Canceled) {
					t.Errorf("with a context that has ended: %v", err)
				}
				return
			}
			if value, err := db.Read().GetSetting(t.Context(), "x"); err != nil || value != "1" {
				t.Errorf("%q, %v", value, err)
			}
		})
	}
	all.Wait()
	if kept := meta.Kept(db); kept != 1 {
		t.Errorf("%d statements are kept, want 1", kept)
	}
}

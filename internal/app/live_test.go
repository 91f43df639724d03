package app

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/registry/assemble"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/store/meta"
)

// TestFollowMissesNothing: another replica may change the definitions between the first build and the moment that this one follows.
func TestFollowMissesNothing(t *testing.T) {
	db, err := meta.Open(t.Context(), meta.Options{Path: filepath.Join(t.TempDir(), "weir.db")})
	if err != nil {
		t.Fatal(err)
	}
	table := &namespace.Table{}
	l := newLive(db, assemble.New(assemble.Options{}), table, nil, slog.New(slog.DiscardHandler))
	if err := l.rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		return tx.SaveGroup(ctx, &meta.Group{Name: "acme", Enabled: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { l.follow(ctx) })
	for deadline := time.Now().Add(time.Minute); len(table.Current().Groups()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the change is not in force")
			break
		}
	}
	stop()
	wait.Wait()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

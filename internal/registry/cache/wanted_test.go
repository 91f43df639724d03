package cache_test

import (
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
)

// TestAskingKeepsFromEviction: nodes that hold an image ask with HEAD whether it is current, and fetch nothing. That must keep it in
// the cache for the next node; the question of an operator must not.
func TestAskingKeepsFromEviction(t *testing.T) {
	w := newWorld(t)
	digest := w.push(alpine, 1, "latest").Manifest.Digest
	w.ask(virtual.ModeGet, alpine, latest)
	id, err := w.store.RepositoryID(t.Context(), store.RepositoryKey{GroupID: w.group, UpstreamID: 2, Epoch: 1, Name: alpine})
	if err != nil {
		t.Fatal(err)
	}
	wanted := func() time.Time {
		t.Helper()
		list, err := w.store.EvictionCandidates(t.Context(), 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if m.Repository == id && m.Digest == digest {
				return m.LastPulled
			}
		}
		t.Fatal("the manifest cannot be evicted")
		return time.Time{}
	}
	pulled := wanted()
	w.ask(virtual.ModeProbe, alpine, latest)
	if at := wanted(); !at.Equal(pulled) {
		t.Errorf("a probe counts as use at %v, pulled at %v", at, pulled)
	}
	q := virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: alpine, Reference: latest, Refresh: true}
	if a := w.Ask(t.Context(), q); a.Cache != registry.CacheRevalidated {
		t.Errorf("a refresh answers %+v", a)
	}
	if at := wanted(); !at.Equal(pulled) {
		t.Errorf("a refresh counts as a pull at %v, pulled at %v", at, pulled)
	}
	w.ask(virtual.ModeHead, alpine, latest)
	if at := wanted(); !at.After(pulled) {
		t.Errorf("HEAD is no use: %v, pulled at %v", at, pulled)
	}
}

package meta_test

import (
	"context"
	"errors"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// write is a Write that must succeed.
func write(t *testing.T, db *meta.DB, fn func(ctx context.Context, tx *meta.Tx) error) {
	t.Helper()
	if err := db.Write(t.Context(), fn); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func set(t *testing.T, db *meta.DB, name, value string) {
	t.Helper()
	write(t, db, func(ctx context.Context, tx *meta.Tx) error { return tx.SetSetting(ctx, name, value) })
}

func wantSetting(t *testing.T, db *meta.DB, name, want string) {
	t.Helper()
	got, err := db.Setting(t.Context(), name)
	if want == "" && errors.Is(err, meta.ErrNotFound) {
		return
	}
	if err != nil || got != want {
		t.Errorf("setting %s is %q, %v; want %q", name, got, err, want)
	}
}

func TestSetting(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		wantSetting(t, db, "color", "")
		set(t, db, "color", "red")
		set(t, db, "color", "blue")
		wantSetting(t, db, "color", "blue")
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			got, err := tx.InitSetting(ctx, "color", "green")
			if got != "blue" {
				t.Errorf("InitSetting overwrote: %q", got)
			}
			return err
		})
	})
}

func TestEvent(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		var g meta.Group
		write(t, db, func(ctx context.Context, tx *meta.Tx) error {
			g = meta.Group{Name: "acme", Enabled: true}
			if err := tx.SaveGroup(ctx, &g); err != nil {
				return err
			}
			return tx.Event(ctx, meta.Event{GroupID: g.ID, Kind: "definition.added", ActorID: 7, Subject: "acme", Detail: map[string]int{"n": 1}, RequestID: "r"})
		})
		events, err := db.Read().ListEvents(t.Context(), query.ListEventsParams{GroupID: g.ID, ID: db.ID(), Limit: 10})
		if err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		if e := events[0]; e.Kind != "definition.added" || e.Detail != `{"n":1}` || e.ActorID != 7 || e.RequestID != "r" || e.At == 0 {
			t.Errorf("event %+v", e)
		}
		err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
			return tx.Event(ctx, meta.Event{GroupID: g.ID, Kind: "definition.adde", Subject: "acme"})
		})
		if err == nil {
			t.Error("an event of a kind that nobody could ask for")
		}
	})
}

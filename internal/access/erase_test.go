package access

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// A person that is erased leaves a number in the trail, and nothing anywhere that tells whose it was.
func TestErase(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		bob := w.user("bob", "", "reader@acme")
		from := event.WithActor(t.Context(), event.Actor{ID: bob.ID, Kind: "user", Address: "192.0.2.7"})
		if _, _, err := w.CreateToken(from, Actor{}, bob.ID, "laptop", w.Directory.now().Add(1e12), nil); err != nil {
			t.Fatal(err)
		}
		row := w.events(t)[0]
		if row.ActorID != bob.ID || row.ActorKind != "user" {
			t.Fatalf("%+v", row)
		}
		if address, err := w.db.Read().GetAddress(t.Context(), row.AddressID); err != nil || address != "192.0.2.7" {
			t.Fatal(address, err)
		}
		if err := w.DeleteUser(t.Context(), Actor{}, bob.ID, nil); err != nil {
			t.Fatal(err)
		}
		if actor, err := w.db.Read().GetActor(t.Context(), bob.ID); err != nil || actor.Name != "bob" {
			t.Error("a deleted user has lost its name:", actor, err)
		}
		again := w.user("bob", "", "reader@acme") // both are meant
		var ids []int64
		err := w.EraseUser(t.Context(), Actor{}, "bob", func(_ context.Context, _ *meta.Tx, id int64) error {
			ids = append(ids, id)
			return nil
		})
		if err != nil || len(ids) != 2 || ids[0] != bob.ID || ids[1] != again.ID {
			t.Fatal(ids, err)
		}
		if _, err := w.db.Read().GetActor(t.Context(), bob.ID); err == nil {
			t.Error("the name is still there")
		}
		if _, err := w.db.Read().GetAddress(t.Context(), row.AddressID); err == nil {
			t.Error("the address is still there")
		}
		for _, e := range w.events(t) {
			if strings.Contains(e.Subject+e.Detail, "bob") || strings.Contains(e.Subject+e.Detail, "192.0.2.7") {
				t.Errorf("an event tells who it was: %+v", e)
			}
		}
		if err := w.EraseUser(t.Context(), Actor{}, "bob", nil); !errors.Is(err, ErrNotFound) {
			t.Error("erased twice by name:", err)
		}
		if err := w.EraseUser(t.Context(), Actor{}, strconv.FormatInt(bob.ID, 10), nil); err != nil {
			t.Error("cannot be repeated by id:", err)
		}
	})
}

// events are the newest first.
func (w *world) events(t *testing.T) []query.Event {
	t.Helper()
	rows, err := w.db.Read().ListAllEvents(t.Context(), query.ListAllEventsParams{ID: 1 << 62, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

package access

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/event"
)

// told are the events since the last time, the oldest first: kind, group, who and from where, and the detail.
func (w *world) told(t *testing.T, seen *int64) (out []string) {
	t.Helper()
	rows := w.events(t)
	for _, e := range slices.Backward(rows) {
		if e.ID <= *seen {
			continue
		}
		group := "instance"
		for name, id := range w.group {
			if id == e.GroupID {
				group = name
			}
		}
		address := ""
		if e.AddressID != 0 {
			var err error
			if address, err = w.db.Read().GetAddress(t.Context(), e.AddressID); err != nil {
				t.Fatal(err)
			}
		}
		who := fmt.Sprint(e.ActorKind, " ", e.ActorID)
		out = append(out, strings.Join([]string{e.Kind, group, e.Subject, who, address, e.RequestID, e.Detail}, " | "))
	}
	*seen = rows[0].ID
	return out
}

// What a sign-in gives and takes is in the trail, where it counts, with who it was and from where.
func TestSignInLeavesEvents(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.user("root", "", "admin@")
		seen := w.events(t)[0].ID
		ctx := event.WithActor(t.Context(), event.Actor{Address: "192.0.2.9"})
		sign := func(grants ...Mapped) []string {
			t.Helper()
			p, err := w.SignIn(ctx, Identity{Provider: "corp", Issuer: "https://idp.test", Subject: "42", Name: "ann", Grants: grants}, "req")
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, line := range w.told(t, &seen) {
				out = append(out, strings.ReplaceAll(line, fmt.Sprint(p.ID), "N"))
			}
			return out
		}
		const from = " | user N | user N | 192.0.2.9 | req | "
		for i, step := range []struct {
			grants []Mapped
			want   []string
		}{
			{[]Mapped{{Role: Admin}, {Group: "acme", Path: "app", Role: Reader}, {Group: "nowhere", Role: Reader}}, []string{
				"user.created | instance" + from + `{"origin":"corp"}`,
				"grant.put | instance" + from + `{"after":"admin","before":null,"origin":"corp","path":""}`,
				"grant.put | acme" + from + `{"after":"reader","before":null,"origin":"corp","path":"app"}`,
			}},
			{[]Mapped{{Role: Admin}, {Group: "acme", Path: "app", Role: Reader}}, nil},
			{[]Mapped{{Group: "acme", Path: "app", Role: Reader}, {Group: "acme", Path: "app", Role: Owner}}, []string{
				"grant.deleted | instance" + from + `{"after":null,"before":"admin","origin":"corp","path":""}`,
				"grant.put | acme" + from + `{"after":"owner","before":"reader","origin":"corp","path":"app"}`,
			}},
			{nil, []string{"grant.deleted | acme" + from + `{"after":null,"before":"owner","origin":"corp","path":"app"}`}},
		} {
			if got := sign(step.grants...); !slices.Equal(got, step.want) {
				t.Errorf("sign-in %d leaves\n%s\nwant\n%s", i, strings.Join(got, "\n"), strings.Join(step.want, "\n"))
			}
		}
	})
}

// A user that goes takes grants with it: each is told where it was.
func TestDeletedUserLeavesEvents(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.user("root", "", "admin@")
		bob := w.user("bob", "", "reader@", "owner@acme/app")
		seen := w.events(t)[0].ID
		if err := w.DeleteUser(t.Context(), Actor{RequestID: "req"}, bob.ID, nil); err != nil {
			t.Fatal(err)
		}
		from := fmt.Sprintf(" | user %d | server 0 |  | req | ", bob.ID)
		want := []string{
			"grant.deleted | instance" + from + `{"after":null,"before":"reader","path":""}`,
			"grant.deleted | acme" + from + `{"after":null,"before":"owner","path":"app"}`,
			"user.deleted | instance" + from + `{"after":null,"before":{"disabled":false,"grants":[` +
				`{"group":"","origin":"","path":"","role":"reader"},{"group":"acme","origin":"","path":"app","role":"owner"}]}}`,
		}
		if got := w.told(t, &seen); !slices.Equal(got, want) {
			t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

package static_test

import (
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/credential/static"
)

// While the overlap lasts, the previous secret takes over where the present one is refused, which is tried again every minute.
func TestRotated(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := static.Rotated("ci", credential.NewSecret("new"), credential.NewSecret("old"), now.Add(time.Hour), func() time.Time { return now })
	login := func(want string) credential.Login {
		t.Helper()
		l, err := s.Login(t.Context(), credential.Target{})
		if err != nil || l.Username != "ci" || l.Password.Reveal() != want {
			t.Errorf("%s %q %v, want %s", l.Username, l.Password.Reveal(), err, want)
		}
		return l
	}
	rejected := func(l credential.Login, want bool) {
		t.Helper()
		if got := s.Rejected(t.Context(), credential.Target{}, l); got != want {
			t.Errorf("another try makes sense: %v, want %v", got, want)
		}
	}
	rejected(login("new"), true)
	login("old")
	now = now.Add(20 * time.Second)
	rejected(login("old"), true) // the provider has the new one at last
	login("new")
	now = now.Add(10 * time.Second)
	login("new")
	now = now.Add(time.Hour / 2)
	rejected(login("new"), true)
	rejected(login("old"), false) // both at once
	login("new")
	now = now.Add(time.Minute)
	rejected(login("new"), true)
	now = now.Add(20 * time.Second)
	rejected(login("old"), true)
	rejected(login("new"), false) // both at once, and the old one had been good
	login("old")
	now = now.Add(time.Minute)
	fresh := login("new")
	rejected(fresh, true)
	if !s.UsesPrevious() || s.PreviousWorks() {
		t.Error("the previous secret is not used, or works before it was tried")
	}
	s.Accept(login("old"))
	if !s.PreviousWorks() || s.Accepted() {
		t.Error("the previous secret does not work, or the present one does")
	}
	now = now.Add(time.Hour)
	rejected(login("new"), false)
	login("new")
	if s.UsesPrevious() || s.PreviousWorks() {
		t.Error("the previous secret is used for ever")
	}
	if s.Accept(login("new")); !s.Accepted() {
		t.Error("the present secret was accepted")
	}
}

package static_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/credential/static"
)

func TestLogin(t *testing.T) {
	for given, want := range map[string]string{
		"ci":      "ci",
		"":        "",
		"<token>": "", // an identity token has no user
	} {
		s := static.New(given, credential.NewSecret("s3cret"))
		l, err := s.Login(t.Context(), credential.Target{Host: "registry.test"})
		if err != nil || l.Username != want || l.Password.Reveal() != "s3cret" || l.Basic {
			t.Errorf("username %q: %+v, %v", given, l, err)
		}
		if s.Rejected(t.Context(), credential.Target{}, l) {
			t.Error("a typed login does not get better by asking again")
		}
	}
}

// TestFingerprint: tokens of one login must never be found by another.
func TestFingerprint(t *testing.T) {
	a, b := static.New("ci", credential.NewSecret("old")), static.New("ci", credential.NewSecret("new"))
	if a.Fingerprint() == b.Fingerprint() {
		t.Errorf("fingerprints %q and %q", a.Fingerprint(), b.Fingerprint())
	}
}

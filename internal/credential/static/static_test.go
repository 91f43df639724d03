package static_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/credential/static"
)

func newSource(t *testing.T, o static.Options) *static.Source {
	t.Helper()
	s, err := static.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		given, want string
	}{
		{"ci", "ci"},
		{"", ""},
		{"<token>", ""}, // an identity token has no user
	} {
		s := newSource(t, static.Options{Username: c.given, Password: credential.NewSecret("s3cret")})
		l, err := s.Login(t.Context(), credential.Target{Host: "registry.test"})
		if err != nil || l.Username != c.want || l.Password.Reveal() != "s3cret" || l.Basic {
			t.Errorf("username %q: %+v, %v", c.given, l, err)
		}
		if s.Rejected(t.Context(), credential.Target{}, l) {
			t.Error("a typed login does not get better by asking again")
		}
	}
	if _, err := static.New(static.Options{Username: "ci"}); !errors.Is(err, static.ErrNoSecret) {
		t.Errorf("no password: %v", err)
	}
}

// TestFingerprint: it changes with user, password and key, and with nothing else, and holds none of them.
func TestFingerprint(t *testing.T) {
	seen := map[string]string{}
	for _, o := range []static.Options{
		{Username: "ci", Password: credential.NewSecret("s3cret"), Key: []byte("k")},
		{Username: "ci", Password: credential.NewSecret("s3cret2"), Key: []byte("k")},
		{Username: "cis", Password: credential.NewSecret("3cret"), Key: []byte("k")},
		{Username: "ci", Password: credential.NewSecret("s3cret"), Key: []byte("l")},
	} {
		f := newSource(t, o).Fingerprint()
		if f != newSource(t, o).Fingerprint() {
			t.Errorf("%v: two fingerprints", o)
		}
		if strings.Contains(f, "s3cret") || seen[f] != "" {
			t.Errorf("fingerprint %q of %v is that of %s, or tells the secret", f, o, seen[f])
		}
		seen[f] = fmt.Sprint(o)
	}
}

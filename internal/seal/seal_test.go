package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var place = Place{Table: "credentials", Row: 7, Group: 3, Field: "secret", Version: 1}

func newTestSealer(t *testing.T) *Sealer {
	t.Helper()
	s, _, err := OpenFile(filepath.Join(t.TempDir(), "keys", "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealBindsThePlace(t *testing.T) {
	s := newTestSealer(t)
	sealed, err := s.Seal(place, []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatal("the secret shows")
	}
	got, err := s.Open(place, sealed)
	if err != nil || string(got) != "hunter2" {
		t.Fatalf("%q, %v", got, err)
	}
	for name, other := range map[string]Place{
		"table":   {"signing_keys", 7, 3, "secret", 1},
		"row":     {"credentials", 8, 3, "secret", 1},
		"group":   {"credentials", 7, 4, "secret", 1},
		"field":   {"credentials", 7, 3, "username", 1},
		"version": {"credentials", 7, 3, "secret", 2},
		"shifted": {"credentials", 73, 0, "secret", 1},
	} {
		if _, err := s.Open(other, sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := s.Open(place, changed); !errors.Is(err, ErrSealed) || strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	if _, err := newTestSealer(t).Open(place, sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another keyset: %v", err)
	}
	if _, err := s.Open(place, nil); !errors.Is(err, ErrSealed) {
		t.Errorf("nothing: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	s := newTestSealer(t)
	fingerprint := func(s *Sealer, p Place, secret string) string {
		f, err := s.Fingerprint(p, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return string(f)
	}
	base := fingerprint(s, place, "a")
	next := place
	next.Version++
	if fingerprint(s, next, "a") != base {
		t.Error("the version changes it")
	}
	elsewhere := place
	elsewhere.Group++
	for name, f := range map[string]string{
		"secret": fingerprint(s, place, "b"), "group": fingerprint(s, elsewhere, "a"), "keyset": fingerprint(newTestSealer(t), place, "a"),
	} {
		if f == base {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
}

func TestRotationKeepsWhatWasSealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	before, created, err := OpenFile(path)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	old, _ := before.Seal(place, []byte("old"))
	mark, _ := before.Fingerprint(place, []byte("old"))
	if err := RotateFile(path); err != nil {
		t.Fatal(err)
	}
	after, created, err := OpenFile(path)
	if err != nil || created {
		t.Fatal(created, err)
	}
	if got, err := after.Open(place, old); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	if again, _ := after.Fingerprint(place, []byte("old")); !bytes.Equal(mark, again) {
		t.Error("rotation changed a fingerprint")
	}
	fresh, _ := after.Seal(place, []byte("new"))
	if _, err := before.Open(place, fresh); !errors.Is(err, ErrSealed) {
		t.Error("the new key is not in use")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestExposedFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	if _, _, err := OpenFile(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenFile(path); !errors.Is(err, ErrExposed) {
			t.Errorf("%o: %v", mode, err)
		}
		if err := RotateFile(path); !errors.Is(err, ErrExposed) {
			t.Errorf("rotate %o: %v", mode, err)
		}
	}
}

func TestDamagedFileIsRefusedAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	for _, text := range []string{"", "{}", `{"weir_keyset":1,"seal":{"key":["topsecret"]},"fingerprint":{}}`, `{"weir_keyset": topsecret`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := OpenFile(path)
		if !errors.Is(err, ErrKeyset) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%q: %v", text, err)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("%q was replaced", text)
		}
	}
}

func TestServersStartingTogetherShareTheKeyset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "keyset.json")
	sealers, creators := make([]*Sealer, 8), make([]bool, 8)
	var wg sync.WaitGroup
	for i := range sealers {
		wg.Go(func() {
			var err error
			if sealers[i], creators[i], err = OpenFile(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	n := 0
	for i, s := range sealers {
		if creators[i] {
			n++
		}
		sealed, err := s.Seal(place, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sealers[0].Open(place, sealed); err != nil {
			t.Errorf("server %d: %v", i, err)
		}
	}
	if n != 1 {
		t.Errorf("%d servers say they made the keyset", n)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keyset-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestKeysetFromText(t *testing.T) {
	text, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(text)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := a.Seal(place, []byte("x"))
	rotated, err := Rotate(text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(rotated)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(place, sealed); err != nil {
		t.Error(err)
	}
}

package oci

import (
	"regexp"
	"strings"
	"testing"
)

// The specification's own expressions, as the model the hand-written parsers are checked against.
var (
	specName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	specTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func TestValidRepository(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "library/alpine": true, "a.b/c_d/e__f/g---h": true, "0/1": true,
		"": false, "/a": false, "a/": false, "a//b": false, "A": false, "a___b": false, "a..b": false, "-a": false, "a-": false,
		"a_": false, "a/.b": false, "a:b": false, "ä": false, "a b": false, "a/../b": false,
		strings.Repeat("a", 255): true, strings.Repeat("a", 256): false,
	} {
		if got := ValidRepository(name); got != want {
			t.Errorf("ValidRepository(%q) = %v", name, got)
		}
	}
}

func FuzzValidRepository(f *testing.F) {
	for _, s := range []string{"a", "a/b", "a__b", "a-_b", "library/alpine", "a/", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := len(s) <= MaxRepositoryLength && specName.MatchString(s) && !strings.Contains(s, "\n")
		if got := ValidRepository(s); got != want {
			t.Errorf("ValidRepository(%q) = %v, the specification says %v", s, got, want)
		}
	})
}

func FuzzValidTag(f *testing.F) {
	for _, s := range []string{"latest", "_", ".a", "v1.0-rc.1", "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := specTag.MatchString(s) && !strings.Contains(s, "\n")
		if got := ValidTag(s); got != want {
			t.Errorf("ValidTag(%q) = %v, the specification says %v", s, got, want)
		}
	})
}

package oci

import (
	"regexp"
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, repository, tag string
		want                     bool
	}{
		{"library/*", "library/alpine", "3", true},
		{"library/*", "library/a/b", "3", true},
		{"library/*", "xlibrary/a", "3", false},
		{"*:nightly", "a/b", "nightly", true},
		{"*:nightly", "a/b", "nightly2", false},
		{"*:*-alpha*", "x", "1.0-alpha.2", true},
		{"*:?.?", "x", "1.2", true},
		{"*:?.?", "x", "1.22", false},
		{"a", "A", "", false},
		{"*", "anything/at/all", "x", true},
		{"payments/api", "payments/api2", "1", false},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(c.repository, c.tag); got != c.want {
			t.Errorf("%q on %s:%s = %v", c.pattern, c.repository, c.tag, got)
		}
	}
}

func TestParsePattern(t *testing.T) {
	p, err := ParsePattern("localhost:5000/a")
	if err != nil || p.HasTag() || p.Repository != "localhost:5000/a" {
		t.Errorf("a port is not a tag: %+v, %v", p, err)
	}
	for _, s := range []string{"", ":x", "a:", "a b", "a\x00", strings.Repeat("*", MaxPatternLength+1)} {
		if _, err := ParsePattern(s); err == nil {
			t.Errorf("ParsePattern(%q) accepted", s)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("library/*", "library/alpine")
	f.Add("*a*b?c", "xxaxxbbc")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		p, err := ParsePattern(pattern)
		if err != nil || p.HasTag() || strings.ContainsFunc(s, func(r rune) bool { return r == '\n' || r > 0x7f || r == 0xfffd }) {
			return
		}
		if p.String() != pattern {
			t.Errorf("%q reads back as %q", pattern, p)
		}
		expr := "^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern)) + "$"
		if got, want := p.MatchRepository(s), regexp.MustCompile(expr).MatchString(s); got != want {
			t.Errorf("%q on %q = %v, want %v", pattern, s, got, want)
		}
	})
}

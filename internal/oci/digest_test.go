package oci

import (
	"strings"
	"testing"
)

func TestParseDigest(t *testing.T) {
	good := []string{"sha256:" + strings.Repeat("0a", 32), "sha512:" + strings.Repeat("ff", 64)}
	for _, s := range good {
		d, err := ParseDigest(s)
		if err != nil || string(d) != s {
			t.Errorf("ParseDigest(%q) = %q, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "sha256", "sha256:", "sha256:" + strings.Repeat("0A", 32), "sha256:" + strings.Repeat("0", 63),
		"sha512:" + strings.Repeat("0", 64), "md5:" + strings.Repeat("0", 32), "sha256:" + strings.Repeat("g", 64), "sha256::" + strings.Repeat("0", 63)} {
		if _, err := ParseDigest(s); err == nil {
			t.Errorf("ParseDigest(%q) accepted", s)
		}
	}
}

func TestDigestBytes(t *testing.T) {
	for _, alg := range []string{"a", "b"} {
		d := DigestOf(SHA256, []byte(alg))
		if alg == "b" {
			d = DigestOf(SHA512, []byte(alg))
		}
		back, err := DigestFromBytes(DigestBytes(d))
		if err != nil || back != d {
			t.Errorf("round trip of %s: %s, %v", d, back, err)
		}
	}
	for _, b := range [][]byte{nil, {1}, make([]byte, 33), append([]byte{2}, make([]byte, 32)...)} {
		if _, err := DigestFromBytes(b); err == nil {
			t.Errorf("DigestFromBytes(%x) accepted", b)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	f.Add("latest")
	f.Add("sha256:" + strings.Repeat("0", 64))
	f.Add("a:b")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err == nil && r.String() != s {
			t.Errorf("ParseReference(%q) reads back as %q", s, r)
		}
		if err == nil && r.IsDigest() == (r.Tag != "") {
			t.Errorf("ParseReference(%q) is neither or both: %+v", s, r)
		}
	})
}

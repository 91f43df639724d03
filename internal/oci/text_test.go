package oci_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/oci"
)

func TestValidText(t *testing.T) {
	for s, want := range map[string]bool{"": true, "a b\n": true, "é😀\u202e": true, "\x00": false, "a\x00b": false, "\xff": false, "\xed\xa0\x80": false} {
		if got := oci.ValidText(s); got != want {
			t.Errorf("ValidText(%q) = %t", s, got)
		}
	}
}

package oci

import (
	"strings"
	"unicode/utf8"
)

// ValidText reports whether s can be kept as a text: UTF-8 without NUL, which is all that every database takes. A door must ask it of
// whatever a client sent before that reaches a row.
func ValidText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

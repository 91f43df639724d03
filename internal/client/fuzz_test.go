package client_test

import (
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/client"
)

// No file may make the reader panic, and what it accepts it can write and read again.
func FuzzRead(f *testing.F) {
	f.Add("groups:\n  - name: a\n    upstreams: [{name: u, ca: {file: x}, freshness: {classes: [{pattern: \"*\", for: 1m}]}}]\n")
	f.Add("groups: [{name: a, credentials: [{password: {env: TOKEN}}, {password: 1}]}]\n---\ngroups: []\n")
	f.Add("groups: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		r := client.Reader{LookupEnv: lookup, Stdin: strings.NewReader(text)}
		d, err := r.Read([]string{"-"})
		if err != nil {
			return
		}
		if _, err := client.Write(d); err != nil {
			t.Errorf("cannot write what was read: %v", err)
		}
	})
}

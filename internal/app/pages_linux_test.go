package app

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const someMaps = `00400000-015e4000 r-xp 00000000 fe:00 1234                           /usr/bin/weir
Size:              18320 kB
Rss:               13520 kB
Anonymous:             0 kB
015e4000-028c2000 r--p 011e4000 fe:00 1234                               /usr/bin/weir
Rss:               13368 kB
Anonymous:             4 kB
028c2000-0297e000 rw-p 024c2000 fe:00 1234                               /usr/bin/weir
Rss:                 688 kB
Anonymous:             0 kB
02a00000-02a01000 r--p 00000000 fe:00 1235                               /usr/lib/other
Anonymous:             0 kB
268d3d000000-268d3f800000 r--p 00000000 00:00 0
Anonymous:             0 kB
`

// What has been written to, by relocations or a debugger, must keep its pages: the file has others.
func TestUnchangedMappings(t *testing.T) {
	got := unchanged(strings.NewReader(someMaps), "/usr/bin/weir")
	if want := []mapping{{0x400000, 0x15e4000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestReleaseProgram(t *testing.T) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if len(unchanged(strings.NewReader(string(smaps)), self)) == 0 {
		t.Errorf("no mapping of %s:\n%.2000s", self, smaps)
	}
	releaseProgram() // and the program goes on
}

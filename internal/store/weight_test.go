package store

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
)

// TestWeights compares what entries are said to cost with what the heap grows by: the bound of the memory is worth as much as that.
func TestWeights(t *testing.T) {
	const n = 20_000
	text := strings.Clone // as if it had come out of the database: nothing shared
	entries := map[string]func(d oci.Digest, i int) (itemKey, any){
		"tag": func(d oci.Digest, i int) (itemKey, any) {
			name := fmt.Sprintf("v1.%d.%d", i/10, i%10)
			return itemKey{ChangeTag, 1, text(name)}, &Tag{Name: text(name), Digest: d}
		},
		"manifest": func(d oci.Digest, _ int) (itemKey, any) {
			return itemKey{ChangeManifest, 1, string(d)}, &Manifest{Digest: d, MediaType: text(oci.MediaTypeImageManifest), Payload: make([]byte, 600)}
		},
		"link": func(d oci.Digest, _ int) (itemKey, any) {
			return itemKey{ChangeLink, 1, string(d)}, &Blob{Digest: d, Key: "sha256/00/" + string(d) + ".0123456789abcdef0123456789"}
		},
		"absent": func(d oci.Digest, _ int) (itemKey, any) { return itemKey{ChangeLink, 1, string(d)}, (*Blob)(nil) },
	}
	for what, entry := range entries {
		m := newMemory[itemKey](1<<40, weighItem, func() bool { return true })
		var weight int64
		before := heapInUse()
		for i := range n {
			key, value := entry(oci.DigestOf(oci.SHA256, fmt.Append(nil, what, i)), i)
			weight += int64(weighItem(key, value))
			m.cache.Set(key, value)
		}
		m.cache.CleanUp()
		cost := heapInUse() - before
		m.close()
		if cost < weight*3/4 || cost > weight*5/4 {
			t.Errorf("%s: an entry costs %d bytes, and weighs %d", what, cost/n, weight/n)
		} else {
			t.Logf("%s: an entry costs %d bytes, and weighs %d", what, cost/n, weight/n)
		}
		runtime.KeepAlive(m)
	}
}

func heapInUse() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // a heap
}

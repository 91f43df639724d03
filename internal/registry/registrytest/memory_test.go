package registrytest_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

func TestMemory(t *testing.T) {
	all := registrytest.Options{Push: true, Delete: true, Tags: true, Catalog: true, Referrers: true}
	registrytest.Run(t, all, func(t *testing.T, f registrytest.Fixture) registry.Registry {
		m := registrytest.NewMemory()
		f.PushTo(t, m)
		return m
	})
}

// TestRandomBlob: whatever the offset, generated content reads the same, and its digest is that of its bytes.
func TestRandomBlob(t *testing.T) {
	c := registrytest.RandomBlob(7, 3<<20+123)
	h := sha256.New()
	if n, err := io.Copy(h, c.Reader(0)); err != nil || n != c.Size {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	if got := oci.SumDigest(oci.SHA256, h); got != c.Digest {
		t.Errorf("digest of the bytes %s, want %s", got, c.Digest)
	}
	all := c.Bytes()
	for _, off := range []int64{1, 7, 1<<20 - 3, 1 << 20, 1<<20 + 5, 2<<20 + 1, c.Size - 1} {
		got, err := io.ReadAll(c.Reader(off))
		if err != nil || !bytes.Equal(got, all[off:]) {
			t.Errorf("bytes from %d differ (%v)", off, err)
		}
	}
}

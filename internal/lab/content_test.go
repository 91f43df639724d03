package lab_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/weir-registry/weir/internal/lab"
	"github.com/weir-registry/weir/internal/oci"
)

// TestRandomBlob: whatever the offset, generated content reads the same, and its digest is that of its bytes.
func TestRandomBlob(t *testing.T) {
	for _, c := range []lab.Content{lab.RandomBlob(7, 3<<20+123), lab.TarLayer(7, "data", 2<<20+77), lab.TarLayer(8, "empty", 0)} {
		h := sha256.New()
		if n, err := io.Copy(h, c.Reader(0)); err != nil || n != c.Size {
			t.Fatalf("read %d bytes: %v", n, err)
		}
		if got := oci.SumDigest(oci.SHA256, h); got != c.Digest {
			t.Errorf("digest of the bytes %s, want %s", got, c.Digest)
		}
		all := c.Bytes()
		for _, off := range []int64{1, 7, 511, 512, 1<<20 - 3, 1 << 20, 1<<20 + 5, 1<<20 + 511, 2<<20 + 1, c.Size - 1} {
			if off >= c.Size {
				continue
			}
			got, err := io.ReadAll(c.Reader(off))
			if err != nil || !bytes.Equal(got, all[off:]) {
				t.Errorf("bytes from %d differ (%v)", off, err)
			}
		}
	}
}

// TestTarLayer: a layer is an archive that a client can unpack.
func TestTarLayer(t *testing.T) {
	c := lab.TarLayer(3, "data", 5000)
	r := tar.NewReader(c.Reader(0))
	h, err := r.Next()
	if err != nil || h.Name != "data" || h.Size != 5000 {
		t.Fatalf("%+v, %v", h, err)
	}
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, lab.RandomBlob(3, 5000).Bytes()) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the file: %v", err)
	}
}

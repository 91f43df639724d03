package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"io"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/weir-registry/weir/internal/oci"
)

// TarLayer is a layer that clients can unpack: an uncompressed archive of one file of size bytes, which depends on seed alone.
func TarLayer(seed uint64, name string, size int64) Content {
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)})
	if err != nil {
		panic(err) // a short name and a size that is not negative always fit
	}
	const block = 512 // an archive ends with two empty ones
	tail := make([]byte, (block-size%block)%block+2*block)
	parts := &parts{bytes.NewReader(head.Bytes()), io.NewSectionReader(newGenerated(seed, size), 0, size), bytes.NewReader(tail)}
	c := Content{Descriptor: oci.Descriptor{MediaType: v1.MediaTypeImageLayer, Size: int64(head.Len()) + size + int64(len(tail))}, Source: parts}
	h := sha256.New()
	if _, err := io.Copy(h, c.Reader(0)); err != nil {
		panic(err) // nothing here can fail to be read
	}
	c.Digest = oci.SumDigest(oci.SHA256, h)
	return c
}

// parts are read one behind the other.
type parts []interface {
	io.ReaderAt
	Size() int64
}

// ReadAt implements io.ReaderAt.
func (ps *parts) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for _, part := range *ps {
		size := part.Size()
		if off < size && n < len(p) {
			want := min(int64(len(p)-n), size-off)
			m, err := part.ReadAt(p[n:n+int(want)], off)
			n, off = n+m, off+int64(m)
			if int64(m) < want {
				return n, err
			}
		}
		off -= size
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"

	"github.com/weir-registry/weir/internal/oci"
)

// Content is bytes of a known digest that can be read from any offset. Large content is generated while it is read and
// never held in memory as a whole.
type Content struct {
	oci.Descriptor
	Source io.ReaderAt
}

// Reader reads the content from offset to its end.
func (c Content) Reader(offset int64) io.Reader {
	return io.NewSectionReader(c.Source, offset, c.Size-offset)
}

// Bytes returns all of it; for content that fits in memory.
func (c Content) Bytes() []byte {
	b := make([]byte, c.Size)
	if _, err := c.Source.ReadAt(b, 0); err != nil && err != io.EOF {
		panic(err) // the sources of this package fail only beyond their end
	}
	return b
}

// BytesContent is the content b.
func BytesContent(mediaType string, b []byte) Content {
	return Content{
		Descriptor: oci.Descriptor{MediaType: mediaType, Digest: oci.DigestOf(oci.SHA256, b), Size: int64(len(b))},
		Source:     bytes.NewReader(b),
	}
}

// RandomBlob is size bytes that depend on seed alone. Making it hashes it once; it takes 1 MiB of memory whatever its size.
func RandomBlob(seed uint64, size int64) Content {
	g := newGenerated(seed, size)
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(g, 0, size)); err != nil {
		panic(err)
	}
	return Content{
		Descriptor: oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: oci.SumDigest(oci.SHA256, h), Size: size},
		Source:     g,
	}
}

const blockSize = 1 << 20

// generated is one random block repeated, with the number of the block in its first eight bytes so that no two are alike.
type generated struct {
	block []byte
	size  int64
}

func newGenerated(seed uint64, size int64) *generated {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	g := &generated{block: make([]byte, min(size, blockSize)), size: size}
	_, _ = rand.NewChaCha8(key).Read(g.block)
	return g
}

// ReadAt implements io.ReaderAt.
func (g *generated) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < g.size {
		number, at := off/blockSize, int(off%blockSize)
		end := int(min(int64(len(g.block)), g.size-number*blockSize))
		c := copy(p[n:], g.block[at:end])
		if number > 0 && at < 8 {
			var head [8]byte
			binary.LittleEndian.PutUint64(head[:], uint64(number))
			copy(p[n:n+c], head[at:min(8, end)])
		}
		n += c
		off += int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

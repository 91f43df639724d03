package distribution

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve"
)

func (c *call) blob() error {
	switch c.r.Method {
	case http.MethodDelete:
		if err := c.target.Registry.DeleteBlob(c.ctx(), c.target.Name, c.digest); err != nil {
			return err
		}
		return empty(c.w, http.StatusAccepted)
	case http.MethodHead:
		return c.headBlob()
	}
	return c.getBlob()
}

// headBlob answers HEAD.
func (c *call) headBlob() error {
	d, err := c.target.Registry.StatBlob(c.ctx(), c.target.Name, c.digest)
	if err != nil {
		return c.beforePush(err)
	}
	c.blobHeaders(d.Size)
	if notModified(c.r, c.digest) {
		return writeNotModified(c.w)
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) getBlob() error {
	rng, ranged, err := parseRange(c.r, c.digest)
	if err != nil {
		return c.badRange(err)
	}
	if c.r.Header.Get("If-None-Match") != "" && notModified(c.r, c.digest) {
		return c.headBlob() // nothing to open: either there is no such blob, or the client has it
	}
	b, err := c.target.Registry.Blob(c.ctx(), c.target.Name, c.digest, rng)
	if oci.ErrorCode(err) == oci.CodeRangeInvalid {
		return c.badRange(err)
	}
	if err != nil {
		return err
	}
	if b.Location != "" {
		traceHeaders(c.w, registry.TraceFrom(c.ctx()).Values())
		c.w.Header().Set("Location", b.Location)
		c.w.Header().Set("Docker-Content-Digest", string(c.digest))
		return empty(c.w, http.StatusTemporaryRedirect)
	}
	err = c.sendBlob(b, ranged)
	if cerr := b.Body.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close blob %s: %w", c.digest, cerr)
	}
	return err
}

// sendBlob writes status, headers and bytes. Once they are on their way, an error cuts the connection.
func (c *call) sendBlob(b *registry.Blob, ranged bool) error {
	size, status := b.Size, http.StatusOK
	switch {
	case !ranged || (b.Size == 0 && b.Offset == 0):
	case b.Length >= 0:
		status, size = http.StatusPartialContent, b.Length
	case b.Offset != 0:
		return oci.NewError(oci.CodeUnavailable, "the size of the blob is not known yet; try again")
	}
	c.blobHeaders(size)
	if status == http.StatusPartialContent {
		c.w.Header().Set("Content-Range", contentRange(b))
	}
	c.w.WriteHeader(status)
	n, err := c.copyBlob(b)
	if err != nil {
		return fmt.Errorf("send blob %s after %d bytes: %w", c.digest, n, err)
	}
	if b.Length >= 0 && n != b.Length {
		return fmt.Errorf("send blob %s: %w after %d of %d bytes", c.digest, io.ErrUnexpectedEOF, n, b.Length)
	}
	return nil
}

// copyBlob sends the bytes: those in memory together with the headers, a file by sendfile, and others as they come.
func (c *call) copyBlob(b *registry.Blob) (int64, error) {
	switch body := b.Body.(type) {
	case interface {
		io.WriterTo
		Len() int
	}:
		return body.WriteTo(c.w)
	case *os.File:
	default:
		// The first bytes of a fill may be long in coming; the client should know meanwhile that they will.
		_ = http.NewResponseController(c.w).Flush()
	}
	if b.Length < 0 {
		return io.Copy(c.w, b.Body)
	}
	return io.Copy(c.w, &io.LimitedReader{R: b.Body, N: b.Length})
}

func (c *call) blobHeaders(size int64) {
	traceHeaders(c.w, registry.TraceFrom(c.ctx()).Values())
	contentHeaders(c.w, oci.MediaTypeOctets, c.digest, size)
	serve.SetHeader(c.w, "X-Content-Type-Options", "nosniff") // its bytes are whatever was pushed
	serve.SetHeader(c.w, "Accept-Ranges", "bytes")
	// The bytes of a digest never change; private, because who may have them is decided per caller.
	serve.SetHeader(c.w, "Cache-Control", "private, max-age=31536000, immutable")
}

func contentRange(b *registry.Blob) string {
	total := "*"
	if b.Size >= 0 {
		total = strconv.FormatInt(b.Size, 10)
	}
	return fmt.Sprintf("bytes %d-%d/%s", b.Offset, b.Offset+b.Length-1, total)
}

// badRange answers 416 with the size in Content-Range; a blob that is not there is still 404.
func (c *call) badRange(cause error) error {
	d, err := c.target.Registry.StatBlob(c.ctx(), c.target.Name, c.digest)
	if err != nil {
		return err
	}
	if d.Size >= 0 {
		c.w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(d.Size, 10))
	}
	return cause
}

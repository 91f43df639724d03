package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// startUpload answers POST: a mount if it can be had, the whole blob if a digest is given, else a session. A mount that
// cannot be had, for whatever reason, becomes a session: the answer must not tell a missing source from a forbidden one.
func (c *call) startUpload() error {
	if c.mount != "" {
		mounted, err := c.mountBlob()
		if mounted || err != nil {
			return err
		}
	}
	up, err := c.target.Registry.StartUpload(c.ctx(), c.target.Name)
	if err != nil {
		return err
	}
	return c.with(up, func() error {
		if c.mount == "" && c.digest != "" {
			return c.monolithic(up)
		}
		c.sessionHeaders(up)
		return empty(c.w, http.StatusAccepted)
	})
}

// monolithic takes the blob from the POST itself. Nobody learns the session's id, so it must not outlive the request.
func (c *call) monolithic(up registry.Upload) error {
	err := c.append(up)
	if err == nil {
		return c.commit(up)
	}
	if cerr := up.Cancel(context.WithoutCancel(c.ctx())); cerr != nil {
		return fmt.Errorf("%w (and then cancel upload: %w)", err, cerr)
	}
	return err
}

// mountBlob links the blob from another repository that the caller may read. Without "from" there is nothing to check
// access against, and so nothing is mounted.
func (c *call) mountBlob() (bool, error) {
	if c.from == "" || !oci.ValidRepository(c.from) {
		return false, nil
	}
	source, rerr := c.Namespace.Resolve(c.ctx(), c.door(c.from))
	err := c.Access.Authorize(c.ctx(), Pull, source)
	if oci.ErrorCode(err) == oci.CodeUnauthorized && registry.CallerFrom(c.ctx()).PrincipalID != 0 {
		return false, c.refuse(err) // the caller may, and only needs a token that says so too
	}
	if err != nil || rerr != nil || source.Virtual != "" {
		return false, nil //nolint:nilerr // a mount that cannot be had becomes a session
	}
	err = c.link(source)
	switch {
	case err == nil:
		return true, c.created(c.mount)
	case absent(err), oci.ErrorCode(err) == oci.CodeUnsupported:
		return false, nil
	}
	return false, err
}

// Linker is a registry that can link a blob of another group's registry; the caller's right to read it there has been
// checked.
type Linker interface {
	LinkBlob(ctx context.Context, repository string, source registry.Registry, from string, digest oci.Digest) (oci.Descriptor, error)
}

func (c *call) link(source Target) error {
	var err error
	if source.Group == c.target.Group { // its hosted repositories are one registry
		_, err = c.target.Registry.MountBlob(c.ctx(), c.target.Name, source.Name, c.mount)
		return err
	}
	linker, ok := c.target.Registry.(Linker)
	if !ok {
		return registry.ErrUnsupported
	}
	_, err = linker.LinkBlob(c.ctx(), c.target.Name, source.Registry, source.Name, c.mount)
	return err
}

// session answers requests of an upload session.
func (c *call) session() error {
	up, err := c.target.Registry.ResumeUpload(c.ctx(), c.target.Name, c.request.upload)
	if err != nil {
		return err
	}
	return c.with(up, func() error {
		switch c.r.Method {
		case http.MethodPatch:
			return c.patch(up)
		case http.MethodPut:
			return c.finish(up)
		case http.MethodDelete:
			if err := up.Cancel(c.ctx()); err != nil {
				return err
			}
			c.w.WriteHeader(http.StatusNoContent)
			return nil
		}
		c.sessionHeaders(up)
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// with closes the session after do. A state that cannot be saved is worth an error only when nothing else went wrong.
func (c *call) with(up registry.Upload, do func() error) error {
	err := do()
	if cerr := up.Close(); err == nil && cerr != nil {
		return fmt.Errorf("close upload %s: %w", up.ID(), cerr)
	}
	return err
}

// patch acknowledges only what is durable, so it closes the session before it answers.
func (c *call) patch(up registry.Upload) error {
	if err := c.append(up); err != nil {
		return err
	}
	if err := up.Close(); err != nil {
		return fmt.Errorf("save upload %s: %w", up.ID(), err)
	}
	c.sessionHeaders(up)
	return empty(c.w, http.StatusAccepted)
}

func (c *call) finish(up registry.Upload) error {
	if c.request.digest == "" {
		return oci.NewError(oci.CodeDigestInvalid, "finish an upload with the parameter digest")
	}
	if err := c.append(up); err != nil {
		return err
	}
	return c.commit(up)
}

func (c *call) commit(up registry.Upload) error {
	d, err := up.Commit(c.ctx(), c.request.digest)
	if err != nil {
		return err
	}
	return c.created(d.Digest)
}

// append adds the body of the request. With Content-Range it must start where the session ends and have the length said;
// without, it is added at the end, as docker streams layers.
func (c *call) append(up registry.Upload) error {
	if c.r.ContentLength == 0 && c.r.Header.Get("Content-Range") == "" {
		return nil
	}
	offset, length := int64(-1), c.r.ContentLength
	if cr := c.r.Header.Get("Content-Range"); cr != "" {
		start, n, err := parseContentRange(cr)
		if err != nil || start != up.Size() {
			return c.outOfOrder(up)
		}
		if length >= 0 && length != n {
			return oci.NewError(oci.CodeSizeInvalid, "Content-Length and Content-Range speak of different lengths")
		}
		offset, length = start, n
	}
	tooLarge := oci.NewError(oci.CodeSizeInvalid, fmt.Sprintf("a blob may have at most %d bytes here", c.MaxBlob)).
		WithStatus(http.StatusRequestEntityTooLarge)
	if c.MaxBlob > 0 && max(0, length) > c.MaxBlob-up.Size() {
		return tooLarge
	}
	body := &clientBody{r: c.r.Body, left: length}
	if length < 0 {
		body.left = 1<<63 - 1
		if c.MaxBlob > 0 {
			body.left, body.over = c.MaxBlob-up.Size(), tooLarge
		}
	}
	err := up.Append(c.ctx(), offset, body)
	switch {
	case body.err != nil:
		return body.err
	case oci.ErrorCode(err) == oci.CodeRangeInvalid:
		return c.outOfOrder(up)
	case err != nil:
		return err
	case offset >= 0 && body.left > 0:
		return oci.NewError(oci.CodeSizeInvalid, "the body is shorter than its Content-Range says")
	}
	return nil
}

// outOfOrder answers 416 and says where to go on (distribution specification, "Pushing a blob in chunks").
func (c *call) outOfOrder(up registry.Upload) error {
	c.sessionHeaders(up)
	return oci.NewError(oci.CodeRangeInvalid, "the chunk does not begin where the upload ends; see the Range header")
}

// sessionHeaders say where the session is and how far it has come. Range is inclusive, so an empty session looks like one of
// one byte; Docker's registry began that, and clients know it.
func (c *call) sessionHeaders(up registry.Upload) {
	h := c.w.Header()
	h.Set("Location", c.location("blobs", "uploads", up.ID()))
	h.Set("Docker-Upload-UUID", up.ID())
	h.Set("Range", "0-"+strconv.FormatInt(max(0, up.Size()-1), 10))
}

func (c *call) created(d oci.Digest) error {
	c.w.Header().Set("Location", c.location("blobs", string(d)))
	c.w.Header().Set("Docker-Content-Digest", string(d))
	return empty(c.w, http.StatusCreated)
}

// clientBody reads at most left bytes and keeps apart what went wrong at the client's end.
type clientBody struct {
	r    io.Reader
	left int64
	over error // what to say when there are more; nil = extra bytes are a wrong length
	err  error
}

// Read implements io.Reader.
func (b *clientBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left == 0 {
		return 0, b.end()
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = clientError(err)
		err = b.err
	}
	return n, err
}

// end looks for a byte too many.
func (b *clientBody) end() error {
	var one [1]byte
	if n, _ := io.ReadFull(b.r, one[:]); n == 0 {
		return io.EOF
	}
	b.err = b.over
	if b.err == nil {
		b.err = oci.NewError(oci.CodeSizeInvalid, "the body is longer than was said")
	}
	return b.err
}

// clientError is for a body that could not be read: the client broke off, or sent nothing for too long.
func clientError(err error) error {
	return oci.NewError(oci.CodeSizeInvalid, "the request body broke off").WithCause(err)
}

package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Manifest implements registry.Reader. The payload is verified against the digest that was asked for, or that the upstream
// named.
func (r *Registry) Manifest(ctx context.Context, repository string, ref oci.Reference) (*registry.Manifest, error) {
	a, payload, err := r.read(ctx, manifestQuestion(http.MethodGet, repository, ref), oci.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	want := ref.Digest
	if want == "" {
		want, _ = oci.ParseDigest(a.Header.Get("Docker-Content-Digest"))
	}
	got := oci.DigestOf(oci.SHA256, payload)
	if want != "" {
		if got = oci.DigestOf(want.Algorithm(), payload); got != want {
			wrong := &registry.WrongBytesError{Want: want, Got: got}
			o := unknown(a.Response, "%v", wrong)
			o.Err = wrong
			return nil, o
		}
	}
	mediaType := mediaTypeOf(a.Response)
	if mediaType == "" {
		mediaType = payloadType(payload)
	}
	if mediaType == "" {
		return nil, unknown(a.Response, "the answer is not a manifest")
	}
	return &registry.Manifest{Descriptor: oci.Descriptor{MediaType: mediaType, Digest: got, Size: int64(len(payload))}, Payload: payload}, nil
}

// StatManifest implements registry.Reader. It asks with HEAD; where the answer lacks a part of the descriptor, or the
// upstream knows no HEAD, with GET.
func (r *Registry) StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	a, err := r.ask(ctx, manifestQuestion(http.MethodHead, repository, ref))
	if o, ok := errors.AsType[*registry.OutcomeError](err); ok && o.Outcome == registry.Unknown && headRefused(o.Status) {
		return r.statByGet(ctx, repository, ref)
	}
	if err != nil {
		return oci.Descriptor{}, err
	}
	_ = a.Close()
	d := oci.Descriptor{MediaType: mediaTypeOf(a.Response), Digest: ref.Digest, Size: a.ContentLength}
	said, err := oci.ParseDigest(a.Header.Get("Docker-Content-Digest"))
	if err == nil {
		if ref.IsDigest() && said.Algorithm() == ref.Digest.Algorithm() && said != ref.Digest {
			return oci.Descriptor{}, unknown(a.Response, "asked for %s, it answers with %s", ref.Digest, said)
		}
		if !ref.IsDigest() {
			d.Digest = said
		}
	}
	if d.Digest == "" || d.MediaType == "" || d.Size < 0 {
		return r.statByGet(ctx, repository, ref)
	}
	return d, nil
}

func (r *Registry) statByGet(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	m, err := r.Manifest(ctx, repository, ref)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return m.Descriptor, nil
}

func manifestQuestion(method, repository string, ref oci.Reference) question {
	return question{kind: KindManifest, method: method, repository: repository, path: "manifests/" + ref.String(), accept: oci.ManifestAccept}
}

// mediaTypeOf is the media type of an answer, empty if it says nothing about what the manifest is.
func mediaTypeOf(resp *http.Response) string {
	t, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch t = strings.TrimSpace(t); t {
	case "application/json", "text/plain", oci.MediaTypeOctets:
		return ""
	}
	return t
}

// payloadType is the media type that a manifest gives itself, or that its shape tells; empty if it is no manifest.
func payloadType(payload []byte) string {
	m, err := oci.ParseManifest("", payload)
	switch {
	case err != nil:
		return ""
	case m.MediaType != "":
		return m.MediaType
	case m.Config != nil:
		return oci.MediaTypeImageManifest
	case m.Children != nil:
		return oci.MediaTypeImageIndex
	}
	return ""
}

// StatBlob implements registry.Reader. A storage host may refuse HEAD where it would answer GET, because the URL is signed
// for one method, and an answer may lack the size: then the first byte is asked for, which tells it.
func (r *Registry) StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error) {
	d := oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: digest}
	a, err := r.ask(ctx, blobQuestion(http.MethodHead, repository, digest, registry.Range{}))
	if err == nil {
		_ = a.Close()
		if d.Size = a.ContentLength; d.Size >= 0 {
			return d, nil
		}
	} else if o := registry.AsOutcome(err); o.Outcome != registry.Unknown || !headRefused(o.Status) {
		return oci.Descriptor{}, err
	}
	b, err := r.Blob(ctx, repository, digest, registry.Range{Length: 1})
	if err != nil {
		if oci.ErrorCode(err) == oci.CodeRangeInvalid { // empty blobs have no first byte
			return d, nil
		}
		return oci.Descriptor{}, err
	}
	_ = b.Body.Close()
	if d.Size = b.Size; d.Size < 0 {
		return oci.Descriptor{}, unknown(nil, "%s does not tell the size of %s", r.base.Host, digest)
	}
	return d, nil
}

// headRefused reports a status that may be the method's fault.
func headRefused(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// Blob implements registry.Reader: one GET. The bytes are not verified. Size and Length are -1 where the upstream does not
// tell. Read errors of Body are outcomes too.
func (r *Registry) Blob(ctx context.Context, repository string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	a, err := r.ask(ctx, blobQuestion(http.MethodGet, repository, digest, rng))
	if err != nil {
		return nil, err
	}
	b := &registry.Blob{Descriptor: oci.Descriptor{MediaType: oci.MediaTypeOctets, Digest: digest}}
	switch a.StatusCode {
	case http.StatusPartialContent:
		err = partial(b, a, rng)
	case http.StatusRequestedRangeNotSatisfiable:
		_ = a.Close()
		return r.exactly(ctx, repository, digest, rng, a)
	default:
		err = whole(b, a, rng)
	}
	if err != nil {
		_ = a.Close()
		return nil, err
	}
	return b, nil
}

func blobQuestion(method, repository string, digest oci.Digest, rng registry.Range) question {
	q := question{kind: KindBlob, method: method, repository: repository, path: "blobs/" + string(digest)}
	switch {
	case rng.IsZero():
	case rng.Offset < 0:
		q.rng = fmt.Sprintf("bytes=%d", rng.Offset)
	case rng.Length > 0:
		q.rng = fmt.Sprintf("bytes=%d-%d", rng.Offset, rng.Offset+rng.Length-1)
	default:
		q.rng = fmt.Sprintf("bytes=%d-", rng.Offset)
	}
	return q
}

// whole reads an answer that holds everything. If a part was asked for, the rest is skipped: some upstreams ignore Range.
func whole(b *registry.Blob, a *answer, rng registry.Range) error {
	b.Size, b.Length = a.ContentLength, a.ContentLength
	skip := int64(0)
	if !rng.IsZero() {
		if b.Size < 0 {
			return unknown(a.Response, "it ignores Range and does not tell the size")
		}
		var err error
		if b.Offset, b.Length, err = rng.Resolve(b.Size); err != nil {
			return err
		}
		skip = b.Offset
	}
	b.Body = &content{answer: a, skip: skip, left: b.Length}
	return nil
}

// partial reads an answer that holds a part, which must be the one that was asked for.
func partial(b *registry.Blob, a *answer, rng registry.Range) error {
	c, ok := parseContentRange(a.Header.Get("Content-Range"))
	if !ok || c.first < 0 {
		return unknown(a.Response, "206 without a usable Content-Range")
	}
	from := rng.Offset
	if from < 0 {
		if c.size < 0 {
			return unknown(a.Response, "206 that does not tell the size")
		}
		from = max(0, c.size+rng.Offset)
	}
	length := c.last - c.first + 1
	if c.first != from || (a.ContentLength >= 0 && a.ContentLength != length) {
		return unknown(a.Response, "206 with another range than was asked for")
	}
	if rng.Length > 0 {
		length = min(length, rng.Length)
	}
	b.Size, b.Offset, b.Length = c.size, c.first, length
	b.Body = &content{answer: a, left: length}
	return nil
}

// exactly deals with a 416. Some upstreams send it for a range without an end, or with one beyond the blob's: unless it is
// plain that the range lies outside, they are asked again for the bytes there are.
func (r *Registry) exactly(ctx context.Context, repository string, digest oci.Digest, rng registry.Range, refused *answer) (*registry.Blob, error) {
	size := int64(-1)
	if c, ok := parseContentRange(refused.Header.Get("Content-Range")); ok {
		size = c.size
	} else if a, err := r.ask(ctx, blobQuestion(http.MethodHead, repository, digest, registry.Range{})); err == nil {
		_ = a.Close()
		size = a.ContentLength
	}
	if size < 0 {
		return nil, oci.NewError(oci.CodeRangeInvalid, "the requested range lies outside the blob")
	}
	exact := rng
	var err error
	if exact.Offset, exact.Length, err = rng.Resolve(size); err != nil {
		return nil, err
	}
	if exact == rng {
		return nil, unknown(refused.Response, "416 for a range that lies within the blob")
	}
	return r.Blob(ctx, repository, digest, exact)
}

// content is the part of an answer's body that was asked for.
type content struct {
	answer *answer
	skip   int64 // bytes to drop first
	left   int64 // bytes still to deliver; -1 = all there are
}

// Read implements io.Reader. Fewer bytes than announced are an error; what comes beyond them is not read.
func (c *content) Read(p []byte) (int, error) {
	if c.skip > 0 {
		n, err := io.CopyN(io.Discard, c.answer.Body, c.skip)
		if c.skip -= n; err != nil {
			return 0, c.short(err)
		}
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	if c.left > 0 && int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.answer.Body.Read(p)
	if c.left > 0 {
		c.left -= int64(n)
		if err == io.EOF && c.left > 0 {
			return n, c.short(err)
		}
	}
	return n, err
}

func (c *content) short(err error) error {
	if errors.Is(err, io.EOF) {
		return unknown(c.answer.Response, "the connection was closed before the answer was complete")
	}
	return err
}

// Close implements io.Closer.
func (c *content) Close() error { return c.answer.Close() }

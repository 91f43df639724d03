// Package registry is the seam of the house: the one contract that everything able to answer a registry question fulfils,
// hosted, cached, virtual or remote. The HTTP layer above does not know which of them it talks to.
//
// A kind of registry lives in a child package and passes the suite in registrytest. Wrappers embed Unimplemented, never the
// value they wrap, so that a method added later fails closed. No net/http type appears in this contract.
//
// Errors are *oci.Error (what a client may see), *OutcomeError (an answer of an upstream that is not "found"), context
// errors, or anything else, which a client sees as UNKNOWN with the request id.
package registry

import (
	"context"
	"io"

	"github.com/weir-registry/weir/internal/oci"
)

// Registry answers for any number of repositories. Repository names are local to it: the caller has taken off what
// selected the registry. All methods are safe for concurrent use.
type Registry interface {
	Reader
	Writer
	Deleter
	Lister

	unimplemented() // only Unimplemented provides it
}

// Reader is the pull half.
type Reader interface {
	// Manifest returns the manifest that ref names, payload included.
	// Errors: NAME_UNKNOWN, MANIFEST_UNKNOWN, DENIED, TOOMANYREQUESTS, UNAVAILABLE; *OutcomeError from a remote.
	Manifest(ctx context.Context, repository string, ref oci.Reference) (*Manifest, error)

	// StatManifest is Manifest without the payload; a cold cache asks its upstream with HEAD, never GET.
	StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error)

	// Blob returns the bytes of a blob that rng selects, or a location to fetch them from. The caller closes Body.
	// Errors: BLOB_UNKNOWN, RANGE_INVALID (with the size in Range's error detail), and those of Manifest.
	Blob(ctx context.Context, repository string, digest oci.Digest, rng Range) (*Blob, error)

	// StatBlob is Blob without the bytes.
	StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error)
}

// Writer is the push half.
type Writer interface {
	// PutManifest stores a manifest under ref, a tag or the digest of the payload, and under the tags beside it, all in one
	// transaction. Errors: MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN, DIGEST_INVALID, SIZE_INVALID, TAG_INVALID, UNSUPPORTED.
	PutManifest(ctx context.Context, repository string, ref oci.Reference, m PutManifest) (Put, error)

	// MountBlob links a blob of another repository of this registry into repository without moving bytes. from must be a
	// repository the caller may read: the layer above checks that. BLOB_UNKNOWN when from does not hold the blob.
	MountBlob(ctx context.Context, repository, from string, digest oci.Digest) (oci.Descriptor, error)

	// StartUpload opens an upload session; ResumeUpload continues one, after a restart too: BLOB_UPLOAD_UNKNOWN if it is not
	// one of repository's. The caller must Close what it got.
	StartUpload(ctx context.Context, repository string) (Upload, error)
	ResumeUpload(ctx context.Context, repository, id string) (Upload, error)
}

// Upload is one upload session in the hands of one request.
type Upload interface {
	ID() string
	Size() int64 // bytes appended so far

	// Append adds r at offset, which must equal Size, or -1 for "at the end": RANGE_INVALID otherwise. What arrived before
	// an error is kept and counted in Size, so that the client can go on from there.
	Append(ctx context.Context, offset int64, r io.Reader) error

	// Commit makes the bytes the blob digest, durable on return, links it into the repository and ends the session.
	// DIGEST_INVALID when the bytes have another digest; the session is ended then too.
	Commit(ctx context.Context, digest oci.Digest) (oci.Descriptor, error)

	// Cancel ends the session and drops its bytes.
	Cancel(ctx context.Context) error

	// Close frees what the request held. Of a session neither committed nor cancelled it saves what was appended, which may be
	// acknowledged to the client when Close returns nil. It may be called more than once.
	Close() error
}

// Deleter deletes. Deleting is real: the bytes follow when nothing else needs them.
type Deleter interface {
	// DeleteManifest deletes a tag (ref by tag; the manifest stays), or a manifest with every tag on it (ref by digest).
	DeleteManifest(ctx context.Context, repository string, ref oci.Reference) error
	// DeleteBlob unlinks a blob from the repository; UNSUPPORTED by DENIED when a manifest there still needs it.
	DeleteBlob(ctx context.Context, repository string, digest oci.Digest) error
}

// Lister lists in byte order of names.
type Lister interface {
	// Tags lists tags after page.Last. NAME_UNKNOWN when the repository does not exist.
	Tags(ctx context.Context, repository string, page Page) (*TagList, error)
	// Repositories lists repository names after page.Last.
	Repositories(ctx context.Context, page Page) (*RepositoryList, error)
	// Referrers lists the manifests whose subject is digest, all of artifactType if that is not empty. An empty list, not an
	// error, when there are none.
	Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*ReferrerList, error)
}

// Manifest is a manifest with its payload, byte for byte as it was pushed. Readers must not change Payload: it is shared.
type Manifest struct {
	oci.Descriptor // MediaType, Digest, Size (= len(Payload))
	Payload        []byte
}

// PutManifest is a manifest to store. Tags are set beside the reference of the URL (distribution specification 1.1,
// "tag" query parameters of a push by digest).
type PutManifest struct {
	MediaType string
	Payload   []byte
	Tags      []string
}

// Put is the answer to a push.
type Put struct {
	oci.Descriptor
	Subject oci.Digest // of the manifest, for OCI-Subject; empty if it has none
}

// Range selects bytes. The zero value is everything; Length 0 is "to the end"; a negative Offset is the last -Offset
// bytes, and Length must be 0 then.
type Range struct{ Offset, Length int64 }

// IsZero reports whether r selects everything.
func (r Range) IsZero() bool { return r == Range{} }

// Resolve turns r into an offset and a length within size bytes; RANGE_INVALID when it selects nothing.
func (r Range) Resolve(size int64) (offset, length int64, err error) {
	offset, length = r.Offset, r.Length
	if offset < 0 {
		offset = max(0, size+offset)
	}
	if offset > size || (offset == size && !r.IsZero()) || length < 0 {
		return 0, 0, oci.NewError(oci.CodeRangeInvalid, "the requested range lies outside the blob").WithDetail(map[string]int64{"size": size})
	}
	if length == 0 || length > size-offset {
		length = size - offset
	}
	return offset, length, nil
}

// Blob is content, or the place to fetch it from.
type Blob struct {
	oci.Descriptor               // Digest, MediaType (application/octet-stream if unknown); Size of the whole blob, -1 if not known yet
	Offset, Length int64         // what Body holds; Length -1 if not known yet
	Body           io.ReadCloser // nil when Location is set. An *os.File at Offset where it can be, so that it leaves by sendfile; a file may go on behind Length. One with Len() int is in memory
	Location       string        // URL to redirect to
}

// Page asks for up to N names after Last. N 0 is the registry's own maximum.
type Page struct {
	N    int
	Last string
}

// TagList is one page of tags; More says that another follows.
type TagList struct {
	Tags []string
	More bool
}

// RepositoryList is one page of repositories.
type RepositoryList struct {
	Repositories []string
	More         bool
}

// ReferrerList is the content of the referrers index.
type ReferrerList struct {
	Manifests []oci.Descriptor // with artifactType and annotations

	// Assumed says that a remote answered 404 to every way of asking: there are none, or it lacks the API, or what the list is
	// about is gone. Manifests is empty then.
	Assumed bool
}

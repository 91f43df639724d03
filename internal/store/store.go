// Package store is the only door to what Weir keeps: rows (store/meta) and bytes (store/blob), and the commit protocol
// over both. Packages registry/hosted, registry/cache and work call it.
//
// The protocol: bytes are durable first, then one transaction writes {blob row, links, manifest, tag, admission, event,
// change, gc candidates}. A crash anywhere leaves garbage that the collector finds, never a pointer to nothing.
// Transactions that link a blob and the one that collects it lock the blob's row.
//
// Reads of tags, manifests, links and repository ids are answered from memory where possible; the memory follows the change
// feed, and a replica that has fallen more than five seconds behind reads through. All methods are safe for concurrent use.
package store

import (
	"errors"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// Errors of a Store.
var (
	ErrNotFound = errors.New("not found")
	ErrInUse    = errors.New("still referenced")
	ErrMoved    = errors.New("the tag points elsewhere by now")
	ErrDigest   = errors.New("the bytes have another digest")
	ErrOffset   = errors.New("not at the end of the upload")
	ErrBusy     = errors.New("another request is working on the upload")
	ErrUploads  = errors.New("the group has as many unfinished uploads as it may")
)

// MissingError is returned by PutManifest. It lists what a pushed manifest refers to but its repository does not hold.
type MissingError struct {
	Blobs     []oci.Digest
	Manifests []oci.Digest
}

// Error implements error.
func (e *MissingError) Error() string {
	return "the manifest refers to content the repository does not hold"
}

// RepositoryKey names a repository. Hosted repositories have UpstreamID and Epoch 0.
type RepositoryKey struct {
	GroupID    int64
	UpstreamID int64
	Epoch      int64
	Name       string
	Format     string // "container" when empty
}

// Tag is a mutable reference to a manifest.
type Tag struct {
	Name      string
	Digest    oci.Digest
	CheckedAt time.Time // cached content: when the upstream last confirmed it
	UpdatedAt time.Time // when it last moved
}

// Manifest is a stored manifest.
type Manifest struct {
	Digest    oci.Digest
	MediaType string
	Payload   []byte // shared; must not be changed
	CreatedAt time.Time
}

// Blob is a blob linked into the repository it was looked up in.
type Blob struct {
	Digest oci.Digest
	Size   int64
	Key    string // of the bytes in the blob store
}

// Via is how a digest enters a repository.
type Via string

// Ways in. Children and blobs of an admitted manifest are admitted through their parents and need no record of their own.
// Referrers are admitted through their subject: the record's tag is the one that speaks of it, "sha256-<hex>", whether or not
// there is such a tag.
const (
	ViaTag     Via = "tag"
	ViaPush    Via = "push"
	ViaDigest  Via = "digest"
	ViaSubject Via = "subject" // the manifest names its subject; ends with the manifest
	ViaList    Via = "list"    // an upstream listed it as a referrer; ends with that list
)

// PutManifest is one manifest to store together with everything that belongs to it.
type PutManifest struct {
	Repository RepositoryKey // created if it does not exist
	Digest     oci.Digest    // of Payload; the caller has verified it
	MediaType  string
	Payload    []byte
	Manifest   *oci.Manifest // parsed Payload
	Tags       []string      // set to this manifest; each is admitted ViaTag
	Via        Via           // admission when Tags is empty
	CheckedAt  time.Time     // freshness of Tags: when the upstream was asked; zero for hosted content
	Strict     bool          // hosted push: refuse (*MissingError) when config, layers or children are not in the repository
	Sparse     bool          // with Strict: children of an index may be missing
}

// List is an upstream's answer to keep.
type List struct {
	Repository RepositoryKey // created if it does not exist
	Kind       string        // "tags", "referrers"
	Subject    oci.Digest    // of referrers
	Payload    []byte
	CheckedAt  time.Time
	Referrers  []oci.Digest // of Subject, each admitted ViaList until another list takes the place of this one
}

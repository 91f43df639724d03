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
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// Errors of a Store.
var (
	ErrNotFound = errors.New("not found")
	ErrInUse    = errors.New("still referenced")
	ErrDigest   = errors.New("the bytes have another digest")
	ErrOffset   = errors.New("not at the end of the upload")
	// MissingError is returned by PutManifest for references that are not in the repository.
)

// MissingError lists what a pushed manifest refers to but its repository does not hold.
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
const (
	ViaTag    Via = "tag"
	ViaPush   Via = "push"
	ViaDigest Via = "digest"
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
	CheckedAt  time.Time     // freshness of Tags; zero for hosted content
	Strict     bool          // hosted push: refuse (*MissingError) when config, layers or children are not in the repository
	Sparse     bool          // with Strict: children of an index may be missing
}

// Store is the door. Build one with New.
type Store struct {
	*state // see new.go
}

// Reads.

// RepositoryID returns the id of a repository; ErrNotFound. Existence is cached either way.
func (s *Store) RepositoryID(ctx context.Context, key RepositoryKey) (int64, error) {
	panic("unwritten")
}

// Tag returns a tag; ErrNotFound.
func (s *Store) Tag(ctx context.Context, repository int64, name string) (Tag, error) {
	panic("unwritten")
}

// Manifest returns a manifest; ErrNotFound.
func (s *Store) Manifest(ctx context.Context, repository int64, digest oci.Digest) (Manifest, error) {
	panic("unwritten")
}

// Blob returns a blob linked into the repository; ErrNotFound.
func (s *Store) Blob(ctx context.Context, repository int64, digest oci.Digest) (Blob, error) {
	panic("unwritten")
}

// KnownBlob returns a blob that any cached repository of the group links: a candidate for LinkBlob after the upstream has
// confirmed the digest under the new name. ErrNotFound.
func (s *Store) KnownBlob(ctx context.Context, group int64, digest oci.Digest) (Blob, error) {
	panic("unwritten")
}

// OpenBlob opens [offset, offset+length) of a blob; length -1 is "to the end". It follows a moved key once.
func (s *Store) OpenBlob(ctx context.Context, b Blob, offset, length int64) (blob.Content, error) {
	panic("unwritten")
}

// Reference returns the descriptor by which a manifest of the repository names digest (a child, config or layer); ErrNotFound.
func (s *Store) Reference(ctx context.Context, repository int64, digest oci.Digest) (oci.Descriptor, error) {
	panic("unwritten")
}

// Tags lists up to n tags after the name after, in byte order.
func (s *Store) Tags(ctx context.Context, repository int64, after string, n int) ([]string, error) {
	panic("unwritten")
}

// HostedRepositories lists up to n names of hosted repositories of a group after the name after, in byte order.
func (s *Store) HostedRepositories(ctx context.Context, group int64, after string, n int) ([]string, error) {
	panic("unwritten")
}

// Referrers lists manifests whose subject is digest, with artifact type and annotations, at most limit of them.
func (s *Store) Referrers(ctx context.Context, repository int64, digest oci.Digest, artifactType string, limit int) ([]oci.Descriptor, error) {
	panic("unwritten")
}

// Admissions yields the tags that admitted digest, directly or through a chain of parents, and "" once if it entered
// ViaPush or ViaDigest (itself or a parent). It yields nothing if digest was never admitted.
func (s *Store) Admissions(ctx context.Context, repository int64, digest oci.Digest) iter.Seq2[string, error] {
	panic("unwritten")
}

// List returns an upstream's cached answer (kind "tags" or "referrers") and when it was confirmed; ErrNotFound.
func (s *Store) List(ctx context.Context, repository int64, kind string, subject oci.Digest) (payload []byte, checkedAt time.Time, err error) {
	panic("unwritten")
}

// Writes. Each is one transaction with its event, change rows and gc candidates.

// PutManifest stores a manifest and moves its tags atomically. It returns the repository's id.
func (s *Store) PutManifest(ctx context.Context, p PutManifest) (int64, error) { panic("unwritten") }

// ConfirmTag restarts a cached tag's freshness: the upstream still names digest. It is cheap and may be batched.
func (s *Store) ConfirmTag(ctx context.Context, repository int64, name string, digest oci.Digest, at time.Time) error {
	panic("unwritten")
}

// Admit records that digest may be asked for in the repository (created if need be), before its bytes are here: a HEAD by
// tag tells containerd the digest it then GETs.
func (s *Store) Admit(ctx context.Context, key RepositoryKey, digest oci.Digest, via Via, tag string) error {
	panic("unwritten")
}

// LinkBlob links an existing blob into a repository (created if need be): a mount or a copy whose source the caller may
// read, or a digest an upstream has confirmed under this name. ErrNotFound when the blob is gone.
func (s *Store) LinkBlob(ctx context.Context, key RepositoryKey, digest oci.Digest) (Blob, error) {
	panic("unwritten")
}

// CommitBlob makes a stage's bytes the blob digest and links it. The caller has hashed every byte of the stage.
// It is idempotent: when the blob exists already the stage is dropped and the existing one is linked.
func (s *Store) CommitBlob(ctx context.Context, key RepositoryKey, stage blob.Stage, digest oci.Digest) (Blob, error) {
	panic("unwritten")
}

// PutList keeps an upstream's answer.
func (s *Store) PutList(ctx context.Context, key RepositoryKey, kind string, subject oci.Digest, payload []byte, at time.Time) error {
	panic("unwritten")
}

// DeleteTag removes a tag; ErrNotFound.
func (s *Store) DeleteTag(ctx context.Context, repository int64, name string) error {
	panic("unwritten")
}

// DeleteManifest removes a manifest and its tags; ErrNotFound.
func (s *Store) DeleteManifest(ctx context.Context, repository int64, digest oci.Digest) error {
	panic("unwritten")
}

// UnlinkBlob removes a blob from a repository; ErrInUse while a manifest there refers to it, ErrNotFound.
func (s *Store) UnlinkBlob(ctx context.Context, repository int64, digest oci.Digest) error {
	panic("unwritten")
}

// Stage begins staging bytes in the blob store, for a fill.
func (s *Store) Stage(ctx context.Context) (blob.Stage, error) { panic("unwritten") }

// ResumeStage continues a stage of an earlier process; blob.ErrNotFound.
func (s *Store) ResumeStage(ctx context.Context, id string, state []byte) (blob.Stage, error) {
	panic("unwritten")
}

// Pulled notes a pull of a manifest (and, through it, of its children): counted in memory, written in batches, flushed on Close.
func (s *Store) Pulled(repository int64, digest oci.Digest) { panic("unwritten") }

// StartUpload begins an upload session; ResumeUpload continues one of that repository, ErrNotFound.
func (s *Store) StartUpload(ctx context.Context, key RepositoryKey) (*Upload, error) {
	panic("unwritten")
}

// ResumeUpload continues a session, after a restart too.
func (s *Store) ResumeUpload(ctx context.Context, key RepositoryKey, id string) (*Upload, error) {
	panic("unwritten")
}

// Upload is one upload session; it implements registry.Upload but for the error types: ErrOffset, ErrDigest.
type Upload struct{}

// ID is the session's id.
func (u *Upload) ID() string { panic("unwritten") }

// Size is the number of bytes acknowledged.
func (u *Upload) Size() int64 { panic("unwritten") }

// Append adds r at offset (-1 = at the end); ErrOffset. What arrived before an error of r is kept.
func (u *Upload) Append(ctx context.Context, offset int64, r io.Reader) error { panic("unwritten") }

// Commit makes the bytes the blob digest and links it; ErrDigest ends the session too.
func (u *Upload) Commit(ctx context.Context, digest oci.Digest) (Blob, error) { panic("unwritten") }

// Cancel ends the session.
func (u *Upload) Cancel(ctx context.Context) error { panic("unwritten") }

// Close persists a session that goes on.
func (u *Upload) Close() error { panic("unwritten") }

package store

import (
	"context"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// CandidateKind says what a Candidate is.
type CandidateKind string

// Kinds of candidate and the method that decides on each.
const (
	CandidateBlob     CandidateKind = "blob"     // ReviewBlob
	CandidateManifest CandidateKind = "manifest" // ReviewManifest
	CandidateLink     CandidateKind = "link"     // ReviewLink
)

// Candidate is something a committed change might have orphaned.
type Candidate struct {
	Kind        CandidateKind
	Repository  int64 // 0 for a blob
	Digest      oci.Digest
	ReviewAfter time.Time
	Attempts    int
}

// DoomedKey is an object of the blob store whose row is gone. Its bytes may be deleted at any time.
type DoomedKey struct {
	Key       string
	CreatedAt time.Time
}

// Evictable is a cached manifest that the byte budget may take, with when it was last wanted.
type Evictable struct {
	Repository int64
	Digest     oci.Digest
	LastPulled time.Time // or when it was stored, if nobody has pulled it since
}

// ClaimCandidates returns up to n candidates whose time has come, the longest due first. It takes no lease: the job that
// collects has one, and every review decides again from the rows.
func (s *Store) ClaimCandidates(ctx context.Context, now time.Time, n int) ([]Candidate, error) {
	panic("unwritten")
}

// Postpone puts a candidate off until until and counts the attempt.
func (s *Store) Postpone(ctx context.Context, c Candidate, until time.Time) error {
	panic("unwritten")
}

// ReviewManifest removes the manifest if nothing needs it, writes candidates for what it alone needed, and forgets the
// candidate. One that is not old enough is put off instead, with collected false.
//
// A manifest is needed while a tag, an index of its repository or, for a referrer, its subject holds it. A hosted manifest
// without a subject is always kept: untagged content of people goes by their retention policy. A cached one goes when it has
// not been pulled for the grace period, unless a client asked for it by digest: then only the byte budget may evict it.
func (s *Store) ReviewManifest(ctx context.Context, repository int64, digest oci.Digest) (collected bool, err error) {
	panic("unwritten")
}

// ReviewLink removes the repository's link to a blob that no manifest there refers to and that is older than the grace
// period, and forgets the candidate. A younger one is put off.
func (s *Store) ReviewLink(ctx context.Context, repository int64, digest oci.Digest) (collected bool, err error) {
	panic("unwritten")
}

// ReviewBlob removes the blob's row if no repository links it and forgets the candidate. key is the object that may now be
// deleted; it is also written to the doomed keys in the same transaction, until ForgetDoomed.
func (s *Store) ReviewBlob(ctx context.Context, digest oci.Digest) (key string, collected bool, err error) {
	panic("unwritten")
}

// DoomedKeys lists up to n doomed keys, oldest first.
func (s *Store) DoomedKeys(ctx context.Context, n int) ([]DoomedKey, error) { panic("unwritten") }

// ForgetDoomed is called after the bytes of key were deleted.
func (s *Store) ForgetDoomed(ctx context.Context, key string) error { panic("unwritten") }

// HasKey reports whether a blob's row or a doomed key names the object. An object older than the grace period that nothing
// names is garbage of a crash.
func (s *Store) HasKey(ctx context.Context, key string) (bool, error) { panic("unwritten") }

// CachedBytes is the size of the blobs that cached repositories link, each counted once.
func (s *Store) CachedBytes(ctx context.Context) (int64, error) { panic("unwritten") }

// EvictionCandidates returns up to n cached manifests, least recently pulled first.
func (s *Store) EvictionCandidates(ctx context.Context, n int) ([]Evictable, error) {
	panic("unwritten")
}

// EvictManifest removes a cached manifest with its tags and the links that nothing else in its repository needs. What that
// orphans can be collected at once. ErrNotFound.
func (s *Store) EvictManifest(ctx context.Context, repository int64, digest oci.Digest) error {
	panic("unwritten")
}

// ExpireUploads ends up to 1000 upload sessions that nobody has touched since olderThan and returns how many it ended.
func (s *Store) ExpireUploads(ctx context.Context, olderThan time.Time) (int, error) {
	panic("unwritten")
}

// HasStage reports whether an upload session owns the stage. Stages nobody owns are garbage of a crash, or a fill's.
func (s *Store) HasStage(ctx context.Context, id string) (bool, error) { panic("unwritten") }

package store

import (
	"context"
	"fmt"
	"iter"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	admissionSample = 64  // enough for nearly every question: the first tag that passes ends it
	admissionPage   = 256 // of the whole list, for those that no early tag has answered; each page is four times the one before
)

// Admissions yields the tags that admitted digest, directly or through a chain of parents, and "" once if it entered
// ViaPush or ViaDigest (itself or a parent). It yields nothing if digest was never admitted.
//
// The nearest come first, and the rest is read only if the caller goes on, page by page, so that a digest which thousands of
// tags have admitted costs no more than the caller looks at.
func (s *Store) Admissions(ctx context.Context, repository int64, digest oci.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		d := oci.DigestBytes(digest)
		sample, err := s.db.Read().SampleAdmissions(ctx, query.SampleAdmissionsParams{RepositoryID: repository, Child: d, N: admissionSample})
		if err != nil {
			yield("", fmt.Errorf("find admissions of %s: %w", digest, err))
			return
		}
		seen := make(map[string]struct{}, len(sample))
		for _, tag := range sample {
			if _, again := seen[tag]; again {
				continue
			}
			seen[tag] = struct{}{}
			if !yield(tag, nil) {
				return
			}
		}
		if len(sample) == admissionSample {
			s.allAdmissions(ctx, repository, d, seen, yield)
		}
	}
}

// allAdmissions yields every tag but those in seen, in byte order. Each page walks up from the digest anew, so they grow: a long list
// takes few.
func (s *Store) allAdmissions(ctx context.Context, repository int64, digest []byte, seen map[string]struct{}, yield func(string, error) bool) {
	from := ""
	for n := int32(admissionPage); ; n *= 4 {
		tags, err := s.db.Read().ListAdmissions(ctx, query.ListAdmissionsParams{RepositoryID: repository, Child: digest, Tag: from, N: n})
		if err != nil {
			yield("", fmt.Errorf("list admissions: %w", err))
			return
		}
		for _, tag := range tags {
			if _, again := seen[tag]; !again && !yield(tag, nil) {
				return
			}
		}
		if len(tags) < int(n) {
			return
		}
		from = tags[len(tags)-1] + "\x01" // the least text after it, since PostgreSQL's has no \x00; no tag has either
	}
}

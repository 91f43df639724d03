package virtual

import (
	"context"
	"iter"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Member is what a virtual registry needs of a member beyond registry.Registry. Repository names in a Query are the
// member's own: normalised, without registry or host. Implementations: cache.Registry for remote upstreams, hosted.Member
// for local ones (behind a guard).
type Member interface {
	// Peek tells from the store alone, without any upstream traffic, what the member holds.
	Peek(ctx context.Context, q Query) (Peek, error)

	// Ask answers. In mode Get it transfers content, in Head it asks for descriptors only, in Probe it sends at most HEADs and
	// changes nothing in the store. For content it holds it serves fresh entries at once and revalidates stale ones.
	// Ask never returns an error beside the answer: trouble is an Unknown answer.
	Ask(ctx context.Context, q Query) Answer

	// Admissions yields the tags through which digest entered repository here, its parents' tags included, in no order,
	// each at least once. A digest that entered without a tag (push, digest-first) yields "" once. It yields nothing for
	// an unadmitted digest. A referrer is admitted through its subject: the referrers tag "sha256-<hex>" of a subject, whether
	// such a tag exists or not, is one of the tags of every manifest that has or was listed with that subject.
	Admissions(ctx context.Context, repository string, digest oci.Digest) iter.Seq2[string, error]
}

// Kind is what a query asks for.
type Kind uint8

// Kinds of query. Formats other than containers map onto the same: a mutable reference, immutable content, a list.
const (
	KindManifest  Kind = iota + 1 // by tag (mutable, fresh or stale) or by digest (immutable)
	KindBlob                      // by digest
	KindTags                      // the tag list
	KindReferrers                 // of a digest
)

// Mode is how far an Ask may go.
type Mode uint8

// Modes.
const (
	ModeGet   Mode = iota + 1 // content
	ModeHead                  // descriptor
	ModeProbe                 // as ModeHead, and nothing is kept
)

// Query is one question to one member.
type Query struct {
	Kind         Kind
	Mode         Mode
	Repository   string
	Reference    oci.Reference  // KindManifest: tag or digest; KindBlob, KindReferrers: digest
	Range        registry.Range // KindBlob, ModeGet
	Page         registry.Page  // KindTags
	ArtifactType string         // KindReferrers
	Refresh      bool           // revalidate although fresh (weir refresh)
}

// State is what a member's store holds for a query.
type State uint8

// States.
const (
	Nothing     State = iota // never heard of it
	Fresh                    // here, servable without asking
	Stale                    // here, to be revalidated first
	FreshAbsent              // known to be absent or denied: asked a moment ago, or a local member without it
	Referenced               // not here, but a manifest of the repository here names this digest
)

// Peek is the answer from the store alone.
type Peek struct {
	State    State
	Exists   bool             // local members: the repository exists, whatever the reference and whoever asks
	Covered  bool             // local members: the name is one of theirs, whether or not the repository exists
	Login    bool             // local members: Covered, and nobody is logged in who could be told more
	Answer   registry.Outcome // FreshAbsent: Absent or Denied, as the upstream said; Forbidden if it exists and the caller may not (local)
	Age      time.Duration    // Fresh, Stale: since the upstream confirmed it
	FreshFor time.Duration    // Fresh: how much longer; negative = for ever
	Digest   oci.Digest       // Fresh, Stale
	Reason   string
}

// Answer is a member's answer. Exactly the result that the query's kind and mode call for is set when Outcome is Found.
type Answer struct {
	Outcome    registry.Outcome
	Manifest   *registry.Manifest     // KindManifest, ModeGet
	Descriptor oci.Descriptor         // KindManifest and KindBlob, ModeHead and ModeProbe
	Blob       *registry.Blob         // KindBlob, ModeGet
	Tags       *registry.TagList      // KindTags
	Referrers  *registry.ReferrerList // KindReferrers

	Cache      registry.CacheStatus
	Age        time.Duration
	Status     int       // the upstream's HTTP status, 0 if it was not asked or did not answer
	Reason     string    // why not found, or why stale; safe for those who may see the upstream
	At         time.Time // when Reason came about, if it is remembered and nobody was asked now; else zero
	Limited    bool      // a rate limit is the cause
	RetryAfter time.Duration
	Err        error // RANGE_INVALID and the like, which the client must see as they are; and causes, for the log
}

// Failed turns an error of a Registry into an Answer.
func Failed(err error) Answer {
	o := registry.AsOutcome(err)
	return Answer{Outcome: o.Outcome, Status: o.Status, Reason: o.Reason, At: o.At, Limited: o.Limited, RetryAfter: o.RetryAfter, Err: err}
}

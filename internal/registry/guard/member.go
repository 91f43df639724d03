package guard

import (
	"context"
	"iter"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// Member is a guarded member of a virtual registry.
type Member struct {
	inner virtual.Member
	check Check
}

var _ virtual.Member = (*Member)(nil)

// NewMember guards m. The check sees the member's own names.
func NewMember(m virtual.Member, check Check) *Member { return &Member{inner: m, check: check} }

// refused asks whether the caller may read, and if not, what to answer: forbidden if the repository exists, else what the
// member says. A private name must never travel on to another upstream, and a name nobody has may. Whether a login could help
// is said of both alike.
func (g *Member) refused(ctx context.Context, q virtual.Query) (peek virtual.Peek, refused bool, err error) {
	refusal := g.check(ctx, Pull, q.Repository)
	if refusal == nil {
		return peek, false, nil
	}
	if registry.AsOutcome(forbid(refusal)).Outcome != registry.Forbidden {
		return peek, true, refusal
	}
	peek, err = g.inner.Peek(ctx, q)
	if err != nil {
		return peek, true, err
	}
	if peek.Exists || peek.State != virtual.FreshAbsent {
		peek = virtual.Peek{
			State: virtual.FreshAbsent, Exists: true, Covered: peek.Covered, Answer: registry.Forbidden,
			Reason: "the caller may not read this repository",
		}
	}
	peek.Login = peek.Covered && oci.ErrorCode(refusal) == oci.CodeUnauthorized
	return peek, true, nil
}

// Peek implements virtual.Member.
func (g *Member) Peek(ctx context.Context, q virtual.Query) (virtual.Peek, error) {
	peek, refused, err := g.refused(ctx, q)
	if refused {
		return peek, err
	}
	return g.inner.Peek(ctx, q)
}

// Ask implements virtual.Member.
func (g *Member) Ask(ctx context.Context, q virtual.Query) virtual.Answer {
	peek, refused, err := g.refused(ctx, q)
	switch {
	case !refused:
		return g.inner.Ask(ctx, q)
	case err != nil:
		return virtual.Answer{Outcome: registry.Unknown, Reason: "access could not be checked", Err: err}
	}
	return virtual.Answer{Outcome: peek.Answer, Reason: peek.Reason}
}

// Admissions implements virtual.Member; a caller who may not read learns of none.
func (g *Member) Admissions(ctx context.Context, repository string, digest oci.Digest) iter.Seq2[string, error] {
	if err := g.check(ctx, Pull, repository); err != nil {
		if registry.AsOutcome(forbid(err)).Outcome == registry.Forbidden {
			return func(func(string, error) bool) {}
		}
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return g.inner.Admissions(ctx, repository, digest)
}

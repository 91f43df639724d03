package hosted

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// Member is a local upstream: the hosted repositories below a prefix as a member of a virtual registry. It always knows. Put
// a guard around it, so that a caller's own grants count.
type Member struct {
	registry *Registry
	prefix   string
}

var _ virtual.Member = (*Member)(nil)

// NewMember returns the member of r for the repositories at and below prefix, a path relative to the group; empty is all of
// them. Names stay as they are in the group: with the prefix "payments", "payments/api" is the hosted repository
// "payments/api", and no other name is the member's.
func NewMember(r *Registry, prefix string) *Member { return &Member{registry: r, prefix: prefix} }

// covers reports whether a repository is at or below the prefix.
func (m *Member) covers(repository string) bool {
	return m.prefix == "" || repository == m.prefix || strings.HasPrefix(repository, m.prefix+"/")
}

// id returns the id of a repository of the member; NAME_UNKNOWN.
func (m *Member) id(ctx context.Context, repository string) (int64, error) {
	if !m.covers(repository) {
		return 0, errName
	}
	return m.registry.id(ctx, repository)
}

// Peek implements virtual.Member.
func (m *Member) Peek(ctx context.Context, q virtual.Query) (virtual.Peek, error) {
	_, err := m.id(ctx, q.Repository)
	switch {
	case errors.Is(err, errName):
		return virtual.Peek{
			State: virtual.FreshAbsent, Covered: m.covers(q.Repository), Answer: registry.Absent, Reason: "no such hosted repository",
		}, nil
	case err != nil:
		return virtual.Peek{}, err
	}
	if q.Kind == virtual.KindTags || q.Kind == virtual.KindReferrers {
		return virtual.Peek{State: virtual.Fresh, Exists: true, Covered: true, FreshFor: -1}, nil // perhaps an empty list, but a list
	}
	q.Mode = virtual.ModeProbe
	a := m.Ask(ctx, q)
	switch a.Outcome {
	case registry.Found:
		return virtual.Peek{State: virtual.Fresh, Exists: true, Covered: true, FreshFor: -1, Digest: a.Descriptor.Digest}, nil
	case registry.Absent:
		return virtual.Peek{State: virtual.FreshAbsent, Exists: true, Covered: true, Answer: registry.Absent, Reason: a.Reason}, nil
	}
	return virtual.Peek{}, a.Err
}

// Ask implements virtual.Member.
func (m *Member) Ask(ctx context.Context, q virtual.Query) virtual.Answer {
	if !m.covers(q.Repository) {
		return virtual.Failed(errName)
	}
	a, err := m.ask(ctx, q)
	if err != nil {
		return virtual.Failed(err)
	}
	a.Outcome, a.Cache = registry.Found, registry.CacheHit
	return a
}

func (m *Member) ask(ctx context.Context, q virtual.Query) (a virtual.Answer, err error) {
	switch q.Kind {
	case virtual.KindManifest:
		if q.Mode == virtual.ModeGet {
			a.Manifest, err = m.registry.Manifest(ctx, q.Repository, q.Reference)
		} else {
			a.Descriptor, err = m.registry.StatManifest(ctx, q.Repository, q.Reference)
		}
	case virtual.KindBlob:
		if q.Mode == virtual.ModeGet {
			a.Blob, err = m.registry.Blob(ctx, q.Repository, q.Reference.Digest, q.Range)
		} else {
			a.Descriptor, err = m.registry.StatBlob(ctx, q.Repository, q.Reference.Digest)
		}
	case virtual.KindTags:
		a.Tags, err = m.registry.Tags(ctx, q.Repository, q.Page)
	case virtual.KindReferrers:
		a.Referrers, err = m.registry.Referrers(ctx, q.Repository, q.Reference.Digest, q.ArtifactType)
	}
	return a, err
}

// Admissions implements virtual.Member.
func (m *Member) Admissions(ctx context.Context, repository string, digest oci.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		id, err := m.id(ctx, repository)
		if errors.Is(err, errName) {
			return
		}
		if err != nil {
			yield("", err)
			return
		}
		for tag, err := range m.registry.store.Admissions(ctx, id, digest) {
			if !yield(tag, err) {
				return
			}
		}
	}
}

package hosted

import (
	"context"
	"errors"
	"iter"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store"
)

// Member is a local upstream: the hosted repositories below a prefix as a member of a virtual registry. It always knows. Put
// a guard around it, so that a caller's own grants count.
type Member struct {
	registry *Registry
	prefix   string
}

var _ virtual.Member = (*Member)(nil)

// NewMember returns the member of r for the repositories below prefix, a path relative to the group; empty is all of them.
// The member's name "api" is the hosted repository "<prefix>/api".
func NewMember(r *Registry, prefix string) *Member { return &Member{registry: r, prefix: prefix} }

// Path returns the hosted repository, relative to the group, that the member's name stands for; for the guard around it.
func (m *Member) Path(name string) string {
	if m.prefix == "" {
		return name
	}
	return m.prefix + "/" + name
}

// Peek implements virtual.Member.
func (m *Member) Peek(ctx context.Context, q virtual.Query) (virtual.Peek, error) {
	_, err := m.registry.id(ctx, m.Path(q.Repository))
	switch {
	case errors.Is(err, errName):
		return virtual.Peek{State: virtual.FreshAbsent, Answer: registry.Absent, Reason: "no such hosted repository"}, nil
	case err != nil:
		return virtual.Peek{}, err
	}
	if q.Kind == virtual.KindTags || q.Kind == virtual.KindReferrers {
		return virtual.Peek{State: virtual.Fresh, Exists: true, FreshFor: -1}, nil // perhaps an empty list, but a list
	}
	q.Mode = virtual.ModeProbe
	a := m.Ask(ctx, q)
	switch a.Outcome {
	case registry.Found:
		return virtual.Peek{State: virtual.Fresh, Exists: true, FreshFor: -1, Digest: a.Descriptor.Digest}, nil
	case registry.Absent:
		return virtual.Peek{State: virtual.FreshAbsent, Exists: true, Answer: registry.Absent, Reason: a.Reason}, nil
	}
	return virtual.Peek{}, a.Err
}

// Ask implements virtual.Member.
func (m *Member) Ask(ctx context.Context, q virtual.Query) virtual.Answer {
	a, err := m.ask(ctx, q, m.Path(q.Repository))
	if err != nil {
		return virtual.Failed(err)
	}
	a.Outcome, a.Cache = registry.Found, registry.CacheHit
	return a
}

func (m *Member) ask(ctx context.Context, q virtual.Query, path string) (a virtual.Answer, err error) {
	switch q.Kind {
	case virtual.KindManifest:
		if q.Mode == virtual.ModeGet {
			a.Manifest, err = m.registry.Manifest(ctx, path, q.Reference)
		} else {
			a.Descriptor, err = m.registry.StatManifest(ctx, path, q.Reference)
		}
	case virtual.KindBlob:
		if q.Mode == virtual.ModeGet {
			a.Blob, err = m.registry.Blob(ctx, path, q.Reference.Digest, q.Range)
		} else {
			a.Descriptor, err = m.registry.StatBlob(ctx, path, q.Reference.Digest)
		}
	case virtual.KindTags:
		a.Tags, err = m.registry.Tags(ctx, path, q.Page)
	case virtual.KindReferrers:
		a.Referrers, err = m.registry.Referrers(ctx, path, q.Reference.Digest, q.ArtifactType)
	}
	return a, err
}

// Admissions implements virtual.Member.
func (m *Member) Admissions(ctx context.Context, repository string, digest oci.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		id, err := m.registry.store.RepositoryID(ctx, m.registry.key(m.Path(repository)))
		if errors.Is(err, store.ErrNotFound) {
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

// Package guard puts a check function around a Registry or a member of a virtual registry, so that it answers only callers
// who may. Package assemble guards local members with it: the caller's own grants count there, whatever the virtual
// registry allows.
//
// A refused call never reaches what is guarded, except to learn whether a repository exists: only an existing private
// repository is forbidden; one that does not exist is absent, like anywhere else.
package guard

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Action is what the caller wants to do.
type Action string

// Actions.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
	List   Action = "list"
)

// Check returns nil when the caller in ctx may act on a repository, by its local name; empty for all of them. DENIED and
// UNAUTHORIZED are refusals; any other error says that the question could not be answered.
type Check func(ctx context.Context, action Action, repository string) error

// forbid turns a refusal into the answer of DESIGN's resolution table and leaves other errors alone.
func forbid(err error) error {
	switch oci.ErrorCode(err) {
	case oci.CodeDenied, oci.CodeUnauthorized:
		return &registry.OutcomeError{Outcome: registry.Forbidden, Reason: "the caller may not read this repository", Err: err}
	}
	return err
}

// Registry is a guarded registry.
type Registry struct {
	registry.Unimplemented
	inner registry.Registry
	check Check
}

// New guards r.
func New(r registry.Registry, check Check) *Registry { return &Registry{inner: r, check: check} }

func (g *Registry) ask(ctx context.Context, action Action, repository string) error {
	if err := g.check(ctx, action, repository); err != nil {
		return forbid(err)
	}
	return nil
}

// Manifest implements registry.Reader.
func (g *Registry) Manifest(ctx context.Context, repository string, ref oci.Reference) (*registry.Manifest, error) {
	if err := g.ask(ctx, Pull, repository); err != nil {
		return nil, err
	}
	return g.inner.Manifest(ctx, repository, ref)
}

// StatManifest implements registry.Reader.
func (g *Registry) StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	if err := g.ask(ctx, Pull, repository); err != nil {
		return oci.Descriptor{}, err
	}
	return g.inner.StatManifest(ctx, repository, ref)
}

// Blob implements registry.Reader.
func (g *Registry) Blob(ctx context.Context, repository string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	if err := g.ask(ctx, Pull, repository); err != nil {
		return nil, err
	}
	return g.inner.Blob(ctx, repository, digest, rng)
}

// StatBlob implements registry.Reader.
func (g *Registry) StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error) {
	if err := g.ask(ctx, Pull, repository); err != nil {
		return oci.Descriptor{}, err
	}
	return g.inner.StatBlob(ctx, repository, digest)
}

// PutManifest implements registry.Writer.
func (g *Registry) PutManifest(ctx context.Context, repository string, ref oci.Reference, m registry.PutManifest) (registry.Put, error) {
	if err := g.ask(ctx, Push, repository); err != nil {
		return registry.Put{}, err
	}
	return g.inner.PutManifest(ctx, repository, ref, m)
}

// MountBlob implements registry.Writer; it takes the right to read the source too.
func (g *Registry) MountBlob(ctx context.Context, repository, from string, digest oci.Digest) (oci.Descriptor, error) {
	if err := g.ask(ctx, Push, repository); err != nil {
		return oci.Descriptor{}, err
	}
	if err := g.ask(ctx, Pull, from); err != nil {
		return oci.Descriptor{}, err
	}
	return g.inner.MountBlob(ctx, repository, from, digest)
}

// StartUpload implements registry.Writer.
func (g *Registry) StartUpload(ctx context.Context, repository string) (registry.Upload, error) {
	if err := g.ask(ctx, Push, repository); err != nil {
		return nil, err
	}
	return g.inner.StartUpload(ctx, repository)
}

// ResumeUpload implements registry.Writer.
func (g *Registry) ResumeUpload(ctx context.Context, repository, id string) (registry.Upload, error) {
	if err := g.ask(ctx, Push, repository); err != nil {
		return nil, err
	}
	return g.inner.ResumeUpload(ctx, repository, id)
}

// DeleteManifest implements registry.Deleter.
func (g *Registry) DeleteManifest(ctx context.Context, repository string, ref oci.Reference) error {
	if err := g.ask(ctx, Delete, repository); err != nil {
		return err
	}
	return g.inner.DeleteManifest(ctx, repository, ref)
}

// DeleteBlob implements registry.Deleter.
func (g *Registry) DeleteBlob(ctx context.Context, repository string, digest oci.Digest) error {
	if err := g.ask(ctx, Delete, repository); err != nil {
		return err
	}
	return g.inner.DeleteBlob(ctx, repository, digest)
}

// Tags implements registry.Lister.
func (g *Registry) Tags(ctx context.Context, repository string, page registry.Page) (*registry.TagList, error) {
	if err := g.ask(ctx, Pull, repository); err != nil {
		return nil, err
	}
	return g.inner.Tags(ctx, repository, page)
}

// Repositories implements registry.Lister.
func (g *Registry) Repositories(ctx context.Context, page registry.Page) (*registry.RepositoryList, error) {
	if err := g.ask(ctx, List, ""); err != nil {
		return nil, err
	}
	return g.inner.Repositories(ctx, page)
}

// Referrers implements registry.Lister.
func (g *Registry) Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	if err := g.ask(ctx, Pull, repository); err != nil {
		return nil, err
	}
	return g.inner.Referrers(ctx, repository, digest, artifactType)
}

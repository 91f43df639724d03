package virtual

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Manifest implements registry.Reader.
func (r *Registry) Manifest(ctx context.Context, repository string, ref oci.Reference) (*registry.Manifest, error) {
	a, err := r.Resolve(ctx, Query{Kind: KindManifest, Mode: ModeGet, Repository: repository, Reference: ref})
	return a.Manifest, err
}

// StatManifest implements registry.Reader.
func (r *Registry) StatManifest(ctx context.Context, repository string, ref oci.Reference) (oci.Descriptor, error) {
	a, err := r.Resolve(ctx, Query{Kind: KindManifest, Mode: ModeHead, Repository: repository, Reference: ref})
	return a.Descriptor, err
}

// Blob implements registry.Reader.
func (r *Registry) Blob(ctx context.Context, repository string, digest oci.Digest, rng registry.Range) (*registry.Blob, error) {
	a, err := r.Resolve(ctx, Query{Kind: KindBlob, Mode: ModeGet, Repository: repository, Reference: oci.ByDigest(digest), Range: rng})
	return a.Blob, err
}

// StatBlob implements registry.Reader.
func (r *Registry) StatBlob(ctx context.Context, repository string, digest oci.Digest) (oci.Descriptor, error) {
	a, err := r.Resolve(ctx, Query{Kind: KindBlob, Mode: ModeHead, Repository: repository, Reference: oci.ByDigest(digest)})
	return a.Descriptor, err
}

// Resolve walks the members for any query and leaves the decision on the request's trace. The zero Answer comes with an
// error. It is format-neutral: the container methods are thin around it.
func (r *Registry) Resolve(ctx context.Context, q Query) (Answer, error) {
	w := r.begin(ctx, q)
	w.run(ctx)
	return w.finish(ctx)
}

// Refresh revalidates a reference although it may be fresh, at the member that holds it, or looks for it anew, and returns the
// decision.
func (r *Registry) Refresh(ctx context.Context, repository string, ref oci.Reference) (Decision, error) {
	w := r.begin(ctx, Query{Kind: KindManifest, Mode: ModeGet, Repository: repository, Reference: ref, Refresh: true})
	w.frank = true
	w.run(ctx)
	result, err := w.conclude(ctx)
	w.publish(ctx, result, err)
	return w.decide(result, err), err
}

// MemberAnswer is one member's answer in a collection.
type MemberAnswer struct {
	Member string
	Answer Answer
}

// Collect asks every member that may answer, in order, and returns what was found, for formats that merge. It fails as Resolve
// does when nothing was found, and also when a member that lower ones depend on (on_unknown: stop, strict precedence)
// could not answer. The caller closes what bodies it got.
func (r *Registry) Collect(ctx context.Context, q Query) ([]MemberAnswer, error) {
	w := r.begin(ctx, q)
	w.all = true
	w.run(ctx)
	result, err := w.conclude(ctx)
	w.publish(ctx, result, err)
	var found []MemberAnswer
	for i := range w.steps {
		a := w.steps[i].answer
		if a == nil || a.Outcome != registry.Found {
			continue
		}
		if err == nil {
			found = append(found, MemberAnswer{Member: r.members[i].Name, Answer: *a})
		} else if a.Blob != nil && a.Blob.Body != nil {
			_ = a.Blob.Body.Close() // a body nobody will read
		}
	}
	return found, err
}

// finish ends the walk of a request.
func (w *walk) finish(ctx context.Context) (Answer, error) {
	result, err := w.conclude(ctx)
	w.publish(ctx, result, err)
	if err != nil {
		return Answer{}, err
	}
	return *w.steps[w.served].answer, nil
}

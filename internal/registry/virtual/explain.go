package virtual

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
)

// Request is a question to Explain.
type Request struct {
	Kind         Kind // default KindManifest
	Repository   string
	Reference    oci.Reference
	ArtifactType string
	Plain        bool // errors as the pull itself would give them: about members that its caller may know of
	Probe        bool // ask upstreams with HEAD, changing nothing, instead of telling from the store who would be asked
}

// Explain tells how a pull by the caller in ctx would be decided. It takes the same way as the pull. Without Probe no upstream
// hears of it: members marked "ask" would be asked in their order until one has the content.
func (r *Registry) Explain(ctx context.Context, req Request) Decision {
	if req.Kind == 0 {
		req.Kind = KindManifest
	}
	w := r.begin(ctx, Query{
		Kind: req.Kind, Mode: ModeProbe, Repository: req.Repository, Reference: req.Reference, ArtifactType: req.ArtifactType,
	})
	w.plan, w.frank = !req.Probe, !req.Plain
	w.run(ctx)
	return w.decide(w.conclude(ctx))
}

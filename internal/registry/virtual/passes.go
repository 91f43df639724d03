package virtual

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
)

// Passes reports whether a member may answer the caller in ctx for a reference of a repository: it is on, no claim gives the name to
// another member, and the rules let the reference through. The zero reference asks about the repository as such. repository is
// the member's own name. No upstream is asked, and what the member holds does not matter, except how a digest was admitted.
func (r *Registry) Passes(ctx context.Context, member, repository string, ref oci.Reference) (bool, error) {
	q := Query{Kind: KindManifest, Mode: ModeProbe, Repository: repository, Reference: ref}
	if ref == (oci.Reference{}) {
		q.Kind = KindTags
	}
	w := r.begin(ctx, q)
	for i := range w.steps {
		s := &w.steps[i]
		if w.blind && s.answer != nil {
			return false, s.answer.Err
		}
		if r.members[i].Name != member || s.name != repository || s.out != in {
			continue
		}
		of, err := r.judge(ctx, i, repository, &w.q, true)
		return err == nil && of.exclusion == "", err
	}
	return false, nil
}

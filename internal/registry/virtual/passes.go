package virtual

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
)

// Verdict says whether a member may answer for a reference, and what keeps it from doing so.
type Verdict struct {
	Member     string
	Local      bool
	Repository string // the member's own name
	Allowed    bool
	Verdict    string // may_answer, off, other_host, claimed, rule
	Why        string // verdict rule: one sentence that names it
	Claimed    string // verdict claimed: the owner
}

// Evaluate tells of every member whether it may answer the caller in ctx for a reference: it is on, it serves the host that the name
// begins with, no claim gives the name to another member, and the rules let the reference through. The zero reference asks about
// the repository as such. No upstream is asked, and what a member holds does not matter, except how a digest was admitted.
func (r *Registry) Evaluate(ctx context.Context, repository string, ref oci.Reference) ([]Verdict, error) {
	return r.evaluate(ctx, repository, ref, func(*member) bool { return true })
}

func (r *Registry) evaluate(ctx context.Context, repository string, ref oci.Reference, wanted func(*member) bool) ([]Verdict, error) {
	q := Query{Kind: KindManifest, Mode: ModeProbe, Repository: repository, Reference: ref}
	if ref == (oci.Reference{}) {
		q.Kind = KindTags
	}
	w := r.begin(ctx, q)
	var out []Verdict
	for i := range w.steps {
		s := &w.steps[i]
		if w.blind && s.answer != nil {
			return nil, s.answer.Err
		}
		if !wanted(&r.members[i]) {
			continue
		}
		if s.out == in {
			of, err := r.judge(ctx, i, s.name, &w.q, true)
			if err != nil {
				return nil, err
			}
			if of.exclusion != "" {
				s.out, s.rule = outRule, of.exclusion
			}
		}
		out = append(out, w.verdict(i))
	}
	return out, nil
}

func (w *walk) verdict(i int) Verdict {
	s, m := &w.steps[i], &w.r.members[i]
	v := Verdict{Member: m.Name, Local: m.Local, Repository: s.name, Allowed: s.out == in, Verdict: s.out.String()}
	switch s.out {
	case outClaimed, outExists:
		v.Claimed = w.r.members[s.owner].Name
	case outRule:
		v.Why = excludes(s.rule, w.subject())
	}
	return v
}

// Passes reports whether the member of that name may answer for a reference of a repository, which is the member's own name of it.
func (r *Registry) Passes(ctx context.Context, name, repository string, ref oci.Reference) (bool, error) {
	verdicts, err := r.evaluate(ctx, repository, ref, func(m *member) bool { return m.Name == name })
	return len(verdicts) == 1 && verdicts[0].Repository == repository && verdicts[0].Allowed, err
}

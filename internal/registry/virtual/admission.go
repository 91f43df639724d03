package virtual

import (
	"context"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

// maxSubjects bounds how far a signature of a signature is followed to the image in the end. Tags are the upstream's to
// choose, so without a bound a tag that names its own digest would be followed for ever.
const maxSubjects = 3

// ruling is what the rules say of a reference at one member.
type ruling struct {
	exclusion  string // names the rule; "" = passes
	unadmitted bool   // excluded because no tag that passes has admitted the digest
	passing    bool   // a pass that no further admission can revoke
}

// judge applies the rules to what q asks of member i under its own name of the repository. known false judges as if the member had
// never heard of the name.
func (r *Registry) judge(ctx context.Context, i int, name string, q *Query, known bool) (ruling, error) {
	switch {
	case q.Kind == KindTags || q.Kind == KindReferrers:
		return ruling{exclusion: r.members[i].rules.repository(name), passing: true}, nil
	case q.Reference.IsDigest():
		return r.judgeDigest(ctx, i, name, q.Reference.Digest, known, 0)
	}
	return r.judgeTag(ctx, i, name, q.Reference.Tag, known, 0)
}

// judgeTag judges a tag. A tag that speaks of a digest, as cosign's legacy tags (sha256-<hex>.sig, .att, .sbom) and the referrers
// tag schema (sha256-<hex>) do, passes like any other tag; if it is only for want of a matching allow that it does not, it
// follows the digest it speaks of: a signature of an allowed image must not be stopped by allow "*:1.*". A deny
// that matches it excludes it all the same.
func (r *Registry) judgeTag(ctx context.Context, i int, name, tag string, known bool, depth int) (ruling, error) {
	m := &r.members[i]
	text := m.rules.tag(name, tag)
	if text == "" {
		return ruling{passing: true}, nil
	}
	subject, ok := tagSubject(tag)
	if !ok || depth >= maxSubjects || m.rules.denies(name, tag) != "" {
		return ruling{exclusion: text}, nil
	}
	of, err := r.judgeDigest(ctx, i, name, subject, known, depth+1)
	if err != nil || of.exclusion == "" {
		return of, err
	}
	return ruling{exclusion: text}, nil
}

// judgeDigest judges a digest: by the repository's own verdict where no rule with a tag part can match the repository,
// otherwise by the tags that admitted it, of which one has to pass.
func (r *Registry) judgeDigest(ctx context.Context, i int, name string, digest oci.Digest, known bool, depth int) (ruling, error) {
	m := &r.members[i]
	if text := m.rules.repository(name); text != "" {
		return ruling{exclusion: text}, nil
	}
	speaks := m.rules.speaks(name)
	if speaks == "" {
		return ruling{passing: true}, nil
	}
	if !known {
		return r.unadmitted(speaks), nil
	}
	key := memoKey{i, name, digest}
	if r.memo.has(key) {
		return ruling{passing: true}, nil
	}
	return r.judgeAdmissions(ctx, key, known, depth, speaks)
}

// judgeAdmissions looks for a tag that speaks for a digest. It stands apart because what its loop uses is allocated.
func (r *Registry) judgeAdmissions(ctx context.Context, key memoKey, known bool, depth int, speaks string) (ruling, error) {
	untagged, first := false, ""
	i, name := key.member, key.repository
	for tag, err := range r.members[i].Member.Admissions(ctx, name, key.digest) {
		if err != nil {
			return ruling{}, err
		}
		if tag == "" { // pushed or asked for by digest: no tag can speak for it
			untagged = true
			continue
		}
		of, err := r.judgeTag(ctx, i, name, tag, known, depth)
		if err != nil {
			return ruling{}, err
		}
		if of.exclusion == "" {
			if of.passing {
				r.memo.add(key)
			}
			return of, nil
		}
		if first == "" {
			first = of.exclusion
		}
	}
	if untagged || first == "" {
		return r.unadmitted(speaks), nil
	}
	return ruling{exclusion: first, unadmitted: true}, nil
}

// unadmitted is the ruling on a digest that came here through no tag.
func (r *Registry) unadmitted(rule string) ruling {
	if r.opt.AllowDigestFirst {
		return ruling{}
	}
	return ruling{exclusion: rule, unadmitted: true}
}

// tagSubject returns the digest a tag speaks of: "sha256-<64 hex>", with an optional suffix from a "." on.
func tagSubject(tag string) (oci.Digest, bool) {
	tag, _, _ = strings.Cut(tag, ".")
	alg, hex, ok := strings.Cut(tag, "-")
	if !ok {
		return "", false
	}
	d, err := oci.ParseDigest(alg + ":" + hex)
	return d, err == nil
}

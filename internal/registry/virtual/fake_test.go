package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// fake is a member in memory: a store in front of an upstream, or a local one. Its keys are "repository|reference".
type fake struct {
	local     bool
	refuse    bool                               // on_upstream_delete: refuse
	content   map[string]bool                    // what the upstream, or the local prefix, has
	repos     map[string]bool                    // repositories it has
	held      map[string]virtual.State           // of a remote member's store
	absentAs  registry.Outcome                   // what a held FreshAbsent says
	fault     registry.Outcome                   // Unknown or Denied: what the upstream says to everything
	limited   bool                               // the fault is a limit
	forbidden map[string]bool                    // repositories closed to the caller
	login     map[string]bool                    // names closed to the caller because nobody is logged in, there or not
	admitted  map[string]map[oci.Digest][]string // by repository
	tags      map[string][]string                // by repository
	peekErr   error

	asked  []virtual.Query
	writes int
}

func newFake() *fake {
	return &fake{
		content: map[string]bool{}, repos: map[string]bool{}, held: map[string]virtual.State{}, absentAs: registry.Absent,
		forbidden: map[string]bool{}, login: map[string]bool{}, admitted: map[string]map[oci.Digest][]string{}, tags: map[string][]string{},
	}
}

func key(q virtual.Query) string {
	if q.Kind == virtual.KindTags || q.Kind == virtual.KindReferrers {
		return q.Repository + "|" + q.Kind.String()
	}
	return q.Repository + "|" + q.Reference.String()
}

// has adds content of a repository, by tag or digest.
func (f *fake) has(repository string, refs ...string) *fake {
	f.repos[repository] = true
	for _, ref := range refs {
		f.content[repository+"|"+ref] = true
	}
	return f
}

func (f *fake) holds(state virtual.State, repository string, refs ...string) *fake {
	for _, ref := range refs {
		f.held[repository+"|"+ref] = state
	}
	return f
}

func (f *fake) admit(repository string, d oci.Digest, tags ...string) *fake {
	if f.admitted[repository] == nil {
		f.admitted[repository] = map[oci.Digest][]string{}
	}
	f.admitted[repository][d] = append(f.admitted[repository][d], tags...)
	return f
}

func (f *fake) Peek(_ context.Context, q virtual.Query) (virtual.Peek, error) {
	if f.peekErr != nil {
		return virtual.Peek{}, f.peekErr
	}
	if !f.local {
		return virtual.Peek{State: f.held[key(q)], Answer: f.absentAs, Age: time.Minute}, nil
	}
	login := f.login[q.Repository]
	switch {
	case f.repos[q.Repository] && f.closed(q.Repository):
		return virtual.Peek{State: virtual.FreshAbsent, Exists: true, Covered: true, Login: login, Answer: registry.Forbidden}, nil
	case f.upstreamHas(q):
		return virtual.Peek{State: virtual.Fresh, Exists: true, Covered: true}, nil
	}
	return virtual.Peek{State: virtual.FreshAbsent, Exists: f.repos[q.Repository], Covered: true, Login: login, Answer: registry.Absent}, nil
}

// closed reports whether the caller may not read a repository.
func (f *fake) closed(repository string) bool { return f.forbidden[repository] || f.login[repository] }

func (f *fake) upstreamHas(q virtual.Query) bool {
	if q.Kind == virtual.KindTags || q.Kind == virtual.KindReferrers {
		return f.repos[q.Repository]
	}
	return f.content[key(q)]
}

func (f *fake) Ask(_ context.Context, q virtual.Query) virtual.Answer {
	f.asked = append(f.asked, q)
	if f.local {
		if f.closed(q.Repository) && f.repos[q.Repository] {
			return virtual.Answer{Outcome: registry.Forbidden}
		}
		return f.answer(q, f.upstreamHas(q), registry.CacheHit)
	}
	switch f.held[key(q)] {
	case virtual.Fresh:
		return f.answer(q, true, registry.CacheHit)
	case virtual.FreshAbsent:
		return virtual.Answer{Outcome: f.absentAs, Cache: registry.CacheHit}
	case virtual.Stale:
		switch {
		case f.fault != 0:
			return f.answer(q, true, registry.CacheStale)
		case f.upstreamHas(q):
			return f.answer(q, true, registry.CacheRevalidated)
		}
		return f.answer(q, !f.refuse, registry.CacheStale)
	}
	switch f.fault {
	case registry.Unknown:
		a := virtual.Answer{Outcome: registry.Unknown, Reason: "connection refused", Err: errors.New("dial: connection refused")}
		if f.limited {
			a = virtual.Answer{Outcome: registry.Unknown, Status: 429, Reason: "429 Too Many Requests", Limited: true, RetryAfter: 30 * time.Second}
		}
		return a
	case registry.Denied:
		return virtual.Answer{Outcome: registry.Denied, Status: 403, Reason: "403 Forbidden"}
	}
	if q.Mode != virtual.ModeProbe && f.upstreamHas(q) {
		f.writes++
	}
	return f.answer(q, f.upstreamHas(q), registry.CacheMiss)
}

func (f *fake) answer(q virtual.Query, found bool, cache registry.CacheStatus) virtual.Answer {
	if !found {
		return virtual.Answer{Outcome: registry.Absent, Status: 404}
	}
	d := oci.Descriptor{Digest: q.Reference.Digest, MediaType: oci.MediaTypeImageManifest}
	a := virtual.Answer{Outcome: registry.Found, Cache: cache, Age: time.Minute, Descriptor: d}
	switch {
	case q.Kind == virtual.KindTags:
		a.Tags = f.page(q)
	case q.Kind == virtual.KindReferrers:
		a.Referrers = &registry.ReferrerList{}
	case q.Kind == virtual.KindManifest && q.Mode == virtual.ModeGet:
		a.Manifest = &registry.Manifest{Descriptor: d, Payload: []byte("{}")}
	case q.Kind == virtual.KindBlob && q.Mode == virtual.ModeGet:
		if _, _, err := q.Range.Resolve(10); err != nil {
			return virtual.Failed(err)
		}
		a.Blob = &registry.Blob{Descriptor: d}
	}
	return a
}

func (f *fake) page(q virtual.Query) *registry.TagList {
	list := &registry.TagList{}
	for _, tag := range slices.Sorted(slices.Values(f.tags[q.Repository])) {
		if tag <= q.Page.Last {
			continue
		}
		if q.Page.N > 0 && len(list.Tags) == q.Page.N {
			list.More = true
			break
		}
		list.Tags = append(list.Tags, tag)
	}
	return list
}

func (f *fake) Admissions(_ context.Context, repository string, d oci.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if f.closed(repository) {
			return
		}
		for _, tag := range f.admitted[repository][d] {
			if !yield(tag, nil) {
				return
			}
		}
	}
}

// digest makes a digest of a small number.
func digest(n int) oci.Digest { return oci.DigestOf(oci.SHA256, []byte(fmt.Sprint(n))) }

// sigTag is cosign's legacy tag for the signature of a digest.
func sigTag(d oci.Digest) string { return strings.Replace(d.String(), ":", "-", 1) + ".sig" }

func pat(text string) oci.Pattern {
	p, err := oci.ParsePattern(text)
	if err != nil {
		panic(err)
	}
	return p
}

func allow(text string) virtual.Rule { return virtual.Rule{Allow: true, Pattern: pat(text)} }
func deny(text string) virtual.Rule  { return virtual.Rule{Pattern: pat(text)} }

// remote and local are members that are turned on.
func remote(name string, f *fake) virtual.MemberConfig {
	return virtual.MemberConfig{Name: name, Member: f, Enabled: true}
}

func local(name string, f *fake) virtual.MemberConfig {
	f.local = true
	return virtual.MemberConfig{Name: name, Member: f, Enabled: true, Local: true}
}

func hub(name string, f *fake) virtual.MemberConfig {
	return virtual.MemberConfig{Name: name, Member: f, Enabled: true, Hub: true}
}

func build(opt virtual.Options) *virtual.Registry {
	opt.Group, opt.Name = "acme", "all"
	n := 0
	opt.NewID = func() string { n++; return fmt.Sprintf("d%d", n) }
	return virtual.New(opt)
}

func registryOf(members ...virtual.MemberConfig) *virtual.Registry {
	return build(virtual.Options{Members: members})
}

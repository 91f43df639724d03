package virtual_test

import (
	"regexp"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// world is a configuration, its members' contents and one request.
type world struct {
	opt   virtual.Options
	fakes []*fake
	ns    string
	name  string
	ref   oci.Reference
	blob  bool
}

// expected is what the resolution chapter of the design says must happen.
type expected struct {
	result virtual.Result
	member string
	asked  []string
}

// expect is the design's text a second time, written for plainness: it knows everything at once, and starts over after
// each answer with what it has learnt.
func (w *world) expect() expected {
	name, takesPart := w.scope()
	owner, byPattern := w.owner(name)
	nobody := func() expected {
		var candidates []int
		for i := range w.fakes {
			if takesPart[i] && (!byPattern || i == owner) {
				candidates = append(candidates, i)
			}
		}
		if len(candidates) > 0 && !slices.ContainsFunc(candidates, func(i int) bool { return w.pass(i, name, !w.opt.Members[i].Local) }) {
			return w.orLogin(expected{result: virtual.ResultExcluded}, name, candidates)
		}
		return w.orLogin(expected{result: virtual.ResultNotFound}, name, candidates)
	}
	if owner >= 0 {
		f := w.fakes[owner]
		exists := f.local && f.repos[w.localName(owner, name)]
		if !byPattern && !takesPart[owner] || takesPart[owner] && exists && f.closed(w.localName(owner, name)) {
			return nobody()
		}
		for i := range takesPart {
			takesPart[i] = takesPart[i] && i == owner
		}
	}
	var candidates []int
	for i := range takesPart {
		if takesPart[i] {
			candidates = append(candidates, i)
		}
	}
	return w.orLogin(w.walk(name, takesPart), name, candidates)
}

// orLogin: a "no" is 401 when one of the members that count would tell somebody who is logged in more.
func (w *world) orLogin(e expected, name string, candidates []int) expected {
	no := e.result == virtual.ResultNotFound || e.result == virtual.ResultExcluded && w.ref.IsDigest()
	if no && slices.ContainsFunc(candidates, func(i int) bool { return w.fakes[i].local && w.fakes[i].login[name] }) {
		e.result = virtual.ResultLogin
	}
	return e
}

// scope: ?ns= and host in path.
func (w *world) scope() (string, []bool) {
	takesPart := make([]bool, len(w.fakes))
	serves := func(i int, host string) bool {
		m := w.opt.Members[i]
		return m.Hub && host == "docker.io" || slices.Contains(m.Hosts, host)
	}
	first, rest, slash := strings.Cut(w.name, "/")
	pinned := false
	if slash && strings.Contains(first, ".") {
		for i := range w.fakes {
			pinned = pinned || serves(i, first)
		}
	}
	public := slash && !pinned && (first == "quay.io" || first == "ghcr.io" || first == "docker.io")
	for i, m := range w.opt.Members {
		takesPart[i] = m.Enabled && (w.ns == "" || serves(i, w.ns)) && (!pinned || serves(i, first)) && (!public || m.Local)
	}
	if pinned {
		return rest, takesPart
	}
	return w.name, takesPart
}

func (w *world) localName(i int, name string) string {
	if w.opt.Members[i].Hub && !strings.Contains(name, "/") {
		return "library/" + name
	}
	return name
}

// owner: a claim by pattern, else by existence in a local member; of members that take part or not.
func (w *world) owner(name string) (int, bool) {
	for i, m := range w.opt.Members {
		for _, c := range m.Claims {
			if matches(c.Repository, w.localName(i, name)) {
				return i, true
			}
		}
	}
	for i, f := range w.fakes {
		if f.local && f.repos[name] {
			return i, false
		}
	}
	return -1, false
}

func matches(glob, s string) bool {
	expr := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(glob))
	return regexp.MustCompile("^" + expr + "$").MatchString(s)
}

// pass: may member i answer at all, by the rules?
func (w *world) pass(i int, name string, known bool) bool {
	m, name := w.opt.Members[i], w.localName(i, name)
	levels := [][]virtual.Rule{m.UpstreamRules, append(slices.Clone(w.opt.Rules), m.Rules...)}
	if !w.ref.IsDigest() {
		return w.tagPasses(levels, i, name, w.ref.Tag, known)
	}
	return w.digestPasses(levels, i, name, w.ref.Digest, known)
}

func (w *world) tagPasses(levels [][]virtual.Rule, i int, name, tag string, known bool) bool {
	denied, wanting := false, false
	for _, rules := range levels {
		allows, allowed := 0, false
		for _, r := range rules {
			hit := matches(r.Pattern.Repository, name) && (r.Pattern.Tag == "" || matches(r.Pattern.Tag, tag))
			if r.Allow {
				allows++
				allowed = allowed || hit
			} else {
				denied = denied || hit
			}
		}
		wanting = wanting || allows > 0 && !allowed
	}
	if denied || !wanting {
		return !denied
	}
	hex, ok := strings.CutPrefix(strings.TrimSuffix(tag, ".sig"), "sha256-")
	return ok && w.digestPasses(levels, i, name, oci.Digest("sha256:"+hex), known)
}

func (w *world) digestPasses(levels [][]virtual.Rule, i int, name string, d oci.Digest, known bool) bool {
	tagged := false
	for _, rules := range levels {
		allows, allowed := 0, false
		for _, r := range rules {
			hit := matches(r.Pattern.Repository, name)
			tagged = tagged || hit && r.Pattern.Tag != ""
			if !r.Allow && hit && r.Pattern.Tag == "" {
				return false
			}
			if r.Allow {
				allows++
				allowed = allowed || hit
			}
		}
		if allows > 0 && !allowed {
			return false
		}
	}
	if !tagged {
		return true
	}
	var tags []string
	if known {
		tags = w.fakes[i].admitted[name][d]
	}
	if w.opt.AllowDigestFirst && (len(tags) == 0 || slices.Contains(tags, "")) {
		return true
	}
	return slices.ContainsFunc(tags, func(tag string) bool { return tag != "" && w.tagPasses(levels, i, name, tag, known) })
}

// What is known of a member.
const (
	nothing = iota
	entry
	referring
	no      // absent or denied, with authority
	unknown // not known, although asked
	limited // unknown, because of a limit
)

func (w *world) walk(name string, takesPart []bool) expected {
	state := make([]int, len(w.fakes))
	judged, ruled := 0, 0
	for i := range w.fakes {
		if !takesPart[i] {
			state[i] = no
			continue
		}
		judged++
		if state[i] = w.first(i, w.localName(i, name)); !w.pass(i, name, true) {
			state[i] = no
			ruled++
		}
	}
	var e expected
	for {
		i := w.choose(state)
		if i < 0 {
			break
		}
		e.asked = append(e.asked, w.opt.Members[i].Name)
		if state[i] = w.ask(i, w.localName(i, name)); state[i] == entry {
			e.member, e.result = w.opt.Members[i].Name, virtual.ResultFound
			return e
		}
	}
	e.result = virtual.ResultNotFound
	if judged > 0 && judged == ruled {
		e.result = virtual.ResultExcluded
	}
	for i, s := range state {
		if s == unknown || s == limited && e.result != virtual.ResultUnavailable {
			e.result = map[int]virtual.Result{unknown: virtual.ResultUnavailable, limited: virtual.ResultLimited}[s]
		}
		if s >= unknown && w.mustKnow(i) {
			break
		}
	}
	return e
}

func (w *world) mustKnow(i int) bool { return w.opt.StrictPrecedence || w.opt.Members[i].StopOnUnknown }

// first is what is known before anybody is asked.
func (w *world) first(i int, name string) int {
	f, key := w.fakes[i], name+"|"+w.ref.String()
	if f.local {
		if f.content[key] {
			return entry
		}
		return no
	}
	switch f.held[key] {
	case virtual.Fresh, virtual.Stale:
		return entry
	case virtual.Referenced:
		return referring
	case virtual.FreshAbsent:
		if f.absentAs == registry.Denied && w.opt.Members[i].StopOnUnknown {
			return unknown
		}
		return no
	}
	return nothing
}

// choose is the member whose turn it is.
func (w *world) choose(state []int) int {
	reach := len(state) // members that count: none below one that must answer and could not
	open := len(state)  // entries that count: none below one that must answer and has not
	for i := len(state) - 1; i >= 0; i-- {
		if w.mustKnow(i) && state[i] >= unknown {
			reach, open = i, i
		}
		if w.mustKnow(i) && (state[i] == nothing || state[i] == referring) {
			open = i
		}
	}
	if w.ref.IsDigest() {
		if i := slices.Index(state, entry); i >= 0 {
			return i
		}
		if i := slices.Index(state, referring); i >= 0 {
			return i
		}
	} else if i := slices.Index(state[:open], entry); i >= 0 {
		return i
	}
	return slices.IndexFunc(state[:reach], func(s int) bool { return s < no })
}

// ask is what the member answers: entry for found.
func (w *world) ask(i int, name string) int {
	f, key := w.fakes[i], name+"|"+w.ref.String()
	has, state := f.content[key], f.held[key]
	switch {
	case f.local && has, state == virtual.Fresh, state == virtual.Stale && (f.fault != 0 || has || !f.refuse):
		return entry
	case f.local, state == virtual.Stale:
		return no
	case f.fault == registry.Unknown && f.limited:
		return limited
	case f.fault == registry.Unknown, f.fault == registry.Denied && w.opt.Members[i].StopOnUnknown:
		return unknown
	case f.fault == registry.Denied || !has:
		return no
	}
	return entry
}

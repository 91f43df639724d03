package virtual

import (
	"fmt"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

// Rule allows or denies references. The order of rules does not matter.
type Rule struct {
	Allow   bool
	Pattern oci.Pattern
}

// String is the rule as it stands in a definition: deny "*:nightly".
func (r Rule) String() string {
	if r.Allow {
		return fmt.Sprintf("allow %q", r.Pattern)
	}
	return fmt.Sprintf("deny %q", r.Pattern)
}

// level is one of the two places that have rules: the upstream or the registry. Its texts are made once, so that judging
// allocates nothing.
type level struct {
	deny, allow []pattern
	noAllow     string // says that no allow rule matched
}

type pattern struct {
	oci.Pattern
	text string
}

func newLevel(of string, rules ...Rule) level {
	var l level
	var allows []string
	for _, r := range rules {
		p := pattern{Pattern: r.Pattern, text: "rule " + r.String() + " of " + of}
		if r.Allow {
			l.allow = append(l.allow, p)
			allows = append(allows, r.Pattern.String())
		} else {
			l.deny = append(l.deny, p)
		}
	}
	if len(allows) > 3 {
		allows = append(allows[:3], "…")
	}
	l.noAllow = "no allow rule of " + of + itAllows + strings.Join(allows, ", ")
	return l
}

// itAllows divides the text that says that no allow rule matched. No pattern can contain it.
const itAllows = "; it allows: "

// excludes is the sentence that the text of a rule makes with what it excludes.
func excludes(rule, subject string) string {
	if none, allowed, ok := strings.Cut(rule, itAllows); ok {
		return none + " matches " + subject + itAllows + allowed
	}
	return rule + " excludes " + subject
}

// repository judges a repository as a whole: it is out when a deny without a tag part matches, or when none of the
// existing allows could match anything in it. "" is a pass; any other text names the rule.
func (l *level) repository(name string) string {
	for i := range l.deny {
		if p := &l.deny[i]; !p.HasTag() && p.MatchRepository(name) {
			return p.text
		}
	}
	for i := range l.allow {
		if l.allow[i].MatchRepository(name) {
			return ""
		}
	}
	if len(l.allow) > 0 {
		return l.noAllow
	}
	return ""
}

// denies returns the text of the first deny that matches, or "".
func (l *level) denies(name, tag string) string {
	for i := range l.deny {
		if p := &l.deny[i]; p.Match(name, tag) {
			return p.text
		}
	}
	return ""
}

// tag judges one tag.
func (l *level) tag(name, tag string) string {
	if text := l.denies(name, tag); text != "" {
		return text
	}
	for i := range l.allow {
		if l.allow[i].Match(name, tag) {
			return ""
		}
	}
	if len(l.allow) > 0 {
		return l.noAllow
	}
	return ""
}

// speaks returns the text of a rule with a tag part that can match the repository, or "".
func (l *level) speaks(name string) string {
	for _, patterns := range [...][]pattern{l.allow, l.deny} {
		for i := range patterns {
			if p := &patterns[i]; p.HasTag() && p.MatchRepository(name) {
				return p.text
			}
		}
	}
	return ""
}

// rules are the levels a member has to pass: its upstream's and the registry's.
type rules [2]level

func (r *rules) repository(name string) string {
	if text := r[0].repository(name); text != "" {
		return text
	}
	return r[1].repository(name)
}

func (r *rules) tag(name, tag string) string {
	if text := r[0].tag(name, tag); text != "" {
		return text
	}
	return r[1].tag(name, tag)
}

func (r *rules) denies(name, tag string) string {
	if text := r[0].denies(name, tag); text != "" {
		return text
	}
	return r[1].denies(name, tag)
}

func (r *rules) speaks(name string) string {
	if text := r[0].speaks(name); text != "" {
		return text
	}
	return r[1].speaks(name)
}

package oci

import (
	"errors"
	"strings"
)

// ErrPattern is returned for text that cannot be a pattern.
var ErrPattern = errors.New(`not a pattern: want "repository" or "repository:tag", where * stands for any characters and ? for one`)

// MaxPatternLength bounds a pattern in bytes.
const MaxPatternLength = 512

// Pattern selects references: "library/*", "*:nightly". "*" stands for any characters including "/", "?" for exactly one;
// the tag part starts at the last ":" after the last "/"; matching is case-sensitive. Without a tag part it matches
// the whole repository, every tag and digest in it.
type Pattern struct {
	Repository string
	Tag        string // empty = no tag part
}

// ParsePattern reads the text form.
func ParsePattern(s string) (Pattern, error) {
	if s == "" || len(s) > MaxPatternLength {
		return Pattern{}, ErrPattern
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return Pattern{}, ErrPattern
		}
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < strings.LastIndexByte(s, '/') {
		colon = -1
	}
	if colon < 0 {
		return Pattern{Repository: s}, nil
	}
	p := Pattern{Repository: s[:colon], Tag: s[colon+1:]}
	if p.Repository == "" || p.Tag == "" {
		return Pattern{}, ErrPattern
	}
	return p, nil
}

// String is the text form.
func (p Pattern) String() string {
	if p.Tag == "" {
		return p.Repository
	}
	return p.Repository + ":" + p.Tag
}

// HasTag reports whether the pattern speaks of tags.
func (p Pattern) HasTag() bool { return p.Tag != "" }

// MatchRepository reports whether the repository part matches.
func (p Pattern) MatchRepository(repository string) bool { return glob(p.Repository, repository) }

// Match reports whether repository and tag both match. A pattern without a tag part matches every tag.
func (p Pattern) Match(repository, tag string) bool {
	return glob(p.Repository, repository) && (p.Tag == "" || glob(p.Tag, tag))
}

// glob matches in linear time for each "*" by backtracking to the latest one only.
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

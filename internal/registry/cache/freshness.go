package cache

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Words of a freshness beside durations.
const (
	FreshForever = "forever" // never ask again
	FreshAlways  = "always"  // ask on every request
)

// DefaultFreshness is used where an upstream does not say.
const DefaultFreshness = 24 * time.Hour

const forever time.Duration = math.MaxInt64

// maxSkew is how far the clocks of replicas may differ. What was confirmed later than that in the future was confirmed by a clock that
// has been set right since: nobody knows when, so it is stale.
const maxSkew = time.Minute

// Freshness says how long a cached reference of an upstream may be served without asking again. The zero value asks on
// every request; build one with ParseFreshness.
type Freshness struct {
	def     time.Duration
	classes []freshnessClass
}

type freshnessClass struct {
	pattern oci.Pattern
	fresh   time.Duration
}

// ParseFreshness checks f. Durations are Go's ("90s", "24h") or whole days ("7d"); an empty default is DefaultFreshness.
func ParseFreshness(f meta.Freshness) (Freshness, error) {
	out := Freshness{def: DefaultFreshness}
	var err error
	if f.Default != "" {
		if out.def, err = parseFreshFor(f.Default); err != nil {
			return Freshness{}, fmt.Errorf("freshness default: %w", err)
		}
	}
	for i, c := range f.Classes {
		p, err := oci.ParsePattern(c.Pattern)
		if err != nil {
			return Freshness{}, fmt.Errorf("freshness class %d, pattern %q: %w", i+1, c.Pattern, err)
		}
		d, err := parseFreshFor(c.For)
		if err != nil {
			return Freshness{}, fmt.Errorf("freshness class %d: %w", i+1, err)
		}
		out.classes = append(out.classes, freshnessClass{p, d})
	}
	return out, nil
}

func parseFreshFor(s string) (time.Duration, error) {
	switch s {
	case FreshForever:
		return forever, nil
	case FreshAlways:
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n > 36500 {
			return 0, fmt.Errorf("%q is longer than a hundred years: say %q", s, FreshForever)
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf(`%q is not a duration like "10m", "24h" or "7d", nor %q or %q`, s, FreshForever, FreshAlways)
	}
	return d, nil
}

// Fresh reports whether a tag that was last confirmed at checked is served at now without asking the upstream. What was
// confirmed before staleBefore never is.
func (f Freshness) Fresh(repository, tag string, checked, staleBefore, now time.Time) bool {
	_, _, fresh := age(now.Sub(checked), checked.Before(staleBefore), f.tag(repository, tag))
	return fresh
}

// tag is the freshness of a tag: of the first class that matches, else the default.
func (f Freshness) tag(repository, tag string) time.Duration {
	for _, c := range f.classes {
		if c.pattern.Match(repository, tag) {
			return c.fresh
		}
	}
	return f.def
}

// listFresh is how long a list may be served without asking again. Referrers go by the tag in which upstreams without the API
// keep them, so that one class, "*:sha256-*", covers all ways to sign an image. That there are none is an absence, and
// remembered no longer than others: images are signed after they are pushed, and often after they were first looked at.
func (r *Registry) listFresh(kind, repository string, subject oci.Digest, payload []byte) time.Duration {
	if kind != listReferrers {
		return r.Freshness.def
	}
	fresh := r.Freshness.tag(repository, oci.ReferrersTag(subject))
	if string(payload) == "[]" {
		return min(fresh, r.NegativeFor)
	}
	return fresh
}

// age returns how old a reference confirmed at checked is, and how much longer it is fresh: not above zero when it is
// stale, except that -1 together with fresh = true means for ever.
func (r *Registry) age(checked time.Time, freshFor time.Duration) (old, left time.Duration, fresh bool) {
	return age(r.Now().Sub(checked), checked.Before(r.StaleBefore), freshFor)
}

func age(since time.Duration, revoked bool, freshFor time.Duration) (old, left time.Duration, fresh bool) {
	old = max(0, since)
	switch {
	case revoked:
		return old, 0, false
	case freshFor == forever:
		return old, -1, true
	case since < -maxSkew:
		return old, 0, false
	}
	left = freshFor - old
	return old, left, left > 0
}

package faults_test

import (
	"github.com/weir-registry/weir/internal/lab"
	"github.com/weir-registry/weir/internal/oci"
)

// state is what of an answer is cached when the fault begins.
type state string

const (
	cold  state = "cold"
	fresh state = "fresh"
	stale state = "stale"
)

// variant is what stands beside the upstream in its registry.
type variant string

const (
	alone  variant = "alone"
	lower  variant = "lower"  // a lower member
	stop   variant = "stop"   // a lower member, and on_unknown: stop
	strict variant = "strict" // a lower member, and strict_precedence
)

// cell is one question of a row.
type cell struct {
	state   state
	kind    lab.Kind
	variant variant
}

// cells are all there are: every state and kind, alone and with a lower member; on_unknown and strict_precedence change nothing
// about what is fresh.
func cells() (out []cell) {
	for _, s := range []state{cold, fresh, stale} {
		for _, k := range kinds {
			for _, v := range []variant{alone, lower, stop, strict} {
				if s != fresh || v == alone || v == lower {
					out = append(out, cell{s, k, v})
				}
			}
		}
	}
	return out
}

func (c cell) name() string { return string(c.state) + "-" + string(c.kind) + "-" + string(c.variant) }

// remote is the repository of the lab that the cell asks for: each upstream's URL ends in a path of its own, because two that
// are the same place would share what they cache.
func (c cell) remote() string { return c.name() + "/" + c.name() }

// want is what the client must see.
type want struct {
	status int
	code   oci.Code
	cache  string // Cache-Status
	member string // far, low, or nobody
	body   outcome
	broken bool // the connection is cut before the end
	metric string
}

// Values of Cache-Status.
const (
	hit         = "weir; hit"
	servedStale = "weir; hit; detail=stale"
	revalidated = "weir; hit; detail=revalidated"
	miss        = "weir; fwd=miss; stored"
)

// expect is what comes of a question; again of asking it a second time, while the fault goes on.
func (r row) expect(c cell, again bool) want {
	if c.state == fresh || c.state == stale && c.kind == lab.KindBlob {
		return want{status: 200, cache: hit, member: "far", body: fine, metric: "hit"}
	}
	if c.state == stale {
		return expectStale(r.consequence(c.kind).stale, c, again)
	}
	return expectCold(r.consequence(c.kind).cold, c, again)
}

func expectStale(o outcome, c cell, again bool) want {
	if o == spent {
		if o = fine; again {
			o = limited
		}
	}
	switch o {
	case fine:
		if c.kind == lab.KindManifest {
			return want{status: 200, cache: revalidated, member: "far", body: fine, metric: "revalidated"}
		}
		return want{status: 200, cache: miss, member: "far", body: fine, metric: "miss"}
	case moved, empty:
		w := want{status: 200, cache: miss, member: "far", body: o, metric: "miss"}
		if o == moved && again {
			w.cache, w.metric = revalidated, "revalidated"
		}
		return w
	}
	return want{status: 200, cache: servedStale, member: "far", body: fine, metric: "stale"}
}

func expectCold(o outcome, c cell, again bool) want {
	switch o {
	case fine, moved, empty, late:
		w := want{status: 200, cache: miss, member: "far", body: o, metric: "miss"}
		if again {
			w.cache, w.metric = hit, "hit"
		}
		return w
	case wrong:
		if !again {
			return want{status: 200, cache: miss, member: "far", broken: true, metric: "miss"}
		}
		o = unknown
	}
	ends := c.variant == alone || c.variant == stop && o != absent || c.variant == strict && (o == unknown || o == limited)
	if !ends { // the lower member answers
		w := want{status: 200, cache: miss, member: "low", body: fine, metric: metricOf(o)}
		if again {
			w.cache = hit
		}
		return w
	}
	switch {
	case o == limited:
		return want{status: 429, code: oci.CodeTooManyRequests, metric: "unknown"}
	case o == unknown || c.variant == stop:
		return want{status: 503, code: oci.CodeUnavailable, metric: metricOf(o)}
	case c.kind == lab.KindReferrers: // 404 would mean that the API is missing
		return want{status: 200, body: empty, metric: metricOf(o)}
	}
	code := map[lab.Kind]oci.Code{
		lab.KindManifest: oci.CodeManifestUnknown, lab.KindBlob: oci.CodeBlobUnknown, lab.KindTags: oci.CodeNameUnknown,
	}
	return want{status: 404, code: code[c.kind], metric: metricOf(o)}
}

// metricOf is the status that weir_cache_answers_total counts for an upstream without an answer.
func metricOf(o outcome) string {
	if o == limited {
		return string(unknown)
	}
	return string(o)
}

// words is what a reader of the manual sees.
func (w want) words() string {
	switch {
	case w.broken:
		return "200, cut before the end"
	case w.status != 200:
		return map[int]string{404: "404", 429: "429", 503: "503"}[w.status]
	case w.cache == "":
		return "200, none"
	case w.member == "low":
		return "200 lower"
	case w.cache == servedStale:
		return "200 stale"
	case w.cache == hit:
		return "200 hit"
	case w.body == moved:
		return "200, the new one"
	case w.body == empty:
		return "200, none"
	}
	return "200"
}

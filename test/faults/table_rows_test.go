package faults_test

import (
	"strings"

	"github.com/weir-registry/weir/internal/lab"
)

// row is one fault of the table: how it is made, and what it means for each kind of question.
type row struct {
	name string     // its heading, and the name of its group
	play []string   // what the lab is told, see lab.Faults
	once *lab.Fault // instead: once for each cell
	note string     // what a reader should know

	always   []string                 // what is so from the start: logins, redirects
	begin    func(u *lab.Upstream)    // beside play
	listen   string                   // of the lab; 127.0.0.1:0 when empty
	settings string                   // of the upstream, beyond patient
	login    bool                     // the upstream is given a login
	kinds    map[lab.Kind]consequence // those that differ from all
	all      consequence
	says     string // part of the reason that log lines give, where there is no answer
	traffic  string // class of the upstream's answers to a cold manifest, as weir_upstream_requests_total counts them
	later    bool   // the upstream said when to come back, or is believed for a while: see note
}

// consequence is what a fault means for one kind of question while nothing of it is cached, and while what is cached is stale.
type consequence struct{ cold, stale outcome }

// outcome is a word for what comes of a question.
type outcome string

// Outcomes.
const (
	fine    outcome = "fine"    // the right answer from the upstream
	unknown outcome = "unknown" // no authoritative answer
	limited outcome = "limited" // none, because of a rate limit
	denied  outcome = "denied"  // an authoritative "not for you"
	absent  outcome = "absent"  // an authoritative "not there"
	wrong   outcome = "wrong"   // wrong bytes in a body under way
	moved   outcome = "moved"   // the right answer is another one now
	empty   outcome = "empty"   // the right answer is an empty list
	late    outcome = "late"    // the upstream answers after revalidate_wait
	spent   outcome = "spent"   // fine once, then limited
)

func both(o outcome) consequence { return consequence{o, o} }

var kinds = []lab.Kind{lab.KindManifest, lab.KindBlob, lab.KindTags, lab.KindReferrers}

// A patient upstream is waited for: nothing is decided by how fast this machine is. A hurried one is for faults that hang.
const (
	patient = "timeout: 20s, idle_timeout: 20s, revalidate_wait: 20s"
	hurried = "timeout: 1s, idle_timeout: 500ms, revalidate_wait: 100ms"
	brief   = "timeout: 2s, idle_timeout: 1s, revalidate_wait: 20s"
	eager   = "timeout: 20s, idle_timeout: 20s, revalidate_wait: 50ms"
)

// body is what a fault within the body of manifests and lists means: HEAD, by which a tag is confirmed, has none.
func body(blob consequence) map[lab.Kind]consequence {
	return map[lab.Kind]consequence{lab.KindManifest: {unknown, fine}, lab.KindBlob: blob}
}

var rows = append(append(answers, bodies...), logins...)

// answers are faults before a body.
var answers = []row{
	{name: "late", play: []string{"latency,by=200ms"}, all: both(fine), traffic: "2xx"},
	{name: "very late", play: []string{"latency,by=3s"}, settings: eager, all: consequence{fine, late}, traffic: "2xx",
		note: "What is stale is served after `revalidate_wait`; the check goes on, and its result counts from then on."},
	{name: "hang", play: []string{"hang"}, settings: hurried, all: both(unknown), says: "no answer in time", traffic: "none",
		note: "Cold: after the upstream's `timeout`. After three in a row the breaker answers at once, and tries again twice a second."},
	{name: "reset", play: []string{"reset"}, all: both(unknown), says: "connection reset", traffic: "none",
		note: "Each question is asked once more before that."},
	{name: "reset, once", once: &lab.Fault{Reset: true}, all: both(fine), traffic: "2xx"},
	{name: "refused connections", begin: (*lab.Upstream).Stop, all: both(unknown), says: "connection refused", traffic: "none"},
	{name: "401", play: []string{"401"}, all: both(unknown), says: "a login is needed", traffic: "4xx",
		note: "Without a challenge there is no way to log in."},
	{name: "403", play: []string{"403"}, all: both(denied), traffic: "4xx", later: true,
		note: "Believed for `cache.negative_ttl`."},
	{name: "404", play: []string{"404"}, all: both(absent), kinds: map[lab.Kind]consequence{lab.KindReferrers: {empty, absent}}, traffic: "4xx", later: true,
		note: "Believed for `cache.negative_ttl`. With `on_upstream_delete: refuse` what is stale is 404 too. A 404 for referrers may mean that the upstream lacks the API: none, unless some are known."},
	{name: "429", play: []string{"429"}, all: both(limited), says: "429 Too Many Requests", traffic: "4xx"},
	{name: "429, Retry-After: 7", play: []string{"429,retry-after=7"}, all: both(limited), says: "429 Too Many Requests", traffic: "4xx", later: true,
		note: "The wish is passed on, and respected: nothing is asked before."},
	{name: "500", play: []string{"500"}, all: both(unknown), says: "500 Internal Server Error", traffic: "5xx"},
	{name: "502", play: []string{"502"}, all: both(unknown), says: "502 Bad Gateway", traffic: "5xx"},
	{name: "503", play: []string{"503"}, all: both(unknown), says: "503 Service Unavailable", traffic: "5xx"},
	{name: "503, Retry-After: 7", play: []string{"503,retry-after=7"}, all: both(unknown), says: "503 Service Unavailable", traffic: "5xx",
		note: "The wish is passed on to clients."},
	{name: "504", play: []string{"504"}, all: both(unknown), says: "504 Gateway Timeout", traffic: "5xx"},
	{name: "web page", play: []string{"web-page"}, all: both(unknown), says: "web page", traffic: "2xx"},
	{name: "tag moved", play: []string{"tag-moved"}, all: both(fine), kinds: map[lab.Kind]consequence{lab.KindManifest: both(moved)}, traffic: "2xx",
		note: "The tag moves when the new manifest has been fetched and verified."},
	{name: "tag deleted", play: []string{"tag-deleted"}, all: both(fine), traffic: "4xx", later: true,
		kinds: map[lab.Kind]consequence{lab.KindManifest: both(absent), lab.KindTags: both(empty)}},
	{name: "IPv6 only", listen: "[::1]:0", all: both(fine), traffic: "2xx"},
}

// bodies are faults within a body, or about it.
var bodies = []row{
	{name: "bandwidth", play: []string{"bandwidth,rate=200000"}, all: both(fine), traffic: "2xx"},
	{name: "slow drip", play: []string{"drip,kind=blob,rate=60000", "drip,rate=8"}, settings: brief, all: both(unknown), kinds: body(both(fine)),
		says: "no answer in time", traffic: "2xx", note: "Small answers must arrive within twice the `timeout` plus `idle_timeout`; a blob takes as long as bytes keep coming."},
	{name: "hang in the body", play: []string{"hang,kind=blob,at=60000", "hang,at=20"}, settings: brief, all: both(unknown), kinds: body(both(fine)),
		says: "the answer stopped", traffic: "2xx", note: "A blob is taken up again by Range after `idle_timeout`; no byte is asked for twice."},
	{name: "reset in the body", play: []string{"reset,kind=blob,at=60000", "reset,at=20"}, all: both(unknown), kinds: body(both(fine)),
		says: "connection", traffic: "2xx", note: "A blob is taken up again by Range."},
	{name: "truncated", play: []string{"truncate,kind=blob,at=60000", "truncate,at=20"}, all: both(unknown), kinds: body(both(fine)),
		says: "closed before the answer was complete", traffic: "2xx", note: "A blob is taken up again by Range."},
	{name: "extra bytes", play: []string{"extra"}, all: both(unknown), kinds: body(both(wrong)), says: "", traffic: "2xx", later: true,
		note: "Wrong bytes for a digest are believed for a minute: nobody fetches them again to find the same."},
	{name: "one wrong byte", play: []string{"wrong-byte"}, all: both(unknown), kinds: body(both(wrong)), says: "", traffic: "2xx", later: true,
		note: "A list has no digest: that a wrong byte is seen there is because it breaks the JSON."},
	{name: "wrong digest header", play: []string{"wrong-digest"}, all: both(fine), kinds: map[lab.Kind]consequence{lab.KindManifest: both(unknown)},
		says: "wrong bytes", traffic: "2xx", note: "Header or bytes are wrong, and nobody knows which. By digest, the bytes decide."},
	{name: "no digest header", play: []string{"no-digest"}, all: both(fine), traffic: "2xx", note: "A tag is confirmed by GET instead of HEAD."},
	{name: "no referrers API", play: []string{"no-referrers"}, all: both(fine), kinds: map[lab.Kind]consequence{lab.KindReferrers: {empty, absent}}, traffic: "2xx",
		note: "The tag that clients keep instead (`sha256-…`) is asked for. Without it there are none, unless some are known."},
}

const ci = "bearer,user=ci,password=secret"

// logins are faults of logins, limits and redirects.
var logins = []row{
	{name: "basic login", always: []string{"basic,user=ci,password=secret"}, login: true, all: both(fine), traffic: "2xx"},
	{name: "bearer login", always: []string{ci}, login: true, all: both(fine), traffic: "2xx"},
	{name: "tokens that expire", always: []string{ci + ",life=2s"}, login: true, all: both(fine), traffic: "2xx"},
	{name: "tokens that end early", always: []string{ci + ",announced=1h"}, begin: (*lab.Upstream).ExpireTokens, login: true, all: both(fine), traffic: "2xx"},
	{name: "token endpoint down", always: []string{ci}, play: []string{ci, "500,kind=token"}, begin: (*lab.Upstream).ExpireTokens, login: true,
		all: both(unknown), says: "token", traffic: "4xx"},
	{name: "password changed", always: []string{ci}, play: []string{"bearer,user=ci,password=another"}, begin: (*lab.Upstream).ExpireTokens, login: true,
		all: both(unknown), says: "refused", traffic: "4xx", later: true, note: "The login is tried again after a pause, so that the account is not locked."},
	{name: "good tokens refused", always: []string{ci}, begin: func(u *lab.Upstream) { u.Set(func(b *lab.Behavior) { b.RejectTokens = true }) }, login: true,
		all: both(denied), traffic: "4xx", later: true, note: "So Docker Hub answers for images that do not exist."},
	{name: "rate limit announced", play: []string{"rate-limit,limit=1000,remaining=900"}, all: both(fine), traffic: "2xx",
		note: "`weir_upstream_budget_remaining` follows it."},
	{name: "rate limit used up", play: []string{"rate-limit,limit=100,remaining=0"}, all: both(fine), traffic: "4xx", later: true, says: "429",
		kinds: map[lab.Kind]consequence{lab.KindManifest: {limited, spent}}, note: "HEAD still answers once; from then on a check waits until something may be left."},
	{name: "redirect to a signed URL", always: []string{"redirect"}, all: both(fine), traffic: "2xx"},
	{name: "signed URL good for one request", always: []string{"redirect,uses=1"}, play: []string{"redirect,uses=1", "truncate,kind=storage,at=60000"},
		all: both(fine), traffic: "2xx", note: "The registry is asked for another URL each time, and the blob goes on where it broke."},
	{name: "signed URL expired", play: []string{"redirect,uses=-1"}, all: both(fine), kinds: map[lab.Kind]consequence{lab.KindBlob: both(unknown)},
		says: "after a redirect", traffic: "2xx"},
}

// group is the name of the row's group.
func (r row) group() string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(r.name))
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	return "f-" + strings.Trim(name, "-")
}

func (r row) consequence(k lab.Kind) consequence {
	if c, ok := r.kinds[k]; ok {
		return c
	}
	return r.all
}

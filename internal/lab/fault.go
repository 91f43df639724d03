package lab

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Entry describes one fault that people can write: "name" or "name,option=value,…".
type Entry struct {
	Name    string
	Meaning string
	Options []Option
	Whole   bool // it is about the upstream as a whole, and takes no Selectors

	play func(v *values, b *Behavior)
}

// Option is an option of a fault.
type Option struct{ Name, Default, Meaning string }

// Selectors narrow a fault to some of the requests. Faults that are about the upstream as a whole take none.
func Selectors() []Option {
	return []Option{
		{"kind", "any", "manifest, blob, tags, referrers, token, ping or storage (the host that blobs are redirected to)"},
		{"method", "any", "GET, HEAD or POST"},
		{"repository", "any", "name of the repository"},
		{"reference", "any", "tag or digest"},
		{"skip", "0", "let so many matching requests pass first"},
		{"times", "all", "then fail so many"},
	}
}

// Faults is the catalogue of everything that can go wrong with an Upstream, in the order of the manual.
func Faults() []Entry {
	at := func(meaning string) Option { return Option{"at", "0", meaning} }
	return []Entry{
		{Name: "latency", Meaning: "every answer comes late", Options: []Option{{"by", "1s", "how late"}},
			play: func(v *values, b *Behavior) { v.rule(b, Fault{Delay: v.duration("by")}) }},
		{Name: "bandwidth", Meaning: "bodies come slowly", Options: []Option{{"rate", "100000", "bytes a second"}},
			play: func(v *values, b *Behavior) { v.rule(b, Fault{BytesPerSecond: v.number("rate", 1)}) }},
		{Name: "drip", Meaning: "bodies come so slowly that they never seem to end", Options: []Option{{"rate", "10", "bytes a second"}},
			play: func(v *values, b *Behavior) { v.rule(b, Fault{BytesPerSecond: v.number("rate", 1)}) }},
		{Name: "<status>", Meaning: "an HTTP error instead of an answer: 401, 403, 404, 429, 500, 503, any from 400 to 599", Options: []Option{{"retry-after", "none", "value of Retry-After: seconds, or an HTTP date"}},
			play: func(v *values, b *Behavior) { v.rule(b, v.statusFault()) }},
		{Name: "web-page", Meaning: "200 with a web page, as parked domains and login portals answer",
			play: func(v *values, b *Behavior) {
				v.rule(b, Fault{Status: http.StatusOK, Body: "<html>parked</html>", Header: http.Header{"Content-Type": {"text/html"}}})
			}},
		{Name: "hang", Meaning: "the connection stays open and nothing comes", Options: []Option{at("bytes of the body before that; 0 = before the headers")},
			play: func(v *values, b *Behavior) { n := v.bytes("at"); v.rule(b, Fault{Hang: n == 0, HangAt: n}) }},
		{Name: "reset", Meaning: "the connection is reset", Options: []Option{at("bytes of the body before that; 0 = before the headers")},
			play: func(v *values, b *Behavior) { n := v.bytes("at"); v.rule(b, Fault{Reset: n == 0, ResetAt: n}) }},
		{Name: "truncate", Meaning: "the connection is closed before the body is complete", Options: []Option{{"at", "100", "bytes of the body before that"}},
			play: func(v *values, b *Behavior) { v.rule(b, Fault{CutAt: v.number("at", 1)}) }},
		{Name: "extra", Meaning: "the body goes on behind its end, Content-Length included", Options: []Option{{"bytes", "1", "how far"}},
			play: func(v *values, b *Behavior) { v.rule(b, Fault{Extra: v.number("bytes", 1)}) }},
		{Name: "wrong-byte", Meaning: "one byte is not the right one", Options: []Option{{"at", "1", "which, counted from 1 within the content"}},
			play: func(v *values, b *Behavior) { v.rule(b, Fault{FlipAt: v.number("at", 1)}) }},
		{Name: "wrong-digest", Whole: true, Meaning: "Docker-Content-Digest names something else",
			play: func(_ *values, b *Behavior) { b.WrongDigestHeader = true }},
		{Name: "no-digest", Whole: true, Meaning: "Docker-Content-Digest is missing",
			play: func(_ *values, b *Behavior) { b.NoDigestHeader = true }},
		{Name: "no-referrers", Whole: true, Meaning: "the referrers API is not there",
			play: func(_ *values, b *Behavior) { b.NoReferrers = true }},
		{Name: "tag-moved", Meaning: "a tag leads to the image of the next tag",
			play: func(v *values, b *Behavior) { v.rule(b, Fault{TagMoved: true}) }},
		{Name: "tag-deleted", Meaning: "a tag is gone, from the list too; digests stay",
			play: func(v *values, b *Behavior) { v.rule(b, Fault{TagDeleted: true}) }},
		{Name: "redirect", Whole: true, Meaning: "blobs are redirected to a signed URL on another host", Options: []Option{
			{"uses", "any", "requests that one URL is good for; -1 = none, as if it had expired on the way"}, {"life", "for ever", "time that one URL is good for"}},
			play: func(v *values, b *Behavior) {
				b.Redirect, b.SignedUses, b.SignedLife = true, int(v.number("uses", -1)), v.duration("life")
			}},
		{Name: "basic", Whole: true, Meaning: "asks for a login with a user name and password", Options: loginOptions(),
			play: func(v *values, b *Behavior) {
				b.Auth, b.Username, b.Password = AuthBasic, v.text("user"), v.text("password")
			}},
		{Name: "bearer", Whole: true, Meaning: "asks for a token of its token endpoint (/token)", Options: append(loginOptions(),
			Option{"life", "for ever", "time that a token is good for"}, Option{"announced", "life", "time that the endpoint says it is"}),
			play: func(v *values, b *Behavior) { v.bearer(b) }},
		{Name: "rate-limit", Whole: true, Meaning: "ratelimit-limit and ratelimit-remaining on manifests, and 429 when nothing remains", Options: []Option{
			{"limit", "100", "requests in the window"}, {"remaining", "100", "of these left now"}, {"window", "6h", "length"}},
			play: func(v *values, b *Behavior) {
				b.RateLimit, b.RateRemaining, b.RateWindow = int(v.number("limit", 1)), int(v.number("remaining", 0)), int(v.duration("window")/time.Second)
			}},
	}
}

func loginOptions() []Option {
	return []Option{{"user", "anybody", "user name"}, {"password", "any", "password"}}
}

// Bounds of what people can ask for.
const (
	maxFaults   = 100
	maxDuration = time.Hour
	maxNumber   = 1 << 40
)

// values are the options of one fault while it is being read.
type values struct {
	entry Entry
	line  string
	given map[string]string
	used  map[string]bool
	errs  []error
}

// parse reads one line of a fault.
func parse(line string) (*values, error) {
	name, rest, more := strings.Cut(strings.TrimSpace(line), ",")
	name = strings.TrimSpace(name)
	v := &values{line: strings.TrimSpace(line), given: map[string]string{}, used: map[string]bool{}}
	entry := name
	if status, err := strconv.Atoi(name); err == nil {
		if status < 400 || status > 599 {
			return nil, fmt.Errorf("fault %q: a status is from 400 to 599", line)
		}
		entry, v.given["status"], v.used["status"] = "<status>", name, true
	}
	all := Faults()
	i := slices.IndexFunc(all, func(e Entry) bool { return e.Name == entry })
	if i < 0 {
		return nil, fmt.Errorf("fault %q: there is no %q; see weir lab upstream --help", line, name)
	}
	v.entry = all[i]
	for more {
		var option string
		option, rest, more = strings.Cut(rest, ",")
		key, value, ok := strings.Cut(strings.TrimSpace(option), "=")
		if !ok || !v.takes(key) {
			return nil, fmt.Errorf("fault %q: %s takes no option %q", line, name, option)
		}
		v.given[key] = value
	}
	return v, nil
}

func (v *values) takes(key string) bool {
	named := func(o Option) bool { return o.Name == key }
	return slices.ContainsFunc(v.entry.Options, named) || !v.entry.Whole && slices.ContainsFunc(Selectors(), named)
}

// text is an option's value; empty when it was not given.
func (v *values) text(key string) string { return v.given[key] }

// number is a whole number not below least; without it, the option's default, or 0 if that is a word.
func (v *values) number(key string, least int64) int64 {
	text, ok := v.given[key]
	if !ok {
		for _, o := range v.entry.Options {
			if o.Name == key {
				text = o.Default
			}
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > maxNumber {
		v.errs = append(v.errs, fmt.Errorf("%s=%s is not a whole number from %d", key, text, least))
	}
	return n
}

func (v *values) bytes(key string) int64 { return v.number(key, 0) }

func (v *values) duration(key string) time.Duration {
	text, given := v.given[key]
	for _, o := range v.entry.Options {
		if o.Name == key && !given {
			text = o.Default
		}
	}
	d, err := time.ParseDuration(text)
	if given && (err != nil || d <= 0 || d > 24*maxDuration) {
		v.errs = append(v.errs, fmt.Errorf(`%s=%s is not a duration such as "500ms" or "2m", up to 24h`, key, text))
	}
	return d
}

// rule adds a rule for the requests that the selectors name.
func (v *values) rule(b *Behavior, f Fault) {
	b.Rules = append(b.Rules, Rule{
		Method: strings.ToUpper(v.text("method")), Kind: v.kind(), Repository: v.text("repository"), Reference: v.text("reference"),
		Skip: int(v.number("skip", 0)), Times: int(v.number("times", 0)), Fault: f, line: v.line,
	})
}

func (v *values) kind() Kind {
	k := Kind(v.text("kind"))
	switch k {
	case "", KindPing, KindManifest, KindBlob, KindTags, KindReferrers, KindToken, KindStorage:
		return k
	}
	v.errs = append(v.errs, fmt.Errorf("kind=%s is none of manifest, blob, tags, referrers, token, ping and storage", k))
	return k
}

func (v *values) statusFault() Fault {
	status, _ := strconv.Atoi(v.given["status"])
	f := Fault{Status: status, Header: http.Header{}}
	if after := v.text("retry-after"); after != "" {
		f.Header.Set("Retry-After", after)
	}
	return f
}

func (v *values) bearer(b *Behavior) {
	b.Auth, b.Username, b.Password, b.TokenLife = AuthBearer, v.text("user"), v.text("password"), v.duration("life")
	b.ExpiresIn = int(v.duration("announced") / time.Second)
	if b.ExpiresIn == 0 {
		b.ExpiresIn = int(b.TokenLife / time.Second)
	}
}

// Play makes the Upstream misbehave as lines say, from now on; what was wrong with it before is over. The first line that
// covers a request counts. Errors name every line that makes no sense, and change nothing.
func (u *Upstream) Play(lines ...string) error {
	b := Behavior{}
	if err := b.play(lines); err != nil {
		return err
	}
	u.Set(func(now *Behavior) { *now = b })
	return nil
}

// Add is Play, but what was wrong before stays so. New lines come before the old ones.
func (u *Upstream) Add(lines ...string) error {
	var err error
	u.Set(func(now *Behavior) {
		next := *now
		next.Rules, next.lines = nil, nil
		if err = next.play(lines); err != nil {
			return
		}
		next.Rules, next.lines = append(next.Rules, now.Rules...), append(next.lines, now.lines...)
		if len(next.Rules)+len(next.lines) > maxFaults {
			err = fmt.Errorf("no more than %d faults at a time", maxFaults)
			return
		}
		*now = next
	})
	return err
}

// play adds what lines say. Empty lines and those that begin with # say nothing.
func (b *Behavior) play(lines []string) error {
	var errs []error
	for _, line := range lines {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		v, err := parse(line)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v.entry.play(v, b)
		for _, err := range v.errs {
			errs = append(errs, fmt.Errorf("fault %q: %w", line, err))
		}
		if v.entry.Whole {
			b.lines = append(b.lines, v.line)
		}
	}
	if len(b.Rules)+len(b.lines) > maxFaults {
		errs = append(errs, fmt.Errorf("no more than %d faults at a time", maxFaults))
	}
	return errors.Join(errs...)
}

// Playing is a fault in force.
type Playing struct {
	Fault    string `json:"fault"`
	Requests int    `json:"requests"` // that met it; -1 if it is about the whole upstream
}

// Playing returns the faults that Play and Add began, in the order in which they count.
func (u *Upstream) Playing() []Playing {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := []Playing{}
	for i := range u.behavior.Rules {
		if r := &u.behavior.Rules[i]; r.line != "" {
			out = append(out, Playing{r.line, max(0, r.seen-r.Skip)})
		}
	}
	for _, line := range u.behavior.lines {
		out = append(out, Playing{line, -1})
	}
	return out
}

package upstream

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds how long an upstream can keep us away with one header.
const maxRetryAfter = time.Hour

// parseRetryAfter reads Retry-After: seconds or an HTTP date. 0 when there is none or it is past.
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	var d time.Duration
	if seconds, err := strconv.ParseInt(v, 10, 64); err == nil {
		d = time.Duration(min(seconds, int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return max(0, min(d, maxRetryAfter))
}

// parseRate reads the value and window of ratelimit-limit and ratelimit-remaining: "100;w=21600". The window is 0 when it
// is not given.
func parseRate(v string) (n int, window time.Duration, ok bool) {
	value, params, _ := strings.Cut(v, ";")
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n < 0 {
		return 0, 0, false
	}
	for p := range strings.SplitSeq(params, ";") {
		name, w, _ := strings.Cut(strings.TrimSpace(p), "=")
		if seconds, err := strconv.Atoi(w); err == nil && strings.EqualFold(name, "w") && seconds >= 0 {
			window = min(time.Duration(min(seconds, 1<<20))*time.Second, 24*time.Hour)
		}
	}
	return n, window, true
}

// contentRange is a Content-Range header (RFC 9110, section 14.4). Size is -1 for "*"; for an unsatisfied range, "bytes
// */size", First is -1.
type contentRange struct{ first, last, size int64 }

func parseContentRange(v string) (contentRange, bool) {
	unit, rest, _ := strings.Cut(strings.TrimSpace(v), " ")
	span, total, slash := strings.Cut(rest, "/")
	if !strings.EqualFold(unit, "bytes") || !slash {
		return contentRange{}, false
	}
	c := contentRange{first: -1, last: -1, size: -1}
	var ok bool
	if total != "*" {
		if c.size, ok = parseSize(total); !ok {
			return contentRange{}, false
		}
	}
	if span == "*" {
		return c, c.size >= 0
	}
	from, to, dash := strings.Cut(span, "-")
	if !dash {
		return contentRange{}, false
	}
	if c.first, ok = parseSize(from); !ok {
		return contentRange{}, false
	}
	if c.last, ok = parseSize(to); !ok || c.last < c.first || (c.size >= 0 && c.last >= c.size) {
		return contentRange{}, false
	}
	return c, true
}

func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// parseNext returns the query of the next page's link (RFC 8288). Only the query is of use: the rest of the link is often
// an internal address, and must not decide where a request goes.
func parseNext(h http.Header) (url.Values, bool) {
	for _, line := range h.Values("Link") {
		for line != "" {
			_, after, ok := strings.Cut(line, "<")
			if !ok {
				break
			}
			target, params, ok := strings.Cut(after, ">")
			if !ok {
				break
			}
			params, line = splitLink(params)
			if !isNext(params) {
				continue
			}
			if u, err := url.Parse(target); err == nil && u.RawQuery != "" {
				if q, err := url.ParseQuery(u.RawQuery); err == nil {
					return q, true
				}
			}
		}
	}
	return nil, false
}

// splitLink separates the parameters of one link from the links after it, at a comma outside quotes.
func splitLink(s string) (params, rest string) {
	quoted := false
	for i := range len(s) {
		switch s[i] {
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

func isNext(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(name), "rel") {
			for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
				if strings.EqualFold(rel, "next") {
					return true
				}
			}
		}
	}
	return false
}

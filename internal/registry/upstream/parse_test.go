package upstream

import (
	"maps"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestParseChallenges(t *testing.T) {
	type m = map[string]string
	for _, c := range []struct {
		lines []string
		want  []challenge
	}{
		{[]string{`Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push"`},
			[]challenge{{"bearer", m{"realm": "https://auth.test/token", "service": "registry.test", "scope": "repository:a/b:pull,push"}}}},
		{[]string{`Basic realm="a", Bearer realm="b=c&d=e" , service=x`}, []challenge{{"basic", m{"realm": "a"}}, {"bearer", m{"realm": "b=c&d=e", "service": "x"}}}},
		{[]string{`BASIC REALM="a"`, `bearer Realm = "b"`}, []challenge{{"basic", m{"realm": "a"}}, {"bearer", m{"realm": "b"}}}},
		{[]string{`Bearer realm=https://auth.test/token?a=b,service=x`}, []challenge{{"bearer", m{"realm": "https://auth.test/token?a=b", "service": "x"}}}},
		{[]string{`Bearer realm="a \"quoted\" \\ b"`}, []challenge{{"bearer", m{"realm": `a "quoted" \ b`}}}},
		{[]string{`Negotiate, Basic realm="x"`}, []challenge{{"negotiate", m{}}, {"basic", m{"realm": "x"}}}},
		{[]string{`Bearer realm="a",realm="b"`}, []challenge{{"bearer", m{"realm": "a"}}}},
		{[]string{`Bearer realm="never closed`}, []challenge{{"bearer", m{}}}},
		{[]string{`,, ,`, ``, `"quoted"`}, nil},
	} {
		got := parseChallenges(http.Header{"Www-Authenticate": c.lines})
		same := len(got) == len(c.want)
		for i := 0; same && i < len(got); i++ {
			same = got[i].scheme == c.want[i].scheme && maps.Equal(got[i].params, c.want[i].params)
		}
		if !same {
			t.Errorf("%q:\n got %v\nwant %v", c.lines, got, c.want)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "12": 12 * time.Second, " 12 ": 12 * time.Second, "99999999999": time.Hour, "x": 0, "1.5": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		now.AddDate(9, 0, 0).Format(http.TimeFormat): time.Hour,
	} {
		if got := parseRetryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for v, want := range map[string]struct {
		n      int
		window time.Duration
		ok     bool
	}{
		"100;w=21600": {100, 6 * time.Hour, true}, "76": {76, 0, true}, " 0 ; W=60 ; x=y": {0, time.Minute, true}, "5;w=-1": {5, 0, true},
		"5;w=9999999999": {5, 24 * time.Hour, true}, "": {}, "-1": {}, "x;w=5": {},
	} {
		if n, window, ok := parseRate(v); n != want.n || window != want.window || ok != want.ok {
			t.Errorf("%q: %d %s %t, want %+v", v, n, window, ok, want)
		}
	}
}

func TestParseNext(t *testing.T) {
	for line, want := range map[string]string{
		`</v2/a/tags/list?n=3&last=c>; rel="next"`:                   "last=c&n=3",
		`<https://other.test/x?last=c>; title="a,b"; rel=NEXT`:       "last=c",
		`<?a=1>; rel="prev", <?a=2>; title="<x>"; rel="next last"`:   "a=2",
		`</v2/a/tags/list?last=c>`:                                   "",
		`/v2/a/tags/list?last=c; rel="next"`:                         "",
		`</v2/a/tags/list>; rel="next"`:                              "",
		`<?a=%zz>; rel="next"`:                                       "",
		`<<<>>>; rel=next`:                                           "",
		`<?a=1>; rel="next`:                                          "a=1",
		`<http://[::1>; rel="next", </x?b=2>; foo; rel="next"; rel=`: "b=2",
	} {
		q, ok := parseNext(http.Header{"Link": {line}})
		if q.Encode() != want || ok != (want != "") {
			t.Errorf("%s: %q %t, want %q", line, q.Encode(), ok, want)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for v, want := range map[string]contentRange{
		"bytes 0-9/100": {0, 9, 100}, "Bytes 5-5/*": {5, 5, -1}, "bytes */7": {-1, -1, 7},
	} {
		if got, ok := parseContentRange(v); !ok || got != want {
			t.Errorf("%q: %+v %t, want %+v", v, got, ok, want)
		}
	}
	for _, v := range []string{"", "bytes", "bytes 0-9", "bytes 9-0/100", "bytes 0-100/100", "bytes */*", "bytes -1-5/9", "bytes 0-9/-1", "items 0-9/100", "bytes +1-2/3"} {
		if got, ok := parseContentRange(v); ok {
			t.Errorf("%q: %+v", v, got)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	const public, private, never = 0, 1, 2
	for text, class := range map[string]int{
		"93.184.216.34": public, "2606:2800:220:1::1": public, "64:ff9b::5db8:d822": public,
		"127.0.0.1": private, "::1": private, "10.1.2.3": private, "172.16.0.1": private, "192.168.1.1": private, "fc00::1": private,
		"100.64.0.1": private, "169.254.1.1": private, "fe80::1": private, "fe80::1%eth0": private, "::ffff:127.0.0.1": private,
		"64:ff9b::7f00:1": private, "64:ff9b::a00:1": private, "2002:7f00:1::": private, "2002:a00:1::": private, "::7f00:1": private,
		"64:ff9b:1::a00:1": private, "2001::1": private, "198.18.0.1": private, "240.0.0.1": private, "255.255.255.255": private,
		"192.0.2.1": private, "2001:db8::1": private, "0.1.2.3": private,
		"0.0.0.0": never, "::": never, "224.0.0.1": never, "ff02::1": never, "169.254.169.254": never, "fd00:ec2::254": never,
		"::ffff:169.254.169.254": never, "64:ff9b::a9fe:a9fe": never, "2002:a9fe:a9fe::": never, "168.63.129.16": never, "100.100.100.200": never,
		"64:ff9b::": never,
	} {
		ip := netip.MustParseAddr(text)
		if err := checkAddress(ip, false); (err == nil) != (class == public) {
			t.Errorf("%s, private refused: %v", text, err)
		}
		if err := checkAddress(ip, true); (err == nil) != (class != never) {
			t.Errorf("%s, private allowed: %v", text, err)
		}
	}
}

func TestTokensAreBounded(t *testing.T) {
	now := time.Now()
	c := newTokens(func() time.Time { return now })
	key := func(i int) tokenKey { return tokenKey{scope: string(rune(i))} }
	for i := range maxTokens + 3 {
		c.put(key(i), token{expires: now.Add(time.Minute)})
		c.get(key(0)) // stays in use
	}
	_, first := c.get(key(0))
	_, second := c.get(key(1))
	if len(c.entries) != maxTokens || !first || second {
		t.Errorf("%d entries, first %t, second %t", len(c.entries), first, second)
	}
	now = now.Add(time.Minute)
	if _, ok := c.get(key(0)); ok {
		t.Error("an expired token was handed out")
	}
}

// TestFreeStat: Docker Hub does not count HEAD, so revalidation goes on when nothing is left.
func TestFreeStat(t *testing.T) {
	head, get := question{kind: KindManifest, method: http.MethodHead}, question{kind: KindManifest, method: http.MethodGet}
	for _, free := range []bool{true, false} {
		b := newBudget(time.Now, free)
		b.learn(get, &http.Response{StatusCode: 200, Header: http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"0;w=21600"}}})
		if err := b.admit(head, true); (err == nil) != free {
			t.Errorf("HEAD, free %t: %v", free, err)
		}
		if err := b.admit(get, false); err == nil {
			t.Error("GET with nothing left")
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://a/t",service="b",scope="c"`, `Basic realm="\"", Bearer realm=a=b`, `,"`, `a b=c,d="e\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := parseChallenges(http.Header{"Www-Authenticate": {line}})
		if len(got) > maxChallenges {
			t.Errorf("%d challenges", len(got))
		}
		size := 0
		for _, c := range got {
			size += len(c.scheme)
			for k, v := range c.params {
				size += len(k) + len(v)
			}
		}
		if size > 4*len(line)+16 { // lower-casing can make invalid bytes longer
			t.Errorf("%d bytes out of %d", size, len(line))
		}
	})
}

func FuzzParseHeaders(f *testing.F) {
	for _, s := range []string{`</v2/a/tags/list?n=3&last=c>; rel="next"`, "bytes 0-9/100", "100;w=21600", "120", "Fri, 02 Jan 2026 03:04:35 GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		parseNext(http.Header{"Link": {v}})
		if c, ok := parseContentRange(v); ok && (c.last < c.first || (c.size >= 0 && c.last >= c.size && c.first >= 0)) {
			t.Errorf("%q: %+v", v, c)
		}
		if n, window, ok := parseRate(v); ok && (n < 0 || window < 0) {
			t.Errorf("%q: %d %s", v, n, window)
		}
		if d := parseRetryAfter(http.Header{"Retry-After": {v}}, time.Now()); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %s", v, d)
		}
	})
}

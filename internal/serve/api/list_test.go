package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// next is the cursor in a Link header; empty when there is none.
func next(t *testing.T, link string) string {
	t.Helper()
	if link == "" {
		return ""
	}
	address, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	u, err := url.Parse(address)
	if !ok || err != nil {
		t.Fatalf("Link: %s: %v", link, err)
	}
	return u.Query().Get("after")
}

// Pages put together are the whole list, whatever comes and goes between them: what is there all the time appears exactly once.
func TestPages(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	here, _ := url.Parse("/api/v1/things?limit=3&name=a%2Fb")
	ctx := context.WithValue(t.Context(), urlKey{}, here)
	for round := range 300 {
		order := []string{"name", "-name"}[round%2]
		var stay []string
		for i := range random.IntN(40) {
			stay = append(stay, fmt.Sprintf("k%03d", i*7))
		}
		extra := func() (out []string) {
			for range random.IntN(10) {
				out = append(out, fmt.Sprintf("x%d-%d", random.IntN(400), random.Int()), fmt.Sprintf("k%03d-", random.IntN(300)))
			}
			slices.Sort(out)
			return slices.Compact(out)
		}
		var got []string
		in := ListInput{Limit: 1 + random.IntN(7)}
		for {
			p, err := pageOf(ctx, in, order, append(extra(), stay...), func(s string) string { return s })
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Body.Items) > in.Limit {
				t.Fatalf("%d items on a page of %d", len(p.Body.Items), in.Limit)
			}
			got = append(got, p.Body.Items...)
			if in.After = next(t, p.Link); in.After == "" {
				break
			}
			if !strings.Contains(p.Link, "name=a%2Fb") {
				t.Fatalf("the link lost the filter: %s", p.Link)
			}
		}
		if order == "-name" {
			slices.Reverse(got)
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("not in order, or twice: %q", got)
		}
		for _, s := range stay {
			if !slices.Contains(got, s) {
				t.Fatalf("%s is missing in %q", s, got)
			}
		}
	}
}

// A cursor is good for its list and order; anything else is refused with a reason.
func TestCursor(t *testing.T) {
	items := []string{"a", "b", "c"}
	key := func(s string) string { return s }
	p, err := pageOf(t.Context(), ListInput{Limit: 1}, "name", items, key)
	if err != nil {
		t.Fatal(err)
	}
	good := next(t, p.Link)
	for _, bad := range []string{"x", "!", base64.RawURLEncoding.EncodeToString([]byte(`{"o":"name"}`)), base64.RawURLEncoding.EncodeToString([]byte(`{"o":"name","k":["a","b"]}`)), good + "A"} {
		if _, err := pageOf(t.Context(), ListInput{Limit: 1, After: bad}, "name", items, key); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if _, err := pageOf(t.Context(), ListInput{Limit: 1, After: good}, "-name", items, key); err == nil {
		t.Error("a cursor of another order is accepted")
	}
	if p, err := pageOf(t.Context(), ListInput{Limit: 9, After: good}, "name", items, key); err != nil || !slices.Equal(p.Body.Items, []string{"b", "c"}) {
		t.Errorf("got %v, %v", p, err)
	}
}

func TestConditions(t *testing.T) {
	tag := etag(map[string]int{"a": 1})
	if tag == etag(map[string]int{"a": 2}) || tag == etag(map[string]int{"a": 1}, 2) || tag != etag(map[string]int{"a": 1}) {
		t.Error("an ETag does not tell contents apart")
	}
	for _, c := range []struct {
		match, none, current string
		updates, reads       bool
	}{
		{"", "", tag, true, true},
		{tag, "", tag, true, true},
		{`"other", ` + tag, "", tag, true, true},
		{`"other"`, "", tag, false, false},
		{"W/" + tag, "", tag, false, false},
		{"*", "", tag, true, true},
		{"*", "", "", false, false},
		{tag, "", "", false, false},
		{"", "*", "", true, true},
		{"", "*", tag, false, false},
		{"", tag, tag, false, false},
		{"", "W/" + tag, tag, true, false},
		{"", `"other"`, tag, true, true},
	} {
		in := Conditions{IfMatch: c.match, IfNoneMatch: c.none}
		if (in.update(c.current) == nil) != c.updates || (in.read(c.current) == nil) != c.reads {
			t.Errorf("%+v: update %v, read %v", c, in.update(c.current), in.read(c.current))
		}
	}
}

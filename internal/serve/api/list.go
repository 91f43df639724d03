package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

// ListInput are the parameters of every list. Lists are read by keyset: a page begins behind the last item of the page before,
// so that what comes and goes meanwhile neither repeats nor hides other items.
type ListInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Items on a page"`
	After string `query:"after" maxLength:"1024" doc:"Where the page begins: taken from the Link header of the page before, and good for the same order and filters"`
}

// List is a page of things.
type List[T any] struct {
	Items []T `json:"items"`
}

// page is the answer of a list. Link is missing on the last page.
type page[T any] struct {
	Link string `header:"Link" doc:"The next page, as <url>; rel=\"next\"; missing on the last one"`
	Body List[T]
}

// position is what a cursor holds. People must not need to know.
type position struct {
	Order string   `json:"o"`
	Key   []string `json:"k"`
}

// start returns the key of the last item of the page before, which has as many parts as the list's order; nil for the first
// page. order names the order (and what else the key depends on): a cursor of another one is refused.
func (in ListInput) start(order string, parts int) ([]string, error) {
	if in.After == "" {
		return nil, nil
	}
	var p position
	text, err := base64.RawURLEncoding.DecodeString(in.After)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil || p.Order != order || len(p.Key) != parts || slices.ContainsFunc(p.Key, func(k string) bool { return !oci.ValidText(k) }) {
		return nil, WrongQuery("after", "not from a page of this list in this order: begin again without after")
	}
	return p.Key, nil
}

// newPage makes the answer of a list. With more, key is that of the last item.
func newPage[T any](ctx context.Context, items []T, more bool, order string, key ...string) *page[T] {
	out := &page[T]{Body: List[T]{Items: items}}
	if items == nil {
		out.Body.Items = []T{}
	}
	if more {
		out.Link = nextLink(ctx, position{order, key})
	}
	return out
}

// nextLink leads to the page behind a position.
func nextLink(ctx context.Context, p position) string {
	text, _ := json.Marshal(p) // of strings: cannot fail
	return linkTo(ctx, base64.RawURLEncoding.EncodeToString(text))
}

// linkTo is the request's own address with another cursor.
func linkTo(ctx context.Context, after string) string {
	here, _ := ctx.Value(urlKey{}).(*url.URL)
	if here == nil {
		here = &url.URL{}
	}
	query := here.Query()
	query.Set("after", after)
	return "<" + here.EscapedPath() + "?" + query.Encode() + `>; rel="next"`
}

// pageOf cuts a page out of a list that is in memory as a whole. Keys are unique. An order that begins with "-" runs backwards.
func pageOf[T any](ctx context.Context, in ListInput, order string, items []T, key func(T) string) (*page[T], error) {
	start, err := in.start(order, 1)
	if err != nil {
		return nil, err
	}
	direction := 1
	if strings.HasPrefix(order, "-") {
		direction = -1
	}
	compare := func(a, b string) int { return direction * cmp.Compare(a, b) }
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b T) int { return compare(key(a), key(b)) })
	if start != nil {
		n, found := slices.BinarySearchFunc(items, start[0], func(v T, k string) int { return compare(key(v), k) })
		if found {
			n++
		}
		items = items[n:]
	}
	if len(items) <= in.Limit {
		return newPage(ctx, items, false, order), nil
	}
	items = items[:in.Limit]
	return newPage(ctx, items, true, order, key(items[in.Limit-1])), nil
}

type urlKey struct{}

func id(n int64) string { return strconv.FormatInt(n, 10) }

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Request is one call of the API by its path, for commands that treat all resources alike.
type Request struct {
	Method string
	Path   string // below the API's prefix
	Query  url.Values
	Body   any // nil: none

	IfMatch     string // ETag that must be the present one; empty: any
	IfNoneMatch string // "*": it must not exist
}

// Answer is what the server answered to a Request.
type Answer struct {
	Status int
	ETag   string
	Next   string // path of the next page of a list; empty after the last
	Body   json.RawMessage
}

// Do sends a request. *Problem, ErrNoServer.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	path := r.Path
	if query := r.Query.Encode(); query != "" {
		path += "?" + query
	}
	var content io.Reader
	header := http.Header{}
	if r.Body != nil {
		text, err := json.Marshal(r.Body)
		if err != nil {
			return Answer{}, fmt.Errorf("encode the request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	if r.Method == http.MethodPatch {
		header.Set("Content-Type", "application/merge-patch+json")
	}
	if r.IfMatch != "" {
		header.Set("If-Match", r.IfMatch)
	}
	if r.IfNoneMatch != "" {
		header.Set("If-None-Match", r.IfNoneMatch)
	}
	response, err := c.sendWith(ctx, c.http, r.Method, path, content, header)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer of %s: %w", c.where, err)
	}
	return Answer{Status: response.StatusCode, ETag: response.Header.Get("ETag"), Next: nextPath(response.Header.Get("Link")), Body: text}, nil
}

// Items reads a list of the API to its end, or until there are most items; 0 is all. Each page asks for as many as the server
// gives at once.
func (c *Client) Items(ctx context.Context, path string, query url.Values, most int) ([]json.RawMessage, error) {
	items := []json.RawMessage{}
	for r := (Request{Method: http.MethodGet, Path: path, Query: query}); ; {
		a, err := c.Do(ctx, r)
		if err != nil {
			return nil, err
		}
		var page struct{ Items []json.RawMessage }
		if err := json.Unmarshal(a.Body, &page); err != nil {
			return nil, fmt.Errorf("the answer of %s: %w", c.where, err)
		}
		items = append(items, page.Items...)
		if most > 0 && len(items) >= most {
			return items[:most], nil
		}
		if a.Next == "" {
			return items, nil
		}
		r = Request{Method: http.MethodGet, Path: a.Next}
	}
}

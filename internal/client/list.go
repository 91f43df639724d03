package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// All reads a list to its end, page by page. path is below the API's prefix, with the query that filters and sorts.
func All[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	var all []T
	for path != "" {
		var part struct{ Items []T }
		next, err := c.list(ctx, path, &part)
		if err != nil {
			return nil, err
		}
		all = append(all, part.Items...)
		path = next
	}
	return all, nil
}

// list reads one page and returns the path of the next one; empty after the last.
func (c *Client) list(ctx context.Context, path string, out any) (next string, err error) {
	response, err := c.send(ctx, c.http, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", c.where, err)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return "", fmt.Errorf("the answer of %s: %w", c.where, err)
	}
	return nextPath(response.Header.Get("Link")), nil
}

// nextPath reads a Link header as the server writes it: </api/v1/…>; rel="next". What is not below the API is not followed.
func nextPath(link string) string {
	address, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	path, below := strings.CutPrefix(address, prefix+"/")
	if !ok || !below {
		return ""
	}
	return "/" + path
}

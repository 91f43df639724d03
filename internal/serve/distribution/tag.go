package distribution

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/weir-registry/weir/internal/registry"
)

func (c *call) listTags() error {
	page := c.pageSize()
	tags, err := c.target.Registry.Tags(c.ctx(), c.target.Name, page)
	if err != nil {
		return err
	}
	if c.limited && c.page.N == 0 {
		tags = &registry.TagList{} // the repository exists, and nothing was asked for
	}
	if tags.More && len(tags.Tags) > 0 {
		c.next(c.location("tags", "list"), tags.Tags[len(tags.Tags)-1], page.N)
	}
	body := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.name, tags.Tags}
	if body.Tags == nil {
		body.Tags = []string{} // "tags": null trips clients
	}
	traceHeaders(c.w, registry.TraceFrom(c.ctx()).Values())
	return writeJSON(c.w, "application/json", body)
}

// pageSize is the page to ask for: what the client wants, capped.
func (c *call) pageSize() registry.Page {
	p := c.page
	switch {
	case !c.limited || p.N > c.MaxPage:
		p.N = c.MaxPage
	case p.N == 0:
		p.N = 1
	}
	return p
}

// next sets the Link header to the following page (distribution specification, "Listing Tags").
func (c *call) next(path, last string, n int) {
	q := url.Values{"last": {last}, "n": {strconv.Itoa(n)}}
	if c.ns != "" {
		q.Set("ns", c.ns)
	}
	u, err := url.Parse(path)
	if err != nil {
		return // a page without a link is still right, and a name cannot make url fail
	}
	u.RawQuery = q.Encode()
	c.w.Header().Set("Link", "<"+u.String()+`>; rel="next"`)
}

func writeJSON(w http.ResponseWriter, mediaType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(b)
	return err
}

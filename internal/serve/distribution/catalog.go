package distribution

import "github.com/weir-registry/weir/internal/registry"

// maxCatalogScan bounds how many names one request looks at for those the caller may read. A page may be shorter than
// asked for then, and its Link leads on.
const maxCatalogScan = 10_000

// catalog lists the hosted repositories that the caller may pull from. A bearer token for it covers listing, not pulling, so that
// is what is asked for each name.
func (c *call) catalog() error {
	if err := c.Access.Authorize(c.ctx(), Catalog, Target{}); err != nil {
		return c.refuse(err)
	}
	page := c.pageSize()
	names, last, more, err := c.readable(page)
	if err != nil {
		return err
	}
	if c.limited && c.page.N == 0 {
		names, more = nil, false
	}
	if more {
		c.next("/v2/_catalog", last, page.N)
	}
	body := struct {
		Repositories []string `json:"repositories"`
	}{names}
	if body.Repositories == nil {
		body.Repositories = []string{}
	}
	return writeJSON(c.w, "application/json", body)
}

// readable gathers up to page.N readable names after page.Last; last is where the next page begins.
func (c *call) readable(page registry.Page) (names []string, last string, more bool, err error) {
	last = page.Last
	for scanned := 0; scanned < maxCatalogScan; {
		list, err := c.Namespace.Repositories(c.ctx(), registry.Page{N: c.MaxPage, Last: last})
		if err != nil {
			return nil, "", false, err
		}
		for i, name := range list.Repositories {
			last = name
			target, err := c.Namespace.Resolve(c.ctx(), Door{Name: name})
			if err == nil && (target.Anonymous || c.Access.Authorize(c.ctx(), Catalog, target) == nil) {
				names = append(names, name)
			}
			if len(names) == page.N {
				return names, last, list.More || i+1 < len(list.Repositories), nil
			}
		}
		scanned += len(list.Repositories)
		if !list.More || len(list.Repositories) == 0 {
			return names, last, false, nil
		}
	}
	return names, last, true, nil
}

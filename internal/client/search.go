package client

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Search is what is looked for. Empty fields ask nothing; what is given must hold together.
type Search struct {
	Group          string
	Name           string // part of the repository's name
	Tag            string // or the beginning of one, with "*" at its end
	Digest         string // or the beginning of one
	Platform       string // os, os/architecture or os/architecture/variant
	Type           string // artifact type or media type
	Labels         []string
	Kind           string // hosted or cached
	Upstream       string // that it is cached from
	NotPulledSince time.Time
	Stale          bool // only what has a cached tag that is due for confirmation
}

// Found is a manifest that was found.
type Found struct {
	Repository   string            `json:"repository"`
	Upstream     string            `json:"upstream,omitempty"`
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	Platform     string            `json:"platform,omitempty"`
	Images       []FoundImage      `json:"images,omitempty"` // of an index found by platform or label: those that fit
	Size         int64             `json:"size"`             // in bytes
	ImageCreated *time.Time        `json:"image_created_at,omitempty"`
	StoredAt     time.Time         `json:"stored_at"`
	LastPulledAt *time.Time        `json:"last_pulled_at,omitempty"`
	Pulls        int64             `json:"pulls"`
	Labels       map[string]string `json:"labels,omitempty"`
	Tags         []FoundTag        `json:"tags"`
	MoreTags     bool              `json:"more_tags,omitempty"`
}

// FoundImage is an image in an index that was found.
type FoundImage struct {
	Digest   string `json:"digest"`
	Platform string `json:"platform,omitempty"`
	Here     bool   `json:"here"`
}

// FoundTag is a tag of a manifest that was found.
type FoundTag struct {
	Name      string     `json:"name"`
	UpdatedAt time.Time  `json:"updated_at"`
	CheckedAt *time.Time `json:"checked_at,omitempty"`
	Stale     bool       `json:"stale,omitempty"`
}

// searchPage is as many as the server gives at once.
const searchPage = 100

// Search finds what the caller may pull, page by page: most manifests at most, 0 = all. more says that there may be others.
func (c *Client) Search(ctx context.Context, s Search, most int) (found []Found, more bool, err error) {
	found = []Found{}
	path := "/groups/" + url.PathEscape(s.Group) + "/search"
	for q := s.query(); ; {
		n := searchPage
		if most > 0 {
			n = min(n, most-len(found))
		}
		q.Set("limit", strconv.Itoa(n))
		var page struct{ Items []Found }
		next, err := c.list(ctx, path+"?"+q.Encode(), &page)
		if err != nil {
			return found, false, err
		}
		found = append(found, page.Items...)
		if next == "" || most > 0 && len(found) >= most {
			return found, next != "", nil
		}
		_, query, _ := strings.Cut(next, "?")
		if q, err = url.ParseQuery(query); err != nil {
			return found, false, fmt.Errorf("the next page as %s names it: %w", c.where, err)
		}
	}
}

func (s Search) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"name": s.Name, "tag": s.Tag, "digest": s.Digest, "platform": s.Platform, "type": s.Type, "kind": s.Kind, "upstream": s.Upstream,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, label := range s.Labels {
		q.Add("label", label)
	}
	if !s.NotPulledSince.IsZero() {
		q.Set("not_pulled_since", s.NotPulledSince.UTC().Format(time.RFC3339))
	}
	if s.Stale {
		q.Set("stale", "true")
	}
	return q
}

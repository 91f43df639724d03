package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// SearchQuery is what GET /groups/{group}/search asks. What is empty asks nothing.
type SearchQuery struct {
	Group          string    `path:"group" maxLength:"128" doc:"Name of the group"`
	Name           string    `query:"name" maxLength:"255" doc:"Part of the repository's name, or the beginning of repository as it is answered: acme/hub/library/"`
	Tag            string    `query:"tag" maxLength:"129" doc:"A tag, or the beginning of one with * at its end"`
	Digest         string    `query:"digest" maxLength:"135" doc:"A digest, or the beginning of one: sha256:4f53cd"`
	Platform       string    `query:"platform" maxLength:"128" doc:"os, os/architecture or os/architecture/variant; an index has those of its images"`
	Type           string    `query:"type" maxLength:"255" doc:"Artifact type or media type"`
	Label          []string  `query:"label,explode" maxItems:"10" doc:"A label of the image's config, as key or key=value; all of them must be there. An index has those of each of its images that is here"`
	Kind           string    `query:"kind" enum:"hosted,cached" doc:"Only these"`
	Upstream       string    `query:"upstream" maxLength:"128" doc:"Only what is cached from this upstream"`
	NotPulledSince time.Time `query:"not_pulled_since" doc:"Last pulled before then, or stored before then and never pulled"`
	Stale          bool      `query:"stale" doc:"Only what has a cached tag that is due for confirmation"`
	Limit          int       `query:"limit" minimum:"1" maximum:"100" default:"50" doc:"Manifests on a page"`
	After          string    `query:"after" maxLength:"512" doc:"Where the page begins: taken from the Link header of the page before"`

	Caller Caller `json:"-"` // filled in by the API
}

// SearchPage is a page of what was found, ordered by repository and digest. It may hold fewer than asked for, even none, although there
// are more: a page reads a bounded number of rows.
type SearchPage struct {
	Manifests []FoundManifest
	Next      string // where the next page begins; empty after the last one
}

// FoundManifest is a manifest that the caller may pull.
type FoundManifest struct {
	Repository   string            `json:"repository" doc:"As in docker pull, without the server's host; of cached content one of the names it has"`
	Upstream     string            `json:"upstream,omitempty" doc:"Where cached content is from"`
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	Platform     string            `json:"platform,omitempty" doc:"Of an image; of an index see images"`
	Images       []FoundImage      `json:"images,omitempty" doc:"Of an index that was found by platform or label: the images in it that fit, at most twenty"`
	Size         int64             `json:"size" doc:"Bytes, with config and layers, here or not; of an index, with the manifests in it that are here. What two of them share counts for each"`
	ImageCreated *time.Time        `json:"image_created_at,omitempty" doc:"When the image says it was made"`
	StoredAt     time.Time         `json:"stored_at"`
	LastPulledAt *time.Time        `json:"last_pulled_at,omitempty" doc:"Missing when it never was"`
	Pulls        int64             `json:"pulls"`
	Labels       map[string]string `json:"labels,omitempty"`
	Tags         []FoundTag        `json:"tags" doc:"At most ten"`
	MoreTags     bool              `json:"more_tags,omitempty"`
}

// FoundImage is an image in an index that was found.
type FoundImage struct {
	Digest   string `json:"digest"`
	Platform string `json:"platform,omitempty"`
	Here     bool   `json:"here" doc:"False for one of a cached index that nobody has pulled"`
}

// FoundTag is a tag of a manifest that was found.
type FoundTag struct {
	Name      string     `json:"name"`
	UpdatedAt time.Time  `json:"updated_at" doc:"When it last moved"`
	CheckedAt *time.Time `json:"checked_at,omitempty" doc:"Cached: when the upstream last confirmed it"`
	Stale     bool       `json:"stale,omitempty" doc:"Cached: the next pull asks the upstream"`
}

// Searcher finds manifests that the caller may pull. Errors: WrongQuery.
type Searcher interface {
	Search(ctx context.Context, q SearchQuery) (SearchPage, error)
}

func (a *API) registerSearch() {
	operation(a, huma.Operation{
		OperationID: "search", Method: http.MethodGet, Path: "/groups/{group}/search", Tags: []string{"content"},
		Summary: "Search hosted and cached content of a group", Description: "Finds what the caller may pull, and nothing of what may not be. A group that does not exist has nothing. " +
			"A page may hold fewer than asked for, even none, although a Link says that there are more: it reads a bounded number of rows.",
	}, a.search)
}

func (a *API) search(ctx context.Context, in *SearchQuery) (*page[FoundManifest], error) {
	for _, label := range in.Label {
		if strings.HasPrefix(label, "=") || label == "" {
			return nil, WrongQuery("label", "name the label as key or key=value")
		}
	}
	in.Caller = callerFrom(ctx)
	found, err := a.Searcher.Search(ctx, *in)
	if err != nil {
		return nil, err
	}
	out := newPage(ctx, found.Manifests, false, "")
	if found.Next != "" {
		out.Link = linkTo(ctx, found.Next)
	}
	return out, nil
}

// WrongQuery is the error of a query parameter that is not what it should be; what is for people.
func WrongQuery(name, what string) error {
	return huma.NewError(http.StatusUnprocessableEntity, what, &huma.ErrorDetail{Location: "query." + name, Message: what})
}

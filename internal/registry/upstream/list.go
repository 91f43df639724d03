package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Bounds of a list: what the largest public repositories stay below.
const (
	maxTags      = 100_000
	maxReferrers = 20_000
	maxListBytes = 32 << 20
	maxPages     = 2_000
	pageSize     = 1_000
)

// Tags implements registry.Lister. Upstreams page in different ways and orders, so every call reads the whole list; keep it.
func (r *Registry) Tags(ctx context.Context, repository string, page registry.Page) (*registry.TagList, error) {
	all, err := r.allTags(ctx, repository)
	if err != nil {
		return nil, err
	}
	start, found := slices.BinarySearch(all, page.Last)
	if found {
		start++
	}
	list := &registry.TagList{Tags: all[start:]}
	if page.N > 0 && len(list.Tags) > page.N {
		list.Tags, list.More = list.Tags[:page.N], true
	}
	return list, nil
}

// allTags follows the pages of the tag list. The result is sorted, without what is not a tag.
func (r *Registry) allTags(ctx context.Context, repository string) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	first := url.Values{"n": {strconv.Itoa(pageSize)}}
	err := r.pages(ctx, question{kind: KindTags, repository: repository, path: "tags/list", query: first}, func(raw []byte) (next page, err error) {
		if bytes.Count(raw, []byte{'"'}) > 2*maxTags+100 { // before it is decoded: "" takes six times its size in memory
			return page{}, errTooLong
		}
		var body struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(raw, &body); err != nil {
			return page{}, err
		}
		for _, tag := range body.Tags {
			if !seen[tag] && oci.ValidTag(tag) {
				seen[tag], next.fresh = true, true
				names = append(names, tag)
			}
		}
		if n := len(body.Tags); n > 0 {
			next.last, next.full = body.Tags[n-1], n >= pageSize
		}
		if len(names) > maxTags {
			return page{}, errTooLong
		}
		return next, nil
	})
	slices.Sort(names)
	return names, err
}

var (
	errTooLong  = errors.New("the list is too long")
	errNotIndex = errors.New("not an image index")
	errWebPage  = errors.New("a web page")
)

// page is what the reader of a page tells about it.
type page struct {
	fresh bool   // it brought something new
	full  bool   // it holds as many entries as were asked for
	last  string // its last entry
}

// pages asks for page after page. The next one is where Link says. Without a usable Link, a page that is as full as it can
// be, or that came with a Link that makes no sense, is followed by the one after its last entry.
func (r *Registry) pages(ctx context.Context, q question, read func(raw []byte) (page, error)) error {
	q.method, q.accept = http.MethodGet, "application/json"
	if q.kind == KindReferrers {
		q.accept = oci.MediaTypeImageIndex
	}
	size := 0
	for range maxPages {
		a, raw, err := r.read(ctx, q, min(maxListBytes-int64(size), maxListBytes))
		if err != nil {
			return err
		}
		size += len(raw)
		p, err := read(raw)
		if err != nil {
			o := unknown(a.Response, "its list makes no sense: %s", listReason(err))
			o.Err = err
			return o
		}
		next, linked := parseNext(a.Header)
		switch {
		case linked && !p.fresh && p.last != "":
			return unknown(a.Response, "the pages of its list repeat")
		case linked:
			q.query = next
		case p.fresh && p.last != "" && (p.full || a.Header.Get("Link") != ""):
			q.query = url.Values{"n": {strconv.Itoa(pageSize)}, "last": {p.last}}
		default:
			return nil
		}
	}
	return &registry.OutcomeError{Outcome: registry.Unknown, Reason: r.base.Host + ": its list has too many pages"}
}

func listReason(err error) string {
	if errors.Is(err, errTooLong) {
		return err.Error()
	}
	return "not the JSON it should be"
}

// Referrers implements registry.Lister. Where the upstream lacks the API, the list is read from the tag that clients keep
// instead.
func (r *Registry) Referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) (*registry.ReferrerList, error) {
	all, err := r.referrers(ctx, repository, digest, artifactType)
	if noReferrersAPI(err) {
		all, err = r.referrersByTag(ctx, repository, digest)
		if err != nil && registry.AsOutcome(err).Outcome == registry.Absent {
			return &registry.ReferrerList{Assumed: true}, nil
		}
	}
	if err != nil {
		return nil, err
	}
	// The upstream may have filtered, or not.
	all = slices.DeleteFunc(all, func(d oci.Descriptor) bool {
		_, err := oci.ParseDigest(string(d.Digest))
		return err != nil || d.Size < 0 || (artifactType != "" && d.ArtifactType != artifactType)
	})
	return &registry.ReferrerList{Manifests: all}, nil
}

func (r *Registry) referrers(ctx context.Context, repository string, digest oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	var all []oci.Descriptor
	seen := map[oci.Digest]bool{}
	q := question{kind: KindReferrers, repository: repository, path: "referrers/" + string(digest)}
	if artifactType != "" {
		q.query = url.Values{"artifactType": {artifactType}}
	}
	err := r.pages(ctx, q, func(raw []byte) (next page, err error) {
		list, err := parseIndex(raw)
		for _, d := range list {
			if !seen[d.Digest] {
				seen[d.Digest], next.fresh = true, true
				all = append(all, d)
			}
			next.last = string(d.Digest)
		}
		return next, err
	})
	return all, err
}

// noReferrersAPI: before the API existed, its path was one that no registry knew.
func noReferrersAPI(err error) bool {
	o, ok := errors.AsType[*registry.OutcomeError](err)
	if !ok {
		return false
	}
	switch o.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		return !o.Limited
	case http.StatusOK: // a web page, or something else that is no list
		return errors.Is(err, errWebPage) || errors.Is(err, errNotIndex)
	}
	return false
}

func (r *Registry) referrersByTag(ctx context.Context, repository string, digest oci.Digest) ([]oci.Descriptor, error) {
	m, err := r.Manifest(ctx, repository, oci.ByTag(oci.ReferrersTag(digest)))
	if err != nil {
		return nil, err
	}
	if !oci.IsIndex(m.MediaType) {
		return nil, nil // the tag is used for something else, such as an older signature
	}
	list, err := parseIndex(m.Payload)
	if err != nil {
		return nil, &registry.OutcomeError{Outcome: registry.Unknown, Reason: r.base.Host + ": the index of its referrers tag makes no sense", Err: err}
	}
	return list, nil
}

func parseIndex(raw []byte) ([]oci.Descriptor, error) {
	if bytes.Count(raw, []byte{'{'}) > 3*maxReferrers { // before it is decoded: {} takes a hundred times its size in memory
		return nil, errTooLong
	}
	var index struct {
		SchemaVersion int              `json:"schemaVersion"`
		Manifests     []oci.Descriptor `json:"manifests"`
	}
	err := json.Unmarshal(raw, &index)
	switch {
	case err != nil && !json.Valid(raw):
		return nil, err // spoilt on its way: no word on whether the API is there
	case err != nil || index.SchemaVersion != 2:
		return nil, errNotIndex
	}
	return index.Manifests, nil
}

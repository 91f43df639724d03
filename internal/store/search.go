package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Errors of a Search that asks for what it cannot.
var (
	ErrCursor       = errors.New("not where a search stopped")
	ErrDigestPrefix = errors.New("not the beginning of a digest")
)

// MaxFound is how many manifests a page of a search holds at most.
const MaxFound = 100

// What one page of a search reads at most. It stops there even if it has found nothing, so that no search costs more than any
// other, however large the group and however rare what is looked for.
const (
	searchNames     = 5000 // repositories whose names are read
	searchReads     = 180  // of repositories' manifests, and of the tags of what is found: each is a round trip to PostgreSQL
	searchManifests = 4000
	searchPage      = 500
	searchTags      = 10  // of each manifest found
	searchImages    = 20  // of each index found, that are told
	searchIndex     = 10  // what an index costs more than another manifest when its images are looked at …
	searchPayload   = 512 // … and how many bytes of it cost as much as a manifest
	searchStale     = 10  // what a manifest costs more when its tags are read to know whether it is one of those sought
)

// Search is a question for manifests of one group, hosted and cached alike. Empty fields ask nothing.
type Search struct {
	GroupID  int64
	Name     string            // part of the repository's name
	Tag      string            // or the beginning of one, with "*" at its end
	Digest   string            // or the beginning of one: sha256:4f53cd
	Platform string            // os, os/architecture or os/architecture/variant; an index has those of its images, here or not
	Type     string            // artifact type or media type
	Labels   map[string]string // that its config has, or that of one image of an index, which is here; an empty value stands for any
	Upstream *int64            // 0 = hosted

	NotPulledSince time.Time // last pulled, or else stored, before then

	// Visible tells which repositories the caller may see; those of epochs that are not served are none of them. Passes, if not
	// nil, tells which of their manifests. Stale, if not nil, tells which tags are; then only what has one is found.
	Visible func(FoundIn) bool
	Passes  func(FoundIn, oci.Digest) bool
	Stale   func(FoundIn, Tag) bool

	After string // FoundPage.Next of the page before
	N     int    // 1…MaxFound
}

// FoundIn is the repository of something that was found.
type FoundIn struct {
	Repository int64
	Name       string
	UpstreamID int64 // 0 = hosted
	Epoch      int64
}

// Found is a manifest that was found.
type Found struct {
	In           FoundIn
	Digest       oci.Digest
	MediaType    string
	ArtifactType string
	Size         int64 // in bytes, as in TagInfo
	Platform     string
	Images       []FoundImage // of an index: some of those that have the platform and the labels
	ImageCreated time.Time
	StoredAt     time.Time
	LastPulled   time.Time // zero = never
	Pulls        int64
	Labels       map[string]string
	Tags         []Tag // some of them, by name
	MoreTags     bool
}

// FoundImage is an image of an index.
type FoundImage struct {
	Digest   oci.Digest
	Platform string // as the index has it, or else its config
	Here     bool
}

// FoundPage is a page in the order of repositories' names, then of digests. It may hold fewer manifests than were asked for,
// even none, although there are more: the search is over when Next is empty.
type FoundPage struct {
	Manifests []Found
	Next      string
}

// Search finds manifests. ErrCursor, ErrDigestPrefix.
func (s *Store) Search(ctx context.Context, q Search) (FoundPage, error) {
	r := &searching{s: s, q: q, left: searchManifests}
	var err error
	if r.low, r.high, err = digestRange(q.Digest); err == nil {
		r.at, err = s.placeOf(ctx, q)
	}
	if err != nil {
		return FoundPage{}, err
	}
	r.tagLow, r.tagHigh = tagRange(q.Tag)
	for key := range q.Labels {
		text, _ := json.Marshal(key) // a string always has a form
		r.labels = append(r.labels, string(text)+":")
	}
	if err := r.run(ctx); err != nil {
		return FoundPage{}, fmt.Errorf("search: %w", err)
	}
	return r.page, nil
}

// searching is a page in the making.
type searching struct {
	s               *Store
	q               Search
	low, high       []byte
	tagLow, tagHigh string
	labels          []string // keys as rows spell them

	at    place // the next to look at
	left  int   // manifests that may still be read
	reads int   // as searchReads counts them
	page  FoundPage
}

func (r *searching) run(ctx context.Context) error {
	for read := 0; read < searchNames; read += searchPage {
		rows, err := r.s.db.Read().SearchRepositories(ctx, query.SearchRepositoriesParams{
			Pattern: "%" + likeEscape.Replace(strings.ToLower(r.q.Name)) + "%", GroupID: r.q.GroupID, Name: r.at.name, ID: r.at.first(), N: searchPage,
			ByTag: r.q.Tag != "", TagLow: r.tagLow, TagHigh: r.tagHigh, ByDigest: r.q.Digest != "", DigestLow: r.low, DigestHigh: r.high,
		})
		if err != nil {
			return err
		}
		for _, row := range rows {
			if r.at.id != row.ID {
				r.at = place{name: row.Name, id: row.ID, after: []byte{}}
			}
			in := FoundIn{row.ID, row.Name, row.UpstreamID, row.Epoch}
			if row.Hit && r.wanted(in) {
				if full, err := r.look(ctx, in); err != nil || full {
					r.page.Next = r.at.String()
					return err
				}
			}
			r.at.done = true
		}
		if len(rows) < searchPage {
			return nil
		}
	}
	r.page.Next = r.at.String()
	return nil
}

var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

func (r *searching) wanted(in FoundIn) bool {
	if r.q.Stale != nil && in.UpstreamID == 0 {
		return false // nothing confirms what is hosted
	}
	return (r.q.Upstream == nil || *r.q.Upstream == in.UpstreamID) && r.q.Visible(in)
}

// look goes through the manifests of a repository from r.at on. It reports whether the page ends here.
func (r *searching) look(ctx context.Context, in FoundIn) (full bool, err error) {
	for {
		if r.reads >= searchReads {
			return true, nil
		}
		r.reads++
		n := min(r.left, searchPage)
		rows, err := r.manifests(ctx, in.Repository, n)
		if err != nil {
			return false, err
		}
		for _, row := range rows {
			found, ok, err := r.match(ctx, in, row)
			if err != nil {
				return false, err
			}
			r.at.after = row.Digest
			if r.left--; ok {
				r.page.Manifests = append(r.page.Manifests, found)
			}
			if len(r.page.Manifests) == r.q.N || r.left <= 0 || r.reads >= searchReads {
				return true, nil
			}
		}
		if len(rows) < n {
			return false, nil
		}
	}
}

// manifests reads a few rows. With a tag asked for, only those that it names.
func (r *searching) manifests(ctx context.Context, repository int64, n int) ([]query.SearchManifestsRow, error) {
	low := from(r.low, r.at.after)
	if r.q.Tag == "" {
		return r.s.db.Read().SearchManifests(ctx, query.SearchManifestsParams{RepositoryID: repository, Low: low, High: r.high, N: page(n)})
	}
	tagged, err := r.s.db.Read().SearchTagged(ctx, query.SearchTaggedParams{
		RepositoryID: repository, Low: low, High: r.high, N: page(n), TagLow: r.tagLow, TagHigh: r.tagHigh,
	})
	rows := make([]query.SearchManifestsRow, len(tagged))
	for i, row := range tagged {
		rows[i] = query.SearchManifestsRow(row)
	}
	return rows, err
}

// match makes a row what the caller gets, if it is what the caller asked for.
func (r *searching) match(ctx context.Context, in FoundIn, row query.SearchManifestsRow) (Found, bool, error) {
	f := Found{
		In: in, Digest: oci.Digest(digestText(row.Digest)), MediaType: row.MediaType, ArtifactType: row.ArtifactType, Size: row.TotalSize,
		Platform: row.Platform, ImageCreated: fromMicros(row.ImageCreated), StoredAt: fromMicros(row.CreatedAt),
		LastPulled: fromMicros(row.LastPulledAt), Pulls: row.PullCount,
	}
	if last := r.s.deferred.lastPulled(pullKey{in.Repository, f.Digest}); last.After(f.LastPulled) {
		f.LastPulled = last
	}
	if !r.matches(f) || !oci.IsIndex(f.MediaType) && (!r.hasPlatform(f.Platform) || !r.mayHaveLabels(row.Labels)) {
		return f, false, nil
	}
	_ = json.Unmarshal([]byte(row.Labels), &f.Labels) // made by us: no labels is what a broken row shows
	if ok, err := r.fits(ctx, row.Digest, &f); err != nil || !ok || r.q.Passes != nil && !r.q.Passes(in, f.Digest) {
		return f, false, err
	}
	if r.q.Stale != nil {
		r.left -= searchStale
	}
	r.reads++
	tags, err := r.s.db.Read().ListSomeTagsOf(ctx, query.ListSomeTagsOfParams{RepositoryID: in.Repository, Digest: row.Digest, N: searchTags + 1})
	if err != nil {
		return f, false, err
	}
	for _, tag := range tags[:min(len(tags), searchTags)] {
		f.Tags = append(f.Tags, Tag{Name: tag.Name, Digest: f.Digest, CheckedAt: fromMicros(tag.CheckedAt), UpdatedAt: fromMicros(tag.UpdatedAt)})
	}
	f.MoreTags = len(tags) > searchTags
	slices.SortFunc(f.Tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
	stale := r.q.Stale == nil || slices.ContainsFunc(f.Tags, func(t Tag) bool { return r.q.Stale(in, t) })
	return f, stale, nil
}

func (r *searching) matches(f Found) bool {
	if t := r.q.Type; t != "" && f.ArtifactType != t && f.MediaType != t {
		return false
	}
	last := f.StoredAt
	if f.LastPulled.After(last) {
		last = f.LastPulled
	}
	return r.q.NotPulledSince.IsZero() || last.Before(r.q.NotPulledSince)
}

// tagRange is the range of names that a tag, or the beginning of one, stands for.
func tagRange(tag string) (low, high string) {
	if prefix, ok := strings.CutSuffix(tag, "*"); ok {
		return prefix, prefix + "\x7f" // tags are of lower bytes
	}
	return tag, tag + "\x01" // and of higher ones
}

// from is where a range that begins at low goes on behind after, which is empty at its beginning: at the least key greater than after.
func from(low, after []byte) []byte {
	if len(after) == 0 || bytes.Compare(after, low) < 0 {
		return low
	}
	return append(slices.Clone(after), 0)
}

// digestRange is the range of columns that a digest, or the beginning of one, stands for.
func digestRange(text string) (low, high []byte, err error) {
	if text == "" {
		return []byte{}, []byte{0xff}, nil
	}
	algorithm, digits, ok := strings.Cut(text, ":")
	prefix := map[string]byte{string(oci.SHA256): 1, string(oci.SHA512): 2}[algorithm]
	even := digits[:len(digits)/2*2]
	sum, err := hex.DecodeString(even)
	if !ok || prefix == 0 || err != nil || len(digits) > 128 || strings.ToLower(digits) != digits {
		return nil, nil, fmt.Errorf("%w, sha256:… or sha512:… with lower-case digits", ErrDigestPrefix)
	}
	low = append([]byte{prefix}, sum...)
	if len(even) < len(digits) {
		half, err := strconv.ParseUint(digits[len(even):], 16, 4)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: its last digit is none", ErrDigestPrefix)
		}
		first := append(slices.Clone(low), byte(half)<<4)
		return first, beyond(append(slices.Clone(low), byte(half)<<4|0xf)), nil
	}
	return low, beyond(low), nil
}

// beyond is the least column that is greater than all that begin with b, whose first byte is below 255.
func beyond(b []byte) []byte {
	b = slices.Clone(b)
	for b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	b[len(b)-1]++
	return b
}

// place is where a search goes on: in a repository after a digest, or, when it is done with that one, with the next.
type place struct {
	name  string
	id    int64
	after []byte
	done  bool
}

// first is the least id that repositories of this name may have.
func (p place) first() int64 {
	if p.done {
		return p.id + 1
	}
	return p.id
}

// String is the cursor. It must not hold a name: that of a repository which was passed over is nobody's business.
func (p place) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %t %x", p.id, p.done, p.after))
}

// placeOf is the place that a cursor stands for. When its repository is gone, or was never one of the group, ErrCursor.
func (s *Store) placeOf(ctx context.Context, q Search) (place, error) {
	p := place{after: []byte{}}
	if q.After == "" {
		return p, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil {
		return p, ErrCursor
	}
	fields := strings.Split(string(text), " ")
	if len(fields) != 3 {
		return p, ErrCursor
	}
	var errs [3]error
	p.id, errs[0] = strconv.ParseInt(fields[0], 10, 64)
	p.done, errs[1] = strconv.ParseBool(fields[1])
	p.after, errs[2] = hex.DecodeString(fields[2])
	if errors.Join(errs[:]...) != nil {
		return p, ErrCursor
	}
	row, err := s.db.Read().GetRepository(ctx, p.id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && row.GroupID != q.GroupID {
		return p, ErrCursor
	}
	p.name = row.Name
	return p, err
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Kinds of reference from a manifest. A foreign layer has URLs to fetch it from and need not be in the repository.
const (
	refManifest = "manifest"
	refConfig   = "config"
	refLayer    = "layer"
	refForeign  = "foreign"
)

// PutManifest stores a manifest and moves its tags atomically. It returns the repository's id. Storing the same again
// changes nothing and leaves no trace in the history of tags.
//
// With Strict, *MissingError when something the manifest refers to is not in the repository; what the check has found cannot
// be collected before the manifest that needs it is there, since both hold the repository.
func (s *Store) PutManifest(ctx context.Context, p PutManifest) (repository int64, err error) {
	rows, err := manifestRows(p)
	if err == nil && p.Strict {
		err = s.room(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("put manifest %s: %w", p.Digest, err)
	}
	info, err := s.configInfo(ctx, p)
	if err != nil {
		return 0, fmt.Errorf("put manifest %s: %w", p.Digest, err)
	}
	for {
		err = s.changeNamed(ctx, p.Repository, func(ctx context.Context, c *change) error {
			repository = c.repository.ID
			return s.putManifest(ctx, c, p, rows, info)
		})
		var arrived *configArrived
		if !errors.As(err, &arrived) {
			break
		}
		if info, err = s.readImageInfo(ctx, arrived.config); err != nil {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("put manifest %s: %w", p.Digest, err)
	}
	return repository, nil
}

// manifestContent is what a manifest becomes in the database, but for its repository.
type manifestContent struct {
	manifest   query.InsertManifestParams
	references []query.InsertReferenceParams
	tags       []string // sorted: tags are always locked in this order
}

func manifestRows(p PutManifest) (manifestContent, error) {
	m := p.Manifest
	annotations, err := json.Marshal(m.Annotations)
	if err != nil {
		return manifestContent{}, err
	}
	if m.Annotations == nil {
		annotations = []byte("{}")
	}
	rows := manifestContent{manifest: query.InsertManifestParams{
		Digest: oci.DigestBytes(p.Digest), MediaType: plainText(p.MediaType), ArtifactType: plainText(m.ArtifactType), Size: int64(len(p.Payload)),
		Payload: p.Payload, TotalSize: int64(len(p.Payload)), Annotations: string(annotations), Labels: "{}",
	}}
	if m.Subject != nil {
		rows.manifest.Subject = oci.DigestBytes(m.Subject.Digest)
	}
	if m.Config != nil {
		rows.manifest.ConfigDigest = oci.DigestBytes(m.Config.Digest)
		rows.refer(refConfig, *m.Config)
	}
	for _, layer := range m.Layers {
		kind := refLayer
		if len(layer.URLs) > 0 {
			kind = refForeign
		}
		rows.refer(kind, layer)
	}
	for _, child := range m.Children {
		rows.refer(refManifest, child)
	}
	rows.tags = slices.Compact(slices.Sorted(slices.Values(p.Tags)))
	return rows, nil
}

func (rows *manifestContent) refer(kind string, d oci.Descriptor) {
	rows.references = append(rows.references, query.InsertReferenceParams{
		Parent: rows.manifest.Digest, Position: int32(len(rows.references)), //nolint:gosec // bounded by the payload's 4 MiB
		Child: oci.DigestBytes(d.Digest), Kind: kind, Size: d.Size, MediaType: plainText(d.MediaType),
	})
	if kind != refManifest && d.Size > 0 { // sizes are whatever somebody wrote into the manifest
		rows.manifest.TotalSize += min(d.Size, math.MaxInt64-rows.manifest.TotalSize)
	}
}

// refersTo reports whether there are references of one of these kinds.
func (rows *manifestContent) refersTo(kinds ...string) bool {
	return slices.ContainsFunc(rows.references, func(r query.InsertReferenceParams) bool { return slices.Contains(kinds, r.Kind) })
}

// plainText is s as PostgreSQL can keep it: without NUL, which JSON may well contain.
func plainText(s string) string { return strings.ReplaceAll(s, "\x00", "") }

// putManifest is the transaction of PutManifest.
func (s *Store) putManifest(ctx context.Context, c *change, p PutManifest, rows manifestContent, info *imageInfo) error {
	created, err := s.insertManifest(ctx, c, rows, info)
	if err != nil {
		return err
	}
	if p.Strict {
		if err := c.checkReferences(ctx, rows, p.Sparse); err != nil {
			return err
		}
	}
	if !c.hosted() {
		if err := s.takeAwaitingTags(ctx, c, rows.manifest.Digest); err != nil {
			return err
		}
	}
	for _, tag := range rows.tags {
		if err := s.moveTag(ctx, c, tag, rows.manifest.Digest, p.CheckedAt); err != nil {
			return fmt.Errorf("tag %s: %w", tag, err)
		}
	}
	if rows.manifest.Subject != nil {
		if err := c.admit(ctx, rows.manifest.Digest, ViaSubject, subjectTag(rows.manifest.Subject)); err != nil {
			return err
		}
	}
	if len(rows.tags) == 0 && p.Via != "" {
		if err := c.admit(ctx, rows.manifest.Digest, p.Via, ""); err != nil {
			return err
		}
	}
	if !created {
		return nil
	}
	if len(rows.tags) == 0 && !c.hosted() {
		c.review(CandidateManifest, rows.manifest.Digest, c.now.Add(s.grace))
	}
	if err := c.happened(ctx, event.ManifestPushed, "@"+string(p.Digest), pushed{p.MediaType, int64(len(p.Payload)), rows.tags}); err != nil {
		return err
	}
	return c.changed(ctx, ChangeManifest, string(p.Digest))
}

// pushed is the detail of event.ManifestPushed.
type pushed struct {
	MediaType string   `json:"media_type"`
	Size      int64    `json:"size"`
	Tags      []string `json:"tags,omitempty"`
}

// insertManifest stores the manifest and its references; created is false when it is there already.
func (s *Store) insertManifest(ctx context.Context, c *change, rows manifestContent, info *imageInfo) (created bool, err error) {
	m := rows.manifest
	m.RepositoryID, m.CreatedAt = c.repository.ID, micros(c.now)
	if info != nil {
		m.Platform, m.ImageCreated, m.Labels = info.platform, micros(info.created), info.labels
	} else if m.ConfigDigest != nil {
		if err := c.wantConfig(ctx, m.ConfigDigest); err != nil {
			return false, err
		}
	}
	n, err := c.InsertManifest(ctx, m)
	if err != nil || n == 0 {
		return false, err
	}
	if err := c.firstManifest(ctx); err != nil {
		return false, err
	}
	if !c.hosted() {
		used := query.InsertCachedManifestParams{RepositoryID: m.RepositoryID, Digest: m.Digest, UsedAt: m.CreatedAt}
		if err := c.InsertCachedManifest(ctx, used); err != nil {
			return false, fmt.Errorf("put it into the order of eviction: %w", err)
		}
	}
	for _, r := range rows.references {
		r.RepositoryID = c.repository.ID
		if err := c.InsertReference(ctx, r); err != nil {
			return false, fmt.Errorf("refer to %s: %w", digestText(r.Child), err)
		}
	}
	// What the manifest needs is not unused any more. (Leaving the candidates would do no harm but cost a review each.)
	return true, c.DeleteLinkCandidates(ctx, query.DeleteLinkCandidatesParams{RepositoryID: c.repository.ID, Parent: m.Digest})
}

func (c *change) checkReferences(ctx context.Context, rows manifestContent, sparse bool) (err error) {
	var missing MissingError
	var blobs, manifests [][]byte
	if rows.refersTo(refConfig, refLayer) {
		blobs, err = c.ListMissingBlobs(ctx, query.ListMissingBlobsParams{RepositoryID: c.repository.ID, Parent: rows.manifest.Digest})
		if err != nil {
			return fmt.Errorf("check its blobs: %w", err)
		}
	}
	if !sparse && rows.refersTo(refManifest) {
		manifests, err = c.ListMissingManifests(ctx, query.ListMissingManifestsParams{RepositoryID: c.repository.ID, Parent: rows.manifest.Digest})
		if err != nil {
			return fmt.Errorf("check its children: %w", err)
		}
	}
	missing.Blobs, missing.Manifests = digestSet(blobs), digestSet(manifests)
	if len(missing.Blobs)+len(missing.Manifests) > 0 {
		return &missing
	}
	return nil
}

// digestSet is each digest once, in order.
func digestSet(columns [][]byte) []oci.Digest {
	var set []oci.Digest
	for _, column := range columns {
		set = append(set, oci.Digest(digestText(column)))
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// moveTag points a tag to a manifest that this transaction holds. Setting it to where it points already only confirms it. What an
// upstream said before it said something else moves nothing.
func (s *Store) moveTag(ctx context.Context, c *change, name string, digest []byte, checkedAt time.Time) error {
	heard := c.heard(checkedAt)
	if err := c.admitAt(ctx, digest, ViaTag, name, heard); err != nil {
		return err
	}
	old, err := c.GetTag(ctx, query.GetTagParams{RepositoryID: c.repository.ID, Name: name})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	switch {
	case string(old.Digest) == string(digest):
		n, err := c.ConfirmTag(ctx, query.ConfirmTagParams{
			CheckedAt: micros(checkedAt), Latest: micros(c.now), RepositoryID: c.repository.ID, Name: name, Digest: digest,
		})
		if err != nil || n == 0 {
			return err
		}
		return c.changed(ctx, ChangeTag, name)
	case fromMicros(old.CheckedAt).After(heard) && old.CheckedAt <= micros(c.now): // not one from the future: that clock was wrong
		c.review(CandidateManifest, digest, c.now.Add(s.grace))
		return nil
	}
	now := micros(c.now)
	err = c.UpsertTag(ctx, query.UpsertTagParams{
		RepositoryID: c.repository.ID, Name: name, Digest: digest, CheckedAt: micros(checkedAt), CreatedAt: now, UpdatedAt: now,
	})
	if err != nil {
		return err
	}
	if err := c.recordTag(ctx, name, digest); err != nil {
		return err
	}
	moved := tagMoved{To: digestText(digest)}
	if old.Digest != nil {
		moved.From = digestText(old.Digest)
		c.review(CandidateManifest, old.Digest, c.now.Add(s.grace))
	}
	return c.happened(ctx, event.TagMoved, ":"+name, moved)
}

// heard is when we learned what a tag names: for cached content when the upstream was asked, however late that is written.
func (c *change) heard(checkedAt time.Time) time.Time {
	if c.hosted() || checkedAt.IsZero() || checkedAt.After(c.now) {
		return c.now
	}
	return checkedAt
}

// tagMoved is the detail of event.TagMoved and, without To, of event.TagDeleted.
type tagMoved struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// recordTag writes a tag's history, digest nil when it was deleted, and the change.
func (c *change) recordTag(ctx context.Context, name string, digest []byte) error {
	err := c.InsertTagHistory(ctx, query.InsertTagHistoryParams{
		ID: c.ID(), RepositoryID: c.repository.ID, Name: name, Digest: digest, ActorID: c.actor.ID, At: micros(c.now),
	})
	if err != nil {
		return fmt.Errorf("write its history: %w", err)
	}
	return c.changed(ctx, ChangeTag, name)
}

func (c *change) admit(ctx context.Context, digest []byte, via Via, tag string) error {
	return c.admitAt(ctx, digest, via, tag, c.now)
}

func (c *change) admitAt(ctx context.Context, digest []byte, via Via, tag string, at time.Time) error {
	_, err := c.Tx.Admit(ctx, query.AdmitParams{
		RepositoryID: c.repository.ID, Digest: digest, Via: string(via), Tag: tag, CreatedAt: micros(at),
	})
	if err != nil {
		return fmt.Errorf("admit %s: %w", digestText(digest), err)
	}
	return nil
}

// awaiting is how long a tag that was heard of before its manifest waits for it.
const awaiting = 10 * time.Minute

// takeAwaitingTags points the tags whose HEAD told of this digest a moment ago to the manifest that has now arrived: clients
// that resolve by HEAD and then GET by digest never ask for the tag's content, and still the tag must be servable without the
// upstream.
func (s *Store) takeAwaitingTags(ctx context.Context, c *change, digest []byte) error {
	rows, err := c.ListAwaitingTags(ctx, query.ListAwaitingTagsParams{
		RepositoryID: c.repository.ID, Digest: digest, CreatedAt: micros(c.now.Add(-awaiting)),
	})
	if err != nil {
		return fmt.Errorf("find tags that wait for the manifest: %w", err)
	}
	for _, row := range rows {
		if err := s.moveTag(ctx, c, row.Tag, digest, fromMicros(row.CreatedAt)); err != nil {
			return fmt.Errorf("tag %s: %w", row.Tag, err)
		}
	}
	return nil
}

// Admit records that digest may be asked for in the repository (created if need be), before its bytes are here: a HEAD by
// tag tells containerd the digest it then GETs. An admission whose manifest never comes is forgotten after the grace period.
// One that is young is not written again, so that clients which only ever HEAD cost no writes.
func (s *Store) Admit(ctx context.Context, key RepositoryKey, digest oci.Digest, via Via, tag string) error {
	young, err := s.admittedLately(ctx, key, digest, via, tag)
	if err != nil || young {
		return err
	}
	err = s.changeNamed(ctx, key, func(ctx context.Context, c *change) error {
		d := oci.DigestBytes(digest)
		if err := c.admit(ctx, d, via, tag); err != nil {
			return err
		}
		_, err := c.StatManifest(ctx, query.StatManifestParams{RepositoryID: c.repository.ID, Digest: d})
		if errors.Is(err, sql.ErrNoRows) {
			c.review(CandidateManifest, d, c.now.Add(s.grace))
			return nil
		}
		if err != nil || via != ViaTag || c.hosted() {
			return err
		}
		return s.takeAwaitingTags(ctx, c, d)
	})
	if err != nil {
		return fmt.Errorf("admit %s: %w", digest, err)
	}
	return nil
}

func (s *Store) admittedLately(ctx context.Context, key RepositoryKey, digest oci.Digest, via Via, tag string) (bool, error) {
	id, err := s.RepositoryID(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if via == ViaTag {
		// Only the latest digest of a tag counts as known: a tag that moves back must be heard again.
		newest, err := s.db.Read().NewestTagAdmission(ctx, query.NewestTagAdmissionParams{RepositoryID: id, Tag: tag})
		if err == nil && string(newest.Digest) != string(oci.DigestBytes(digest)) {
			return false, nil
		}
		if err == nil && s.now().Sub(fromMicros(newest.CreatedAt)) >= awaiting/2 {
			return false, nil // the manifest may come now; the tag must wait for it again
		}
	}
	at, err := s.db.Read().GetAdmission(ctx, query.GetAdmissionParams{
		RepositoryID: id, Digest: oci.DigestBytes(digest), Via: string(via), Tag: tag,
	})
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the admission of %s: %w", digest, err)
	}
	return s.now().Sub(fromMicros(at)) < s.grace/2, nil
}

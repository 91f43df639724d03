package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// ManifestInfo is a manifest with what is known of it beside its bytes.
type ManifestInfo struct {
	Manifest
	ArtifactType string
	Size         int64  // in bytes, as in TagInfo
	Platform     string // os/architecture[/variant]; empty while its config is not here
	ImageCreated time.Time
	Labels       map[string]string
}

// ManifestInfo returns a manifest; ErrNotFound.
func (s *Store) ManifestInfo(ctx context.Context, repository int64, digest oci.Digest) (ManifestInfo, error) {
	m, err := s.Manifest(ctx, repository, digest)
	if err != nil {
		return ManifestInfo{}, err
	}
	row, err := s.db.Read().StatManifest(ctx, query.StatManifestParams{RepositoryID: repository, Digest: oci.DigestBytes(digest)})
	if err != nil {
		return ManifestInfo{}, notFound(fmt.Errorf("read manifest %s: %w", digest, err))
	}
	size, err := s.size(ctx, repository, oci.DigestBytes(digest))
	if err != nil {
		return ManifestInfo{}, fmt.Errorf("add up manifest %s: %w", digest, err)
	}
	info := ManifestInfo{Manifest: m, ArtifactType: row.ArtifactType, Size: size, Platform: row.Platform, ImageCreated: fromMicros(row.ImageCreated)}
	_ = json.Unmarshal([]byte(row.Labels), &info.Labels) // made by us: no labels is what a broken row shows
	return info, nil
}

// BrowseManifests lists up to n manifests of a repository behind the digest after (empty = the beginning), with some of the tags of
// each, in the order of digests.
func (s *Store) BrowseManifests(ctx context.Context, repository int64, after oci.Digest, n int) ([]Found, error) {
	r := &searching{s: s}
	rows, err := s.db.Read().SearchManifests(ctx, query.SearchManifestsParams{
		RepositoryID: repository, Low: from([]byte{}, optionalDigest(after)), High: []byte{0xff}, N: page(n),
	})
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	list := make([]Found, 0, len(rows))
	for _, row := range rows {
		found, _, err := r.match(ctx, FoundIn{Repository: repository}, row)
		if err != nil {
			return nil, fmt.Errorf("list manifests: %w", err)
		}
		list = append(list, found)
	}
	return list, nil
}

// TagsOf lists up to n tags that point to a manifest, by name.
func (s *Store) TagsOf(ctx context.Context, repository int64, digest oci.Digest, n int) ([]string, error) {
	rows, err := s.db.Read().ListSomeTagsOf(ctx, query.ListSomeTagsOfParams{RepositoryID: repository, Digest: oci.DigestBytes(digest), N: page(n)})
	if err != nil {
		return nil, fmt.Errorf("list the tags of %s: %w", digest, err)
	}
	return convert(rows, func(r query.ListSomeTagsOfRow) string { return r.Name }), nil
}

// maxTree bounds how many manifests and blobs a Tree holds.
const maxTree = 2000

// Tree is a manifest with everything it refers to, as far as that is here. Nothing is in it twice.
type Tree struct {
	Manifests []oci.Digest         // the root first, parents before their children
	Blobs     map[oci.Digest]int64 // configs and layers that are here, with their sizes
	Bytes     int64                // of the manifests and of what they refer to, here or not
	Cut       bool                 // there is more
}

// Tree gathers a manifest with its children, and theirs; ErrNotFound when the manifest is not here.
func (s *Store) Tree(ctx context.Context, repository int64, root oci.Digest) (Tree, error) {
	t := Tree{Manifests: []oci.Digest{root}, Blobs: map[oci.Digest]int64{}}
	seen := map[oci.Digest]bool{root: true}
	for i := 0; i < len(t.Manifests); i++ {
		m, err := s.Manifest(ctx, repository, t.Manifests[i])
		if err != nil {
			return Tree{}, err
		}
		t.Bytes += int64(len(m.Payload))
		rows, err := s.db.Read().ListSizedReferences(ctx, query.ListSizedReferencesParams{
			RepositoryID: repository, Parent: oci.DigestBytes(m.Digest), N: maxTree,
		})
		if err != nil {
			return Tree{}, fmt.Errorf("read what %s refers to: %w", m.Digest, err)
		}
		t.Cut = t.Cut || len(rows) == maxTree
		for _, row := range rows {
			if err := s.grow(ctx, &t, repository, row, seen); err != nil {
				return Tree{}, err
			}
		}
	}
	return t, nil
}

// grow puts what a manifest refers to into the tree.
func (s *Store) grow(ctx context.Context, t *Tree, repository int64, row query.ListSizedReferencesRow, seen map[oci.Digest]bool) error {
	digest := oci.Digest(digestText(row.Child))
	if seen[digest] {
		return nil
	}
	if len(seen) >= maxTree {
		t.Cut = true
		return nil
	}
	seen[digest] = true
	if row.Kind == refManifest {
		_, err := s.Manifest(ctx, repository, digest)
		switch {
		case err == nil:
			t.Manifests = append(t.Manifests, digest)
		case errors.Is(err, ErrNotFound):
			t.Bytes += max(0, row.Size)
			return nil
		}
		return err
	}
	b, err := s.Blob(ctx, repository, digest)
	switch {
	case err == nil:
		t.Blobs[digest] = b.Size
		t.Bytes += b.Size
	case errors.Is(err, ErrNotFound):
		t.Bytes += max(0, row.Size)
		return nil
	}
	return err
}

// maxHolders bounds how many repositories are looked at for one blob.
const maxHolders = 100

// Holders lists repositories of a group that hold a blob, a hundred at most, in no order.
func (s *Store) Holders(ctx context.Context, group int64, digest oci.Digest) ([]FoundIn, error) {
	rows, err := s.db.Read().ListGroupLinks(ctx, query.ListGroupLinksParams{Digest: oci.DigestBytes(digest), GroupID: group, N: maxHolders})
	if err != nil {
		return nil, fmt.Errorf("find who holds %s: %w", digest, err)
	}
	return convert(rows, func(r query.ListGroupLinksRow) FoundIn { return FoundIn{r.ID, r.Name, r.UpstreamID, r.Epoch} }), nil
}

// Alone sums up the bytes of a tree's blobs that nothing else needs: no manifest of the repository outside the tree, and no other
// repository of the group, of those for which counts is true.
func (s *Store) Alone(ctx context.Context, group, repository int64, t Tree, counts func(FoundIn) bool) (bytes int64, err error) {
	inTree := map[oci.Digest]bool{}
	for _, m := range t.Manifests {
		inTree[m] = true
	}
	for digest, size := range t.Blobs {
		alone, err := s.alone(ctx, group, repository, digest, inTree, counts)
		if err != nil {
			return 0, err
		}
		if alone {
			bytes += size
		}
	}
	return bytes, nil
}

func (s *Store) alone(ctx context.Context, group, repository int64, digest oci.Digest, inTree map[oci.Digest]bool, counts func(FoundIn) bool) (bool, error) {
	parents, err := s.db.Read().ListParents(ctx, query.ListParentsParams{RepositoryID: repository, Child: oci.DigestBytes(digest), N: maxTree})
	if err != nil {
		return false, fmt.Errorf("find who needs %s: %w", digest, err)
	}
	for _, parent := range parents {
		if !inTree[oci.Digest(digestText(parent))] {
			return false, nil
		}
	}
	holders, err := s.Holders(ctx, group, digest)
	for _, h := range holders {
		if h.Repository != repository && counts(h) {
			return false, nil
		}
	}
	return true, err
}

// ErrUnreadable is returned for bytes that are not read here: there are too many, or the blob store only tells where they are.
var ErrUnreadable = errors.New("the bytes are not read here")

// Config returns the bytes of a config, which has at most 4 MiB. ErrNotFound when it is not in the repository, ErrUnreadable.
func (s *Store) Config(ctx context.Context, repository int64, digest oci.Digest) ([]byte, error) {
	b, err := s.Blob(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	if b.Size > maxConfig {
		return nil, ErrUnreadable
	}
	content, err := s.OpenBlob(ctx, b, 0, -1)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open config %s: %w", digest, err)
	}
	if content.Body == nil {
		return nil, ErrUnreadable
	}
	defer content.Body.Close()
	data, err := io.ReadAll(io.LimitReader(content.Body, b.Size))
	if err != nil {
		return nil, fmt.Errorf("read config %s: %w", digest, err)
	}
	return data, nil
}

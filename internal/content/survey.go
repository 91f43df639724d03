package content

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
)

const namedMissing = 10 // manifests that a refusal names

// survey looks for manifests that the target would lack, before anything of a copy is written: a refusal must not leave the other parts
// of an index behind. What the image is made of it adds up.
type survey struct {
	*copying
	seen    map[oci.Digest]bool // manifests
	blobs   map[oci.Digest]bool
	missing []oci.Digest
	of      api.CopyProgress // the totals alone
}

// survey refuses an index of which the target would not have every manifest, unless it takes such, and finds out how much there is to
// do, if somebody wants to know.
func (c *copying) survey(ctx context.Context, m *registry.Manifest) error {
	sparse := c.to.hosted.TakesSparse(c.to.key.Name)
	if sparse && c.progress == nil {
		return nil
	}
	s := survey{copying: c, seen: map[oci.Digest]bool{m.Digest: true}, blobs: map[oci.Digest]bool{}}
	if err := s.look(ctx, m, 0); err != nil {
		return err
	}
	if c.of = s.of; sparse || len(s.missing) == 0 {
		return nil
	}
	return c.lacking(s.missing)
}

// lacking is the refusal of a copy without which the target would have an index without these.
func (c *copying) lacking(missing []oci.Digest) error {
	field, why := "source", "its registry does not have them"
	if len(c.request.Platforms) > 0 {
		field, why = "platforms", "they are not of these platforms, or its registry does not have them"
	}
	var names []string
	for _, digest := range missing[:min(len(missing), namedMissing)] {
		names = append(names, string(digest))
	}
	if n := len(missing) - len(names); n > 0 {
		names = append(names, fmt.Sprintf("and %d more", n))
	}
	return api.WrongBody(field, "the target would lack manifests that the index names, since "+why+": "+strings.Join(names, ", ")+
		"; copy all of it, or set allow_sparse_index for the target's hosted prefix. Nothing was copied")
}

func (s *survey) look(ctx context.Context, m *registry.Manifest, depth int) error {
	if len(s.seen) > copiedManifests || depth > copiedDepth {
		return errTooMany
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Payload)
	if err != nil {
		return fmt.Errorf("read manifest %s: %w", m.Digest, err)
	}
	s.add(parsed)
	for _, child := range parsed.Children {
		if s.seen[child.Digest] {
			continue
		}
		s.seen[child.Digest] = true
		var found *registry.Manifest
		if depth > 0 || s.wants(child.Platform) {
			found, err = s.from.Registry.Manifest(ctx, s.from.Local, oci.ByDigest(child.Digest))
			if err != nil && oci.ErrorCode(err) != oci.CodeManifestUnknown {
				return err
			}
		}
		if found == nil {
			err = s.lacks(ctx, child.Digest)
		} else {
			err = s.look(ctx, found, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add counts a manifest and its blobs.
func (s *survey) add(m *oci.Manifest) {
	s.of.TotalManifests++
	for _, d := range m.Blobs() {
		if len(d.URLs) == 0 && !s.blobs[d.Digest] {
			s.blobs[d.Digest] = true
			s.of.TotalBlobs++
			s.of.TotalBytes += d.Size
		}
	}
}

// lacks notes a manifest that is not copied, unless the target has it.
func (s *survey) lacks(ctx context.Context, digest oci.Digest) error {
	id, err := s.Store.RepositoryID(ctx, s.to.key)
	if err == nil {
		_, err = s.Store.Manifest(ctx, id, digest)
	}
	if errors.Is(err, store.ErrNotFound) {
		s.missing = append(s.missing, digest)
		return nil
	}
	return err
}

// errTooMany is for an image that one copy does not take.
var errTooMany = api.WrongBody("source", fmt.Sprintf("the image has more than %d manifests, or indexes in %d indexes: copy its parts", copiedManifests, copiedDepth))

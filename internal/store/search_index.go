package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// fits reports whether a manifest, or an image of an index, has the platform and the labels that are asked for, and completes
// what is told of an index.
func (r *searching) fits(ctx context.Context, digest []byte, f *Found) (ok bool, err error) {
	ok = r.hasPlatform(f.Platform) && hasLabels(f.Labels, r.q.Labels)
	if !oci.IsIndex(f.MediaType) {
		return ok, nil
	}
	if !ok {
		if f.Images, err = r.images(ctx, f.In.Repository, digest); err != nil || len(f.Images) == 0 {
			return false, err
		}
	}
	f.Size, err = r.s.size(ctx, f.In.Repository, digest)
	return true, err
}

// size is that of a manifest as in TagInfo; 0 for one that is gone.
func (s *Store) size(ctx context.Context, repository int64, digest []byte) (int64, error) {
	size, err := s.db.Read().GetSize(ctx, query.GetSizeParams{RepositoryID: repository, Digest: digest})
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return size, err
}

func (r *searching) hasPlatform(platform string) bool {
	return r.q.Platform == "" || platform == r.q.Platform || strings.HasPrefix(platform, r.q.Platform+"/")
}

// mayHaveLabels reports whether labels, as rows have them, may be those that are asked for: most are not, and need not be parsed.
func (r *searching) mayHaveLabels(labels string) bool {
	for _, key := range r.labels {
		if !strings.Contains(labels, key) {
			return false
		}
	}
	return true
}

func hasLabels(has, want map[string]string) bool {
	for key, value := range want {
		if got, ok := has[key]; !ok || value != "" && got != value {
			return false
		}
	}
	return true
}

// images are those of an index that have what is asked for. Labels are known of those alone that are here; of which platform the others
// are, the index tells.
func (r *searching) images(ctx context.Context, repository int64, index []byte) (fit []FoundImage, err error) {
	rows, err := r.s.db.Read().ListImages(ctx, query.ListImagesParams{RepositoryID: repository, Parent: index, N: maxTree})
	if err != nil {
		return nil, err
	}
	r.left -= searchIndex + len(rows)
	here := map[oci.Digest]bool{}
	for _, row := range rows {
		digest := oci.Digest(digestText(row.Digest))
		here[digest] = true
		if !r.hasPlatform(row.Platform) || !r.mayHaveLabels(row.Labels) {
			continue
		}
		labels := map[string]string{}
		_ = json.Unmarshal([]byte(row.Labels), &labels) // as in match
		if hasLabels(labels, r.q.Labels) && len(fit) < searchImages {
			fit = append(fit, FoundImage{digest, row.Platform, true})
		}
	}
	if len(r.q.Labels) > 0 {
		return fit, nil
	}
	manifest, err := r.s.db.Read().GetManifest(ctx, query.GetManifestParams{RepositoryID: repository, Digest: index})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r.left -= len(manifest.Payload) / searchPayload
	parsed, err := oci.ParseManifest("", manifest.Payload)
	if err != nil {
		return fit, nil //nolint:nilerr // what is here is all that is known
	}
	return r.described(parsed.Children, here, fit), nil
}

// described adds to the images that fit those that only their index describes.
func (r *searching) described(children []oci.Descriptor, here map[oci.Digest]bool, fit []FoundImage) []FoundImage {
	known := map[oci.Digest]bool{}
	for _, image := range fit {
		known[image.Digest] = true
	}
	for _, child := range children {
		if platform := oci.PlatformText(child.Platform); platform != "" && r.hasPlatform(platform) && !known[child.Digest] && len(fit) < searchImages {
			known[child.Digest] = true
			fit = append(fit, FoundImage{child.Digest, platform, here[child.Digest]})
		}
	}
	return fit
}

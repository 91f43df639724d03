package hosted

import (
	"context"
	"errors"
	"io"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/store"
)

// PutManifest implements registry.Writer.
func (r *Registry) PutManifest(ctx context.Context, repository string, ref oci.Reference, put registry.PutManifest) (registry.Put, error) {
	if len(put.Payload) > oci.MaxManifestSize {
		return registry.Put{}, oci.NewError(oci.CodeSizeInvalid, "a manifest may have at most 4 MiB").WithStatus(413)
	}
	parsed, err := oci.ParseManifest(put.MediaType, put.Payload)
	if err == nil {
		err = parsed.Conforms(put.MediaType, put.Payload)
	}
	if err != nil {
		return registry.Put{}, oci.NewError(oci.CodeManifestInvalid, err.Error())
	}
	digest := oci.DigestOf(oci.SHA256, put.Payload)
	if ref.IsDigest() {
		if digest = oci.DigestOf(ref.Digest.Algorithm(), put.Payload); digest != ref.Digest {
			return registry.Put{}, oci.NewError(oci.CodeDigestInvalid, "the manifest has the digest "+string(digest))
		}
	}
	tags, err := allTags(ref, put.Tags)
	if err != nil {
		return registry.Put{}, err
	}
	_, err = r.store.PutManifest(ctx, store.PutManifest{
		Repository: r.key(repository), Digest: digest, MediaType: put.MediaType, Payload: put.Payload, Manifest: parsed,
		Tags: tags, Via: store.ViaPush, Strict: true, Sparse: r.sparse(repository),
	})
	if err != nil {
		return registry.Put{}, explain(err, errName, "push manifest", repository+" "+ref.String())
	}
	done := registry.Put{Descriptor: oci.Descriptor{MediaType: put.MediaType, Digest: digest, Size: int64(len(put.Payload))}}
	if parsed.Subject != nil {
		done.Subject = parsed.Subject.Digest
	}
	return done, nil
}

// allTags is the tag of the reference and those beside it, each once.
func allTags(ref oci.Reference, beside []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, tag := range append([]string{ref.Tag}, beside...) {
		if tag == "" && ref.IsDigest() || seen[tag] {
			continue
		}
		if !oci.ValidTag(tag) {
			return nil, oci.NewError(oci.CodeTagInvalid, "not a tag")
		}
		seen[tag] = true
		out = append(out, tag)
	}
	return out, nil
}

// MountBlob implements registry.Writer.
func (r *Registry) MountBlob(ctx context.Context, repository, from string, digest oci.Digest) (oci.Descriptor, error) {
	return r.LinkBlob(ctx, repository, r, from, digest)
}

// LinkBlob links a blob of another hosted registry of the same store, another group's perhaps, without moving bytes. The
// caller must be allowed to read from there: that is the layer above's to check. BLOB_UNKNOWN when from does not hold
// the blob, UNSUPPORTED when source is no hosted registry.
func (r *Registry) LinkBlob(ctx context.Context, repository string, source registry.Registry, from string, digest oci.Digest) (oci.Descriptor, error) {
	hosted, ok := source.(*Registry)
	if !ok || hosted.store != r.store {
		return oci.Descriptor{}, registry.ErrUnsupported
	}
	if _, err := hosted.blob(ctx, from, digest); err != nil {
		if registry.AsOutcome(err).Outcome == registry.Absent {
			return oci.Descriptor{}, errBlob
		}
		return oci.Descriptor{}, err
	}
	b, err := r.store.LinkBlob(ctx, r.key(repository), digest)
	if err != nil {
		return oci.Descriptor{}, explain(err, errBlob, "mount blob", string(digest))
	}
	return describeBlob(b), nil
}

// StartUpload implements registry.Writer.
func (r *Registry) StartUpload(ctx context.Context, repository string) (registry.Upload, error) {
	up, err := r.store.StartUpload(ctx, r.key(repository))
	if err != nil {
		return nil, explain(err, errName, "start upload to", repository)
	}
	return &upload{up}, nil
}

// ResumeUpload implements registry.Writer.
func (r *Registry) ResumeUpload(ctx context.Context, repository, id string) (registry.Upload, error) {
	up, err := r.store.ResumeUpload(ctx, r.key(repository), id)
	if err != nil {
		return nil, explain(err, errUpload, "resume upload", id)
	}
	return &upload{up}, nil
}

// upload is the store's session with the protocol's errors.
type upload struct{ *store.Upload }

// Append implements registry.Upload.
func (u *upload) Append(ctx context.Context, offset int64, src io.Reader) error {
	return u.explain(u.Upload.Append(ctx, offset, src), "append to upload")
}

// Commit implements registry.Upload.
func (u *upload) Commit(ctx context.Context, digest oci.Digest) (oci.Descriptor, error) {
	b, err := u.Upload.Commit(ctx, digest)
	if err != nil {
		return oci.Descriptor{}, u.explain(err, "finish upload")
	}
	return describeBlob(b), nil
}

// Close implements registry.Upload.
func (u *upload) Close() error { return u.explain(u.Upload.Close(), "save upload") }

// Cancel implements registry.Upload.
func (u *upload) Cancel(ctx context.Context) error {
	return u.explain(u.Upload.Cancel(ctx), "cancel upload")
}

func (u *upload) explain(err error, operation string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*oci.Error](err); ok {
		return err // of the body: the layer above knows what to say
	}
	return explain(err, errUpload, operation, u.ID())
}

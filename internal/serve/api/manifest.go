package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/oci"
)

// ManifestSummary is a manifest in a list.
type ManifestSummary struct {
	Digest       string     `json:"digest"`
	MediaType    string     `json:"media_type"`
	ArtifactType string     `json:"artifact_type,omitempty"`
	Platform     string     `json:"platform,omitempty"`
	Size         int64      `json:"size" doc:"Bytes, with config and layers, here or not; of an index, with the manifests in it that are here. What two of them share counts for each"`
	ImageCreated *time.Time `json:"image_created_at,omitempty" doc:"When the image says it was made"`
	StoredAt     time.Time  `json:"stored_at" doc:"When it was pushed, or fetched"`
	LastPulledAt *time.Time `json:"last_pulled_at,omitempty" doc:"Missing when it never was"`
	Pulls        int64      `json:"pulls"`
	Tags         []string   `json:"tags" doc:"At most ten"`
	MoreTags     bool       `json:"more_tags,omitempty"`
}

// ManifestDetail is a manifest with everything that it refers to.
type ManifestDetail struct {
	Digest          string            `json:"digest"`
	MediaType       string            `json:"media_type"`
	ArtifactType    string            `json:"artifact_type,omitempty"`
	Upstream        string            `json:"upstream,omitempty" doc:"Where cached content is from"`
	Platform        string            `json:"platform,omitempty"`
	Size            int64             `json:"size" doc:"Bytes, with config and layers, here or not; of an index, with the manifests in it that are here. What two of them share counts for each"`
	ManifestBytes   int64             `json:"manifest_bytes" doc:"Of the manifest itself"`
	ReferencedBytes int64             `json:"referenced_bytes" doc:"With everything that it refers to, each counted once, here or not"`
	UniqueBytes     int64             `json:"unique_bytes" doc:"Of its configs and layers that are here, the bytes that nothing else needs: no other manifest of the repository, and no other repository of the group that the caller may pull from"`
	AtLeast         bool              `json:"at_least,omitempty" doc:"It refers to more than was counted: both are lower bounds"`
	ImageCreated    *time.Time        `json:"image_created_at,omitempty"`
	StoredAt        time.Time         `json:"stored_at"`
	LastPulledAt    *time.Time        `json:"last_pulled_at,omitempty"`
	Pulls           int64             `json:"pulls"`
	Tags            []string          `json:"tags" doc:"At most a hundred"`
	MoreTags        bool              `json:"more_tags,omitempty"`
	Subject         string            `json:"subject,omitempty" doc:"Digest of the manifest that this one is about"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Platforms       []ManifestChild   `json:"platforms,omitempty" doc:"Of an index: its manifests"`
	Config          *ImageConfig      `json:"config,omitempty"`
	Layers          []Layer           `json:"layers,omitempty"`
	MoreParts       bool              `json:"more_parts,omitempty" doc:"There are more platforms or layers than the thousand that are listed"`
	Referrers       []Referrer        `json:"referrers" doc:"Signatures, attestations and what else is about it and here, at most a hundred"`
	MoreReferrers   bool              `json:"more_referrers,omitempty"`
}

// ManifestChild is a manifest of an index.
type ManifestChild struct {
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type,omitempty"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	Platform     string            `json:"platform,omitempty" doc:"As the index has it"`
	Size         int64             `json:"size" doc:"Bytes of the manifest itself"`
	Here         bool              `json:"here" doc:"False for one of a cached index that nobody has pulled"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// ImageConfig is the config of an image. What only its bytes tell is missing while they are not here.
type ImageConfig struct {
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type,omitempty"`
	Size         int64             `json:"size"`
	Here         bool              `json:"here" doc:"False for one of a cached image that nobody has pulled: it is not fetched to be looked at"`
	Created      *time.Time        `json:"created,omitempty"`
	Author       string            `json:"author,omitempty"`
	OS           string            `json:"os,omitempty"`
	Architecture string            `json:"architecture,omitempty"`
	Variant      string            `json:"variant,omitempty"`
	User         string            `json:"user,omitempty"`
	WorkingDir   string            `json:"working_dir,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Env          []string          `json:"env,omitempty" doc:"As NAME=value; who may read this may pull the image"`
	ExposedPorts []string          `json:"exposed_ports,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"`
	StopSignal   string            `json:"stop_signal,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	History      []ImageStep       `json:"history,omitempty" doc:"How it was built, at most a thousand steps"`
}

// ImageStep is a step of an image's history.
type ImageStep struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	Author     string     `json:"author,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// Layer is a layer of an image, or another blob of an artifact.
type Layer struct {
	Digest      string            `json:"digest"`
	MediaType   string            `json:"media_type,omitempty"`
	Size        int64             `json:"size"`
	Here        bool              `json:"here"`
	SharedBy    *int              `json:"shared_by,omitempty" doc:"How many other repositories of the group, of those that the caller may pull from, hold it too, counted to a hundred; missing behind the first 128 layers"`
	URLs        []string          `json:"urls,omitempty" doc:"Where else it is"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Referrer is a manifest whose subject is another one.
type Referrer struct {
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	Size         int64             `json:"size" doc:"Bytes of the manifest itself"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

type manifestInput struct {
	RepositoryInput
	Digest string `path:"digest" maxLength:"135" doc:"Digest of the manifest"`
	Expected
}

type deleteManifestInput struct {
	RepositoryInput
	Digest string `path:"digest" maxLength:"135" doc:"Digest of the manifest"`
	DryRun bool   `query:"dry_run" doc:"Only tell what would go"`
	Conditions
}

func (a *API) registerManifests() {
	operation(a, huma.Operation{
		OperationID: "list-manifests", Method: http.MethodGet, Path: repositoryPath + "/manifests", Tags: []string{"content"},
		Summary: "List the manifests of a repository, tagged or not, in the order of their digests", Description: repositoryNaming,
	}, a.listManifests)
	operation(a, huma.Operation{
		OperationID: "get-manifest", Method: http.MethodGet, Path: repositoryPath + "/manifests/{digest}", Tags: []string{"content"},
		Summary: "Read a manifest: platforms, config, layers, sizes, referrers", Description: repositoryNaming + " Nothing is fetched from an upstream. The ETag is that of its digest.",
	}, a.getManifest)
	operation(a, deletes(a, huma.Operation{
		OperationID: "delete-manifest", Method: http.MethodDelete, Path: repositoryPath + "/manifests/{digest}", Tags: []string{"content"},
		Summary:     "Delete a manifest with its tags",
		Description: repositoryNaming + " Of a cached one the next pull fetches it anew, as after purge.",
	}), a.deleteManifest)
}

func (a *API) listManifests(ctx context.Context, in *struct {
	RepositoryInput
	ListInput
}) (*page[ManifestSummary], error) {
	key, err := in.start("digest", 1)
	if err != nil {
		return nil, err
	}
	var after oci.Digest
	if key != nil {
		if after, err = oci.ParseDigest(key[0]); err != nil {
			return nil, WrongQuery("after", "not from a page of this list: begin again without after")
		}
	}
	items, more, last, err := a.Content.Manifests(ctx, in.place(ctx), after, in.Limit)
	if err != nil {
		return nil, err
	}
	return newPage(ctx, items, more, "digest", string(last)), nil
}

func (a *API) getManifest(ctx context.Context, in *manifestInput) (*one[ManifestDetail], error) {
	digest, err := parseDigest(in.Digest)
	if err != nil {
		return nil, err
	}
	out, err := a.Content.Manifest(ctx, in.place(ctx), digest)
	if err != nil {
		return nil, err
	}
	tag, err := in.digestTag(out.Digest)
	if err != nil {
		return nil, err
	}
	return &one[ManifestDetail]{tag, out}, nil
}

func (a *API) deleteManifest(ctx context.Context, in *deleteManifestInput) (*deleted, error) {
	digest, err := parseDigest(in.Digest)
	if err != nil {
		return nil, err
	}
	at := in.place(ctx)
	if in.IfMatch != "" || in.IfNoneMatch != "" {
		now, err := a.Content.Manifest(ctx, at, digest)
		if err != nil {
			return nil, err
		}
		if err := in.update(digestETag(now.Digest)); err != nil {
			return nil, err
		}
	}
	out, err := a.Content.DeleteManifest(ctx, at, digest, in.DryRun)
	return deletion(out, err, in.DryRun)
}

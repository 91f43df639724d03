package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// ManifestSummary is a manifest in a list.
type ManifestSummary struct {
	Digest       string     `json:"digest"`
	MediaType    string     `json:"media_type"`
	ArtifactType string     `json:"artifact_type,omitempty"`
	Platform     string     `json:"platform,omitempty"`
	Size         int64      `json:"size"`
	ImageCreated *time.Time `json:"image_created_at,omitempty"`
	StoredAt     time.Time  `json:"stored_at"`
	LastPulledAt *time.Time `json:"last_pulled_at,omitempty"`
	Pulls        int64      `json:"pulls"`
	Tags         []string   `json:"tags"`
	MoreTags     bool       `json:"more_tags,omitempty"`
}

// Manifest is a manifest with everything that it refers to.
type Manifest struct {
	ManifestSummary
	Upstream        string            `json:"upstream,omitempty"`
	ManifestBytes   int64             `json:"manifest_bytes"` // of the manifest itself
	ReferencedBytes int64             `json:"referenced_bytes"`
	UniqueBytes     int64             `json:"unique_bytes"`
	AtLeast         bool              `json:"at_least,omitempty"`
	Subject         string            `json:"subject,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Platforms       []ManifestChild   `json:"platforms,omitempty"`
	Config          *ImageConfig      `json:"config,omitempty"`
	Layers          []Layer           `json:"layers,omitempty"`
	MoreParts       bool              `json:"more_parts,omitempty"`
	Referrers       []Referrer        `json:"referrers"`
	MoreReferrers   bool              `json:"more_referrers,omitempty"`
}

// ManifestChild is a manifest of an index.
type ManifestChild struct {
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type,omitempty"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	Platform     string            `json:"platform,omitempty"`
	Size         int64             `json:"size"`
	Here         bool              `json:"here"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// ImageConfig is the config of an image. Most of it is known only while its bytes are here.
type ImageConfig struct {
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type,omitempty"`
	Size         int64             `json:"size"`
	Here         bool              `json:"here"`
	Created      *time.Time        `json:"created,omitempty"`
	Author       string            `json:"author,omitempty"`
	OS           string            `json:"os,omitempty"`
	Architecture string            `json:"architecture,omitempty"`
	Variant      string            `json:"variant,omitempty"`
	User         string            `json:"user,omitempty"`
	WorkingDir   string            `json:"working_dir,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Env          []string          `json:"env,omitempty"`
	ExposedPorts []string          `json:"exposed_ports,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"`
	StopSignal   string            `json:"stop_signal,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	History      []ImageStep       `json:"history,omitempty"`
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
	SharedBy    *int              `json:"shared_by,omitempty"`
	URLs        []string          `json:"urls,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Referrer is a manifest whose subject is another one.
type Referrer struct {
	Digest       string            `json:"digest"`
	MediaType    string            `json:"media_type"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Manifests lists the manifests of a repository in the order of their digests, page by page as they are asked for.
func (c *Client) Manifests(ctx context.Context, p Place) iter.Seq2[ManifestSummary, error] {
	return pages[ManifestSummary](ctx, c, p.path("manifests"))
}

// Manifest reads one manifest.
func (c *Client) Manifest(ctx context.Context, p Place, digest string) (out Manifest, err error) {
	err = c.Call(ctx, http.MethodGet, p.path("manifests", digest), nil, &out)
	return out, err
}

// DeleteManifest deletes a manifest with its tags.
func (c *Client) DeleteManifest(ctx context.Context, p Place, digest string) error {
	return c.Call(ctx, http.MethodDelete, p.path("manifests", digest), nil, nil)
}

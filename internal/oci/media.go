package oci

import v1 "github.com/opencontainers/image-spec/specs-go/v1"

// Descriptor names content by media type, digest and size (image specification, "Content Descriptors").
type Descriptor = v1.Descriptor

// Platform is the platform an image runs on.
type Platform = v1.Platform

// PlatformText is os/architecture[/variant]; empty for none.
func PlatformText(p *Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// Media types the protocol treats in a special way. Any other well-formed media type is stored and served as it is.
const (
	MediaTypeImageManifest   = v1.MediaTypeImageManifest
	MediaTypeImageIndex      = v1.MediaTypeImageIndex
	MediaTypeImageConfig     = v1.MediaTypeImageConfig
	MediaTypeDockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList      = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerSchema1   = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeDockerSchema1JW = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	MediaTypeOctets          = "application/octet-stream"
)

// ManifestAccept is what Weir asks an upstream for: every manifest type it can keep, most wanted first.
const ManifestAccept = MediaTypeImageIndex + ", " + MediaTypeDockerList + ", " + MediaTypeImageManifest + ", " +
	MediaTypeDockerManifest + ", */*;q=0.1"

// IsIndex reports whether mediaType is an image index or a Docker manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == MediaTypeImageIndex || mediaType == MediaTypeDockerList
}

// IsSchema1 reports whether mediaType is Docker's schema 1, which Weir refuses.
func IsSchema1(mediaType string) bool {
	return mediaType == MediaTypeDockerSchema1 || mediaType == MediaTypeDockerSchema1JW
}

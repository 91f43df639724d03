package oci

import (
	"encoding/json"
	"fmt"
)

// Conforms tells why a manifest must not be pushed as mediaType, naming the field; the error is ErrManifest. Image manifests and
// indexes must be what the image specification ("Image Manifest", "Image Index") or Docker's schema 2 makes of them: clients
// that pull take the presence of these fields for granted. Of other media types a registry knows nothing.
//
// A list that is null is taken for an empty one, since Go programs write their empty lists so. Content that is already out there
// is cached without these questions: m comes from ParseManifest, which asks what a registry itself relies on.
func (m *Manifest) Conforms(mediaType string, payload []byte) error {
	image := mediaType == MediaTypeImageManifest || mediaType == MediaTypeDockerManifest
	switch {
	case !image && !IsIndex(mediaType):
		return nil
	case m.SchemaVersion != 2:
		return fmt.Errorf("%w: schemaVersion must be 2", ErrManifest)
	case image:
		return m.conformsToImage(payload)
	}
	return m.conformsToIndex(payload)
}

func (m *Manifest) conformsToImage(payload []byte) error {
	switch {
	case m.Config == nil:
		return fmt.Errorf("%w: config is missing", ErrManifest)
	case m.Config.MediaType == "":
		return fmt.Errorf("%w: config.mediaType is missing", ErrManifest)
	case len(m.Children) > 0:
		return fmt.Errorf("%w: an image manifest has no manifests: push it as an index", ErrManifest)
	}
	return listConforms("layers", m.Layers, payload)
}

func (m *Manifest) conformsToIndex(payload []byte) error {
	switch {
	case m.Config != nil:
		return fmt.Errorf("%w: an index has no config", ErrManifest)
	case len(m.Layers) > 0:
		return fmt.Errorf("%w: an index has no layers", ErrManifest)
	}
	return listConforms("manifests", m.Children, payload)
}

func listConforms(field string, list []Descriptor, payload []byte) error {
	for i, d := range list {
		if d.MediaType == "" {
			return fmt.Errorf("%w: %s[%d].mediaType is missing", ErrManifest, field, i)
		}
	}
	if len(list) > 0 {
		return nil
	}
	var fields struct {
		Layers    json.RawMessage `json:"layers"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(payload, &fields); err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if field == "layers" && fields.Layers == nil || field == "manifests" && fields.Manifests == nil {
		return fmt.Errorf("%w: %s is missing", ErrManifest, field)
	}
	return nil
}

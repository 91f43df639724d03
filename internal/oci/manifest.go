package oci

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxManifestSize bounds a manifest in bytes, pushed or fetched (distribution specification, "Pushing Manifests": at
// least 4 MiB must be accepted).
const MaxManifestSize = 4 << 20

// Bounds within that size. The largest indexes in use have some hundreds of children, and 10,000 with platforms and annotations
// have fewer than 100,000 values; but 4 MiB of "{}" would become 200 MB of descriptors.
const (
	MaxDescriptors = 10_000
	maxValues      = 100_000
)

// Errors of ParseManifest.
var (
	ErrManifest        = errors.New("not a manifest")
	ErrManifestSchema1 = errors.New("docker schema 1 manifests are not supported; push the image again with a current client")
)

// Manifest is what a registry needs to know of a manifest; the payload itself is always kept byte for byte.
type Manifest struct {
	SchemaVersion int               // 2, if the payload is right
	MediaType     string            // from the payload; empty when it does not say
	ArtifactType  string            // artifactType, else the config's media type for an image manifest
	Config        *Descriptor       // nil for an index
	Layers        []Descriptor      // layers (and the "blobs" of the withdrawn artifact manifest)
	Children      []Descriptor      // manifests of an index
	Subject       *Descriptor       // the manifest this one refers to
	Annotations   map[string]string // never nil-checked by readers: a nil map reads as empty
}

// Blobs returns the config, if any, and the layers.
func (m *Manifest) Blobs() []Descriptor {
	if m.Config == nil {
		return m.Layers
	}
	return append([]Descriptor{*m.Config}, m.Layers...)
}

type envelope struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Blobs         []Descriptor      `json:"blobs"`
	Manifests     []Descriptor      `json:"manifests"`
	FSLayers      json.RawMessage   `json:"fsLayers"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// ParseManifest reads the parts of payload that a registry acts on and leaves everything else alone: unknown fields and
// media types are fine. contentType is the media type it was sent with; a payload that names another one is ErrManifest.
// Every descriptor returned has a well-formed digest and a size of zero or more, and there are at most MaxDescriptors.
func ParseManifest(contentType string, payload []byte) (*Manifest, error) {
	if values(payload) > maxValues {
		return nil, fmt.Errorf("%w: it has too many parts", ErrManifest)
	}
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if e.SchemaVersion == 1 || e.FSLayers != nil || IsSchema1(contentType) {
		return nil, ErrManifestSchema1
	}
	if e.MediaType != "" && contentType != "" && e.MediaType != contentType {
		return nil, fmt.Errorf("%w: the payload says mediaType %q, the Content-Type header %q", ErrManifest, e.MediaType, contentType)
	}
	m := &Manifest{
		SchemaVersion: e.SchemaVersion, MediaType: e.MediaType, ArtifactType: e.ArtifactType, Config: e.Config, Layers: append(e.Layers, e.Blobs...),
		Children: e.Manifests, Subject: e.Subject, Annotations: e.Annotations,
	}
	if m.ArtifactType == "" && e.Config != nil {
		m.ArtifactType = e.Config.MediaType
	}
	return m, m.check()
}

func (m *Manifest) check() error {
	if len(m.Layers)+len(m.Children) > MaxDescriptors {
		return fmt.Errorf("%w: it refers to more than %d others", ErrManifest, MaxDescriptors)
	}
	for i, d := range m.Layers {
		if err := checkDescriptor(d); err != nil {
			return fmt.Errorf("%w: layers[%d].%w", ErrManifest, i, err)
		}
	}
	for i, d := range m.Children {
		if err := checkDescriptor(d); err != nil {
			return fmt.Errorf("%w: manifests[%d].%w", ErrManifest, i, err)
		}
	}
	if m.Config != nil {
		if err := checkDescriptor(*m.Config); err != nil {
			return fmt.Errorf("%w: config.%w", ErrManifest, err)
		}
	}
	if m.Subject != nil {
		if err := checkDescriptor(*m.Subject); err != nil {
			return fmt.Errorf("%w: subject.%w", ErrManifest, err)
		}
	}
	return nil
}

// checkDescriptor starts its error with the name of the field.
func checkDescriptor(d Descriptor) error {
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Size < 0 {
		return errors.New("size is negative")
	}
	return nil
}

// values is how many values JSON text has at most, without decoding it: one for each separator and opening outside strings.
func values(text []byte) int {
	n, quoted := 1, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}

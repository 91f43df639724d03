package distribution

import (
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// referrers answers with an image index. What has no referrers, be it because it does not exist, has an empty one
// (distribution specification, "Listing Referrers": a registry that supports the API must not answer 404).
func (c *call) referrers() error {
	list, err := c.target.Registry.Referrers(c.ctx(), c.target.Name, c.digest, c.artifactType)
	if absent(err) {
		list, err = &registry.ReferrerList{}, nil
	}
	if err != nil {
		return err
	}
	index := struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     string           `json:"mediaType"`
		Manifests     []oci.Descriptor `json:"manifests"`
	}{2, oci.MediaTypeImageIndex, list.Manifests}
	if index.Manifests == nil {
		index.Manifests = []oci.Descriptor{}
	}
	traceHeaders(c.w, registry.TraceFrom(c.ctx()).Values())
	if c.artifactType != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return writeJSON(c.w, oci.MediaTypeImageIndex, index)
}

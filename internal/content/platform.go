package content

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve/api"
)

const maxConfig = 4 << 20 // bytes of an image's config that are read for its platform

// hasPlatforms refuses a copy of platforms that the image does not have: a tag on an index of nothing, or on another platform's image,
// is not what was asked for.
func (c *copying) hasPlatforms(ctx context.Context, m *registry.Manifest) error {
	if len(c.request.Platforms) == 0 {
		return nil
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Payload)
	if err != nil {
		return fmt.Errorf("read manifest %s: %w", m.Digest, err)
	}
	what, have := "the index has", []string{}
	for _, child := range parsed.Children {
		have = append(have, oci.PlatformText(child.Platform))
	}
	if len(parsed.Children) == 0 && parsed.Config != nil {
		own, err := c.platformOf(ctx, parsed.Config.Digest)
		if err != nil {
			return err
		}
		what, have = "it is no index, but one image of", []string{own}
	}
	for i, want := range c.request.Platforms {
		if !slices.ContainsFunc(have, func(p string) bool { return fits(p, want) }) {
			return api.WrongBody(fmt.Sprintf("platforms[%d]", i), "there is no such platform: "+what+" "+listed(have)+". Nothing was copied")
		}
	}
	return nil
}

// listed names platforms for people, each once.
func listed(platforms []string) string {
	slices.Sort(platforms)
	platforms = slices.DeleteFunc(slices.Compact(platforms), func(p string) bool { return p == "" })
	if n := len(platforms) - namedMissing; n > 0 {
		platforms = append(platforms[:namedMissing:namedMissing], fmt.Sprintf("and %d more", n))
	}
	if len(platforms) == 0 {
		return "none that is told"
	}
	return strings.Join(platforms, ", ")
}

// platformOf reads the platform of an image out of its config; empty for what is no config of an image.
func (c *copying) platformOf(ctx context.Context, config oci.Digest) (string, error) {
	b, err := c.from.Registry.Blob(registry.WithTrace(ctx, &registry.Trace{}), c.from.Local, config, registry.Range{})
	if err != nil {
		return "", err
	}
	var text []byte
	if b.Body != nil {
		length := int64(maxConfig)
		if b.Length >= 0 {
			length = min(length, b.Length)
		}
		text, err = io.ReadAll(io.LimitReader(b.Body, length))
		err = errors.Join(err, b.Body.Close())
	}
	if err != nil {
		return "", fmt.Errorf("read config %s: %w", config, err)
	}
	var p oci.Platform
	if json.Unmarshal(text, &p) != nil {
		p = oci.Platform{} // of what is no config nothing is known
	}
	return oci.PlatformText(&p), nil
}

// fits reports whether a platform is one that was asked for: os, os/architecture or os/architecture/variant.
func fits(have, want string) bool { return have == want || strings.HasPrefix(have, want+"/") }

// wants reports whether a platform was asked for.
func (c *copying) wants(p *oci.Platform) bool {
	return len(c.request.Platforms) == 0 || slices.ContainsFunc(c.request.Platforms, func(want string) bool { return fits(oci.PlatformText(p), want) })
}

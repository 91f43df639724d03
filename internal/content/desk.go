// Package content is what stands behind the content half of the API (serve/api): it browses and searches what groups keep, tells
// of images in detail, explains and evaluates pulls, and refreshes, purges, deletes and copies. Every answer begins with what the caller may know
// of, decided by the same grants, rules and registries as a pull, so that a repository that he could not pull looks like one that is not there.
// Package app makes its one Desk. All of it is safe for concurrent use.
package content

import (
	"context"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/assemble"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Options are the parts that a Desk needs; each must be set.
type Options struct {
	Store     *store.Store
	DB        *meta.DB
	Directory *access.Directory
	Table     *namespace.Table
	Group     func(name string) *assemble.Group // in force; nil when there is none
	Loopback  bool                              // the server listens on loopback alone
	Changed   func(context.Context)             // puts a definition that was just changed in force
}

// Desk answers the API about content.
type Desk struct{ Options }

// New returns a Desk.
func New(o Options) *Desk { return &Desk{o} }

var (
	_ api.Content   = (*Desk)(nil)
	_ api.Explainer = (*Desk)(nil)
	_ api.Refresher = (*Desk)(nil)
	_ api.Searcher  = (*Desk)(nil)
)

// parseImage reads an image as people write it: [host/]<group>/<…>[:tag][@digest]. A digest wins over a tag; neither is "latest".
func parseImage(image string) (name string, ref oci.Reference, err error) {
	name = strings.TrimPrefix(strings.TrimPrefix(image, "https://"), "http://")
	if host, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(host, ":") || host == "localhost") {
		name = rest
	}
	name, digest, pinned := strings.Cut(name, "@")
	tag := "latest"
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	switch {
	case !oci.ValidRepository(name):
		return "", ref, oci.NewError(oci.CodeNameInvalid, "the image must look like <group>/<registry>/<name>[:tag][@digest]")
	case pinned:
		d, err := oci.ParseDigest(digest)
		if err != nil {
			return "", ref, oci.NewError(oci.CodeDigestInvalid, "what follows the @ must be a sha256 or sha512 digest")
		}
		return name, oci.ByDigest(d), nil
	case !oci.ValidTag(tag):
		return "", ref, oci.NewError(oci.CodeTagInvalid, "what follows the colon is not a tag")
	}
	return name, oci.ByTag(tag), nil
}

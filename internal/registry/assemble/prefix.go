package assemble

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/store/meta"
)

// prefixes are the settings of hosted repositories, longest prefix first.
type prefixes []meta.HostedPrefix

func newPrefixes(rows []meta.HostedPrefix) prefixes {
	sorted := slices.Clone(rows)
	slices.SortFunc(sorted, func(a, b meta.HostedPrefix) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
	return sorted
}

// find returns the settings for a repository below the group; the zero value when no prefix covers it.
func (p prefixes) find(repository string) meta.HostedPrefix {
	for _, row := range p {
		rest, ok := strings.CutPrefix(repository, row.Prefix)
		if ok && (rest == "" || row.Prefix == "" || rest[0] == '/') {
			return row
		}
	}
	return meta.HostedPrefix{}
}

// AllowsAnonymousPull reports whether anyone may pull a hosted repository of the group.
func (g *Group) AllowsAnonymousPull(repository string) bool {
	return g.prefixes.find(repository).AnonymousPull
}

// AllowsSparseIndex reports whether an index pushed to a hosted repository may name manifests that are not there.
func (g *Group) AllowsSparseIndex(repository string) bool {
	return g.prefixes.find(repository).AllowSparseIndex
}

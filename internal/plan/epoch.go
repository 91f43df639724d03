package plan

import (
	"net/url"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// newEpoch reports whether an upstream is to be another place, or the same place seen with another login: then nothing cached
// from it may be served any more. A new secret of the same login is no such change.
func newEpoch(now, want desired.Group, upstream string) bool {
	before, existed := find(now.Upstreams, upstreamName, upstream)
	after, remains := find(want.Upstreams, upstreamName, upstream)
	return existed && remains && identity(now, before) != identity(want, after)
}

type identityKey struct{ host, path, local, kind, username string }

func identity(g desired.Group, u desired.Upstream) identityKey {
	k := identityKey{local: u.Local}
	if parsed, err := url.Parse(u.URL); err == nil {
		k.host, k.path = oci.CanonicalHost(parsed.Host), parsed.Path
	}
	if c, ok := find(g.Credentials, credentialName, u.Credential); ok {
		k.kind, k.username = c.Kind, c.Username
	}
	return k
}

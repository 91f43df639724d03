package api_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// TestWhatItTakes has somebody with a grant below a group hear what a request takes, which is more than to see the group.
func TestWhatItTakes(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.wantAs(t, "admin", "PUT", "/groups/acme/grants/stranger/team", `{"role": "reader"}`, 201)
	for _, c := range []struct{ path, takes string }{
		{"/groups/acme/upstreams", "it takes the role reader"},
		{"/groups/acme/events", "it takes the role maintainer"},
		{"/permissions?path=acme&as=owner", "it takes the role owner"},
		{"/groups/acme/declaration", "it takes the role owner"},
	} {
		w.wantAs(t, "stranger", "GET", c.path, "", 403, c.takes)
		w.wantAs(t, "stranger", "GET", c.path, "", 403, "an owner of acme can grant")
	}
}

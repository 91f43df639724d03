package stack_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// TestManagement: what an owner defines over the API is in force with the answer, and what is turned off or deleted is not.
func TestManagement(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
			image := registrytest.RandomImage(1, 2, 3000)
			u.Put("app", []string{"v1"}, image)
			o := on(t, engine)
			o.Users = []string{"ann", "bob"}
			s := stack.Start(t, o)
			s.Apply(t, `groups: [{name: m, grants: [{user: ann, role: owner}]}]`)
			ann, bob := s.As(t, "ann"), s.As(t, "bob")
			call := func(status int, method, path, in, part string) {
				t.Helper()
				a := ann.Do(t, method, "/api/v1/groups/m"+path, stack.Body("application/json", []byte(in))).Want(t, status)
				if !bytes.Contains(a.Body, []byte(part)) {
					t.Errorf("%s %s: no %s in %s", method, path, part, a.Body)
				}
			}
			call(201, "PUT", "/upstreams/far", fmt.Sprintf(`{"url": %q}`, u.URL()), `"name":"far"`)
			call(200, "GET", "/upstreams/far/health", "", `"status":"unknown"`)
			call(201, "PUT", "/registries/hub", `{"members": [{"upstream": "far"}]}`, `"upstream":"far"`)
			ann.Pull(t, "m/hub/app", "v1", image)
			call(200, "GET", "/upstreams/far/health", "", `"status":"ok"`)
			call(200, "POST", "/upstreams/far/test", `{"repository": "app"}`, `"ok":true`)
			call(200, "POST", "/upstreams/far/test", `{"repository": "none"}`, `"ok":false`)

			call(200, "PATCH", "", `{"enabled": false}`, `"enabled":false`)
			if a := ann.Do(t, "GET", "/v2/m/hub/app/manifests/v1").Want(t, 403); !bytes.Contains(a.Body, []byte("turned off")) {
				t.Errorf("a pull does not say why: %s", a.Body)
			}
			call(409, "POST", "/upstreams/far/test", "", "turned off")
			call(200, "PATCH", "", `{"enabled": null}`, `"enabled":true`)
			ann.Pull(t, "m/hub/app", "v1", image)

			call(409, "DELETE", "", "", "hold content")
			call(200, "DELETE", "/upstreams/far?dry_run=true", "", `"applied":false`)
			ann.Pull(t, "m/hub/app", "v1", image)
			call(204, "DELETE", "/upstreams/far", "", "")
			ann.Do(t, "GET", "/v2/m/hub/app/manifests/v1").Want(t, 404)
			bob.Do(t, "GET", "/api/v1/groups/m").Want(t, 404).WantBody(t, bob.Do(t, "GET", "/api/v1/groups/none").Body)
			bob.Do(t, "GET", "/api/v1/docs").Want(t, 200)
		})
	}
}

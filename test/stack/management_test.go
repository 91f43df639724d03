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
			for _, path := range []string{"/upstreams/far/test", "/upstreams/far/purge?dry_run=true", "/upstreams/far/purge"} {
				call(409, "POST", path, "{}", "turned off")
			}
			call(409, "POST", "/registries/hub/evaluate", `{"reference": "app:v1"}`, "turned off")
			for _, path := range []string{"/upstreams/far/health", "/search?upstream=far", "/search?kind=cached", "/repositories?kind=cached", "/repositories?registry=hub",
				"/repositories/app?upstream=far", "/repositories/app/tags/v1?upstream=far", "/repositories/app/manifests?upstream=far"} {
				call(409, "GET", path, "", "turned off")
			}
			call(409, "DELETE", "/repositories/app?upstream=far", "", "turned off")
			for _, target := range []string{`{"upstream": "m/far"}`, `{"repository": "m/hub/app"}`, `{"image": "m/hub/app:v1"}`} {
				ann.Do(t, "POST", "/api/v1/refresh", stack.Body("application/json", []byte(target))).Want(t, 409)
			}
			call(200, "GET", "/search", "", `[]`) // of what is hosted
			call(200, "GET", "/repositories", "", `[]`)
			call(200, "GET", "/events", "", "")
			call(200, "PATCH", "", `{"enabled": null}`, `"enabled":true`)
			ann.Pull(t, "m/hub/app", "v1", image)

			call(200, "PATCH", "/registries/hub", `{"enabled": false}`, `"enabled":false`)
			call(200, "POST", "/registries/hub/evaluate", `{"reference": "app:v1"}`, `"allowed":false,"why":"the registry is turned off`)
			ann.Do(t, "POST", "/api/v1/refresh", stack.Body("application/json", []byte(`{"image": "m/hub/app:v1"}`))).Want(t, 409)
			call(200, "GET", "/repositories/app?upstream=far", "", `"paths":[]`) // the cache is there, and nobody is served from it
			call(200, "PATCH", "/registries/hub", `{"enabled": null}`, `"enabled":true`)
			ann.Pull(t, "m/hub/app", "v1", image)

			call(409, "DELETE", "", "", "cached content")
			call(200, "DELETE", "/upstreams/far?dry_run=true", "", `"applied":false`)
			ann.Pull(t, "m/hub/app", "v1", image)
			call(204, "DELETE", "/upstreams/far", "", "")
			ann.Do(t, "GET", "/v2/m/hub/app/manifests/v1").Want(t, 404)
			bob.Do(t, "GET", "/api/v1/groups/m").Want(t, 404).WantBody(t, bob.Do(t, "GET", "/api/v1/groups/none").Body)
			bob.Do(t, "GET", "/api/v1/docs").Want(t, 200)
		})
	}
}

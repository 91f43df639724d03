package stack_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestCatalogByBearerToken lists as clients do that log in at the token endpoint: their token covers the catalog and no repository.
func TestCatalogByBearerToken(t *testing.T) {
	s := stack.Start(t, stack.Options{Users: []string{"nobody"}})
	s.Apply(t, `groups: [{name: acme, hosted: [{prefix: open, anonymous_pull: true}]}]`)
	for i, name := range []string{"acme/app", "acme/open/tool"} {
		s.As(t, "admin").Push(t, name, []string{"t"}, registrytest.RandomImage(uint64(i), 1, 10))
	}
	for user, want := range map[string][]string{"admin": {"acme/app", "acme/open/tool"}, "nobody": {"acme/open/tool"}} {
		token := s.NewToken(t, user)
		for scope, listed := range map[string]bool{"registry:catalog:*": true, "": false} {
			a := bearer(t, s.Remote, token, scope).Do(t, http.MethodGet, "_catalog")
			if !listed {
				a.WantCode(t, http.StatusUnauthorized, oci.CodeUnauthorized)
				continue
			}
			var body struct{ Repositories []string }
			if err := json.Unmarshal(a.Want(t, 200).Body, &body); err != nil || !slices.Equal(body.Repositories, want) {
				t.Errorf("%s sees %v (%v), want %v", user, body.Repositories, err, want)
			}
		}
	}
}

// bearer logs in at the token endpoint.
func bearer(t *testing.T, r stack.Remote, password, scope string) stack.Remote {
	t.Helper()
	r.Token = ""
	a := r.Do(t, http.MethodGet, "/token?scope="+scope, func(r *http.Request) { r.SetBasicAuth("any", password) }).Want(t, 200)
	if err := json.Unmarshal(a.Body, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

package stack_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestLocalSocketSeesEverything: whoever may open the local socket may do everything, so nothing is hidden from it, and on somebody
// else's behalf just what is hidden from that one.
func TestLocalSocketSeesEverything(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	s.Apply(t, `groups: [{name: acme, upstreams: [{name: own, local: acme/private}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: own}]}]}]`)
	s.As(t, "admin").Push(t, "acme/private/app", []string{"1"}, registrytest.RandomImage(1, 1, 10))
	for user, want := range map[string]int{"": 200, "admin": 200, "anonymous": 401} {
		for _, probe := range []bool{false, true} {
			e, err := s.API.Explain(t.Context(), "acme/hub/private/app:1", user, probe)
			if err != nil || e.Status != want {
				t.Errorf("explain as %q, probe %v: %d %s, %v; want %d", user, probe, e.Status, e.Message, err, want)
			}
		}
	}
	if _, err := s.API.Refresh(t.Context(), "image", "acme/hub/private/app:1", nil); err != nil {
		t.Error(err)
	}
}

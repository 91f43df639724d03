package stack_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestRefreshForgetsRefusals: whoever pushes upstream, refreshes and pulls must not hear what the upstream said before.
func TestRefreshForgetsRefusals(t *testing.T) {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	s.Do(t, "GET", "acme/hub/app/manifests/1").Want(t, 404)
	image := registrytest.RandomImage(1, 1, 100)
	u.Put("app", []string{"1"}, image)
	s.Do(t, "GET", "acme/hub/app/manifests/1").Want(t, 404) // remembered
	if _, err := s.API.Refresh(t.Context(), "upstream", "acme/far"); err != nil {
		t.Fatal(err)
	}
	s.Pull(t, "acme/hub/app", "1", image)
}

package stack_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/client"
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
	if _, err := s.API.Refresh(t.Context(), "upstream", "acme/far", nil); err != nil {
		t.Fatal(err)
	}
	s.Pull(t, "acme/hub/app", "1", image)
}

// TestRefreshProgress: the tags that were ever pulled are what there is to do.
func TestRefreshProgress(t *testing.T) {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	u.Put("app", []string{"1", "2", "3"}, registrytest.RandomImage(1, 1, 100))
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	for _, tag := range []string{"1", "3"} {
		s.Do(t, "GET", "acme/hub/app/manifests/"+tag).Want(t, 200)
	}
	var told []client.RefreshProgress
	done := must(s.API.Refresh(t.Context(), client.RefreshRepository, "acme/hub/app", func(p client.RefreshProgress) { told = append(told, p) }))(t)
	if done.References != 2 || len(told) == 0 || told[0] != (client.RefreshProgress{TotalReferences: 2}) {
		t.Errorf("%+v, told %+v", done, told)
	}
	_, err := s.API.Refresh(t.Context(), client.RefreshRepository, "acme/none/app", func(client.RefreshProgress) { t.Error("told of what is not there") })
	refused(t, err, 404)
}

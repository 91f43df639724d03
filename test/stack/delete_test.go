package stack_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// TestDeleteRepository deletes a hosted repository and a cached one as a whole, and then the group that had them: what is in the way is
// named until nothing is.
func TestDeleteRepository(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, image, cached, _ := tenants(t, on(t, engine))
			remote := s.As(t, "ann")
			ann := apiOf(t, remote)
			hosted, far := client.Place{Group: "a", Repository: "secret/app"}, client.Place{Group: "a", Repository: "library/app", Upstream: "far"}
			estimate := must(ann.DeleteRepository(t.Context(), hosted, true, nil))(t)
			remote.Pull(t, "a/secret/app", "tag-real", image)
			done := must(ann.DeleteRepository(t.Context(), hosted, false, nil))(t)
			if estimate.DryRun = false; done != estimate || done.Manifests != 2 || done.Tags != 1 || done.Bytes == 0 {
				t.Errorf("took %+v, estimated %+v", done, estimate)
			}
			for _, path := range []string{"manifests/tag-real", "manifests/" + string(image.Manifest.Digest), "blobs/" + string(image.Layers()[0].Digest), "tags/list"} {
				remote.Do(t, "GET", "a/secret/app/"+path).Want(t, 404)
			}
			_, err := ann.DeleteRepository(t.Context(), hosted, false, nil)
			refused(t, err, 404)
			events := remote.Do(t, "GET", "/api/v1/groups/a/events?kind=repository.deleted").Want(t, 200)
			if !strings.Contains(string(events.Body), `"secret/app"`) {
				t.Errorf("events %s", events.Body)
			}
			remote.Push(t, "a/secret/app", []string{"again"}, image) // a new one by the old name
			remote.Pull(t, "a/secret/app", "again", image)

			if done := must(ann.DeleteRepository(t.Context(), far, false, nil))(t); done.Tags != 1 || done.Manifests+done.InUse != 1 {
				t.Errorf("of the cached one went %+v", done)
			}
			remote.Pull(t, "a/hub/library/app", "tag-real", cached) // anew
			groupGoes(t, s)
			checked(t, s)
		})
	}
}

// groupGoes deletes group a, following what the refusals say.
func groupGoes(t *testing.T, s *stack.Server) {
	t.Helper()
	admin := apiOf(t, s.As(t, "admin"))
	remove := func() error { return admin.Call(t.Context(), "DELETE", "/groups/a", nil, nil) }
	if err := remove(); err == nil || !strings.Contains(err.Error(), "secret/app") || !strings.Contains(err.Error(), "upstreams") {
		t.Errorf("what is in the way: %v", err)
	}
	must(admin.DeleteRepository(t.Context(), client.Place{Group: "a", Repository: "secret/app"}, false, nil))(t)
	if err := remove(); err == nil || strings.Contains(err.Error(), "secret/app") {
		t.Errorf("what is in the way: %v", err)
	}
	if err := admin.Call(t.Context(), "DELETE", "/groups/a/upstreams/far", nil, nil); err != nil {
		t.Error(err)
	}
	collected(t, s)
	admin = apiOf(t, s.As(t, "admin"))
	if err := admin.Call(t.Context(), "DELETE", "/groups/a", nil, nil); err != nil {
		t.Errorf("nothing is in the way: %v", err)
	}
	s.As(t, "admin").Do(t, "GET", "/api/v1/groups/a").Want(t, 404)
}

// TestDeleteRepositoryAndPush deletes a repository while somebody pushes to it: what was acknowledged last is there as a whole, and
// nothing of what was deleted.
func TestDeleteRepositoryAndPush(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Users: []string{"ann"}})
	s.Apply(t, `groups: [{name: a, grants: [{user: ann, role: maintainer}]}]`)
	ann := s.As(t, "ann")
	api, place := apiOf(t, ann), client.Place{Group: "a", Repository: "app"}
	const rounds = 15
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds {
			if _, err := api.DeleteRepository(t.Context(), place, false, nil); err != nil && !strings.Contains(err.Error(), "no such") {
				t.Errorf("delete: %v", err)
			}
		}
	})
	for n := range rounds {
		image := registrytest.RandomImage(uint64(n), 1, 100)
		for _, b := range image.Blobs {
			a := ann.Do(t, "POST", "a/app/blobs/uploads/?digest="+string(b.Digest), stack.Body("application/octet-stream", b.Bytes()))
			a.Want(t, 201)
		}
		a := ann.Do(t, "PUT", "a/app/manifests/"+string(image.Manifest.Digest), stack.Body(image.Manifest.MediaType, image.Manifest.Payload))
		if a.Status != 201 && (a.Status != 404 || !strings.Contains(string(a.Body), "MANIFEST_BLOB_UNKNOWN")) {
			t.Errorf("push: %d %s", a.Status, a.Body)
		}
	}
	wg.Wait()
	last := registrytest.RandomImage(100, 1, 100)
	ann.Push(t, "a/app", []string{"last"}, last)
	ann.Pull(t, "a/app", "last", last)
	checked(t, s)
}

package stack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestComeBack: 503 always says when, also where there is no upstream at all and where its content is wrong.
func TestComeBack(t *testing.T) {
	t.Parallel()
	wrong := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	wrong.Set(func(b *registrytest.Behavior) { b.WrongDigestHeader = true })
	wrong.Put("library/app", []string{"1"}, registrytest.RandomImage(1, 1, 100))
	s := stack.Start(t, stack.Options{})
	for name, url := range map[string]string{"no-dns": "http://registry.invalid", "wrong-digest": wrong.URL()} {
		s.Apply(t, fmt.Sprintf(`groups: [{name: %s, upstreams: [{name: far, url: %q}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]}]`, name, url))
		for range 2 { // the second time out of memory
			a := s.Do(t, "GET", name+"/hub/library/app/manifests/1").WantCode(t, 503, oci.CodeUnavailable)
			if a.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %v", name, a.Header)
			}
		}
	}
}

// TestPushSeesItsRefusal: clients look for a blob before they push it, and must get as far as the refusal that says what is wrong.
func TestPushSeesItsRefusal(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fmt.Sprintf(`groups: [{name: acme, upstreams: [{name: far, url: %q}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}], rules: [{allow: "*:1.*"}]}]}]`, u.URL()))
	blob := "acme/hub/app/blobs/" + string(oci.DigestOf(oci.SHA256, []byte("a layer")))
	admin := s.As(t, "admin")
	admin.Do(t, "HEAD", blob).Want(t, 404)
	admin.Do(t, "GET", blob).WantCode(t, 403, oci.CodeDenied)
	a := admin.Do(t, "POST", "acme/hub/app/blobs/uploads/").WantCode(t, 405, oci.CodeUnsupported)
	if !strings.Contains(string(a.Body), "takes no pushes") {
		t.Errorf("%s", a.Body)
	}
	token := s.NewToken(t, "admin")
	for _, what := range []string{"manifests/2.0", "manifests/" + string(oci.DigestOf(oci.SHA256, []byte("a manifest")))} {
		manifest := "acme/hub/app/" + what
		admin.Do(t, "HEAD", manifest).Want(t, 403)
		bearer(t, s.Remote, token, "repository:acme/hub/app:pull").Do(t, "HEAD", manifest).Want(t, 403)
		pusher := bearer(t, s.Remote, token, "repository:acme/hub/app:pull,push")
		pusher.Do(t, "HEAD", manifest).Want(t, 404)
		pusher.Do(t, "GET", manifest).WantCode(t, 403, oci.CodeDenied)
		pusher.Do(t, "PUT", manifest).WantCode(t, 405, oci.CodeUnsupported)
		s.As(t, "").Do(t, "HEAD", manifest).Want(t, 403)
	}
}

// TestPushSeesItsRefusalWithoutUpstreams: the same while no upstream answers, for clients whose token is for a push. Those that pull hear 503.
func TestPushSeesItsRefusalWithoutUpstreams(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	u.Stop()
	token := s.NewToken(t, "admin")
	name := "acme/hub/app"
	blob := name + "/blobs/" + string(oci.DigestOf(oci.SHA256, []byte("a layer")))
	bearer(t, s.Remote, token, "repository:"+name+":pull").Do(t, "HEAD", blob).Want(t, 503)
	s.As(t, "admin").Do(t, "HEAD", blob).Want(t, 503)
	pusher := bearer(t, s.Remote, token, "repository:"+name+":pull,push")
	for _, what := range []string{blob, name + "/manifests/1"} {
		pusher.Do(t, "HEAD", what).Want(t, 404)
		pusher.Do(t, "GET", what).WantCode(t, 503, oci.CodeUnavailable)
	}
	a := pusher.Do(t, "POST", name+"/blobs/uploads/").WantCode(t, 405, oci.CodeUnsupported)
	if !strings.Contains(string(a.Body), "push to a hosted repository of the group, such as acme/app") {
		t.Errorf("%s", a.Body)
	}
}

package stack_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// troubles are the ways in which an upstream fails to answer.
var troubles = []struct {
	name   string
	status int // of a cold pull
	begin  func(u *registrytest.Upstream)
}{
	{"429", 429, always(registrytest.TooManyRequests("7"))},
	{"429 without Retry-After", 429, always(registrytest.TooManyRequests(""))},
	{"500", 503, always(registrytest.Status(500))},
	{"502", 503, always(registrytest.Status(502))},
	{"503", 503, always(registrytest.Status(503))},
	{"504", 503, always(registrytest.Status(504))},
	{"hang", 503, always(registrytest.Fault{Hang: true})},
	{"reset", 503, always(registrytest.Fault{Reset: true})},
	{"refused connections", 503, func(u *registrytest.Upstream) { u.Stop() }},
	{"password changed", 503, func(u *registrytest.Upstream) {
		u.ExpireTokens()
		u.Set(func(b *registrytest.Behavior) { b.Password = "another" })
	}},
	{"token endpoint down", 503, func(u *registrytest.Upstream) {
		u.ExpireTokens()
		u.Fail(registrytest.Rule{Kind: registrytest.KindToken, Fault: registrytest.Status(500)})
	}},
	// With a good token refused again and again, an upstream says that we may not see this: Docker Hub, that it has no such image.
	{"login loop", 404, func(u *registrytest.Upstream) {
		u.ExpireTokens()
		u.Set(func(b *registrytest.Behavior) { b.RejectTokens = true })
	}},
	{"no registry any more", 503, always(registrytest.Fault{Status: 200, Body: "<html>parked</html>"})},
}

func always(f registrytest.Fault) func(*registrytest.Upstream) {
	return func(u *registrytest.Upstream) { u.Fail(registrytest.Rule{Fault: f}) }
}

// TestTrouble has a warm and a cold image at an upstream in every kind of trouble. The warm one is served at once, the cold one
// gets the truth, and a lower member answers where it may.
func TestTrouble(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Configure: func(c *config.Config) { c.Upstream.Timeout = config.Duration(time.Second) }})
	admin := s.As(t, "admin") // who may know what stands behind a registry
	warm, cold, low := registrytest.RandomImage(1, 1, 1000), registrytest.RandomImage(2, 1, 1000), registrytest.RandomImage(3, 1, 1000)
	for _, c := range troubles {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u, good := registrytest.NewUpstream(t, registrytest.UpstreamOptions{}), registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
			u.Set(func(b *registrytest.Behavior) {
				b.Auth, b.Username, b.Password = registrytest.AuthBearer, "ci", "secret"
			})
			u.Put("library/app", []string{"warm"}, warm)
			u.Put("library/app", []string{"cold"}, cold)
			good.Put("library/app", []string{"cold"}, low)
			group := strings.ReplaceAll(strings.ToLower("t-"+c.name), " ", "-")
			s.Apply(t, troubled(group, u.URL(), good.URL()))
			s.Pull(t, group+"/hub/library/app", "warm", warm)
			c.begin(u)

			began := time.Now()
			a := s.Do(t, "GET", group+"/hub/library/app/manifests/warm").Want(t, 200).WantBody(t, warm.Manifest.Payload)
			if took := time.Since(began); took > 900*time.Millisecond {
				t.Errorf("cached content took %v", took)
			}
			a.WantHeader(t, "Cache-Status", "weir; hit; detail=stale")
			if a.Header.Get("Age") == "" || !strings.HasPrefix(a.Header.Get("Warning"), "299 - ") || a.Header.Get("Weir-Decision") == "" {
				t.Errorf("headers of a stale answer: %v", a.Header)
			}
			line := s.Log.Request(t, a.Header.Get("Weir-Decision"))
			if line["cache"] != "stale" || line["member"] != "far" {
				t.Errorf("access line %v", line)
			}
			s.Pull(t, group+"/hub/library/app", "warm", warm) // its blobs too
			s.Do(t, "HEAD", group+"/hub/library/app/manifests/warm").Want(t, 200)

			for _, path := range []string{"manifests/cold", "manifests/" + string(cold.Manifest.Digest), "blobs/" + string(cold.Layers()[0].Digest)} {
				a := admin.Do(t, "GET", group+"/hub/library/app/"+path)
				if a.Err != nil {
					continue // the page of a parked domain was taken for the blob until its digest was known
				}
				a.Want(t, c.status)
				if c.status != 404 && (a.Header.Get("Retry-After") == "" || !strings.Contains(string(a.Body), "far")) {
					t.Errorf("cold: %v %s", a.Header, a.Body)
				}
			}
			s.Do(t, "GET", group+"/both/library/app/manifests/cold").Want(t, 200).WantBody(t, low.Manifest.Payload)
			s.Do(t, "GET", group+"-strict/hub/library/app/manifests/cold").Want(t, 429, 503)
		})
	}
}

// troubled declares registries in front of a bad and a good upstream: hub has the bad one alone, both goes on to the good one when
// the bad one is silent, hub of the strict group does not. What is cached is stale at once.
func troubled(group, bad, good string) string {
	return fmt.Sprintf(`groups:
- name: %[1]s
  credentials: [{name: ci, username: ci, password: secret}]
  upstreams: [{name: far, url: %[2]q, credential: ci, freshness: {default: 1us}}, {name: good, url: %[3]q}]
  registries:
  - {name: hub, anonymous_pull: true, members: [{upstream: far}]}
  - {name: both, anonymous_pull: true, members: [{upstream: far}, {upstream: good}]}
- name: %[1]s-strict
  credentials: [{name: ci, username: ci, password: secret}]
  upstreams: [{name: far, url: %[2]q, credential: ci, on_unknown: stop}, {name: good, url: %[3]q}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}, {upstream: good}]}]`, group, bad, good)
}

// TestContainerdPull pulls as containerd and the newer docker do: HEAD by tag, then GETs by digest. The tag must be served after that
// although nobody ever asked for its manifest by name.
func TestContainerdPull(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	one, two := registrytest.RandomImage(1, 2, 1000), registrytest.RandomIndex(2, 1, 1000)
	u.Put("library/app", []string{"1", "latest"}, one)
	s := stack.Start(t, stack.Options{})
	s.Apply(t, strings.ReplaceAll(fronting(u.URL()), "always", "1us"))
	const name = "acme/hub/library/app"
	pull := func(tag string, image registrytest.Image) {
		t.Helper()
		digest := string(image.Manifest.Digest)
		s.Do(t, "HEAD", name+"/manifests/"+tag).Want(t, 200).WantHeader(t, "Docker-Content-Digest", digest)
		s.Pull(t, name, digest, image)
	}
	pull("1", one)
	s.Do(t, "HEAD", name+"/manifests/latest").Want(t, 200)
	u.Put("library/app", []string{"moved"}, one)
	pull("moved", one)
	u.Put("library/app", []string{"moved", "2"}, two)
	pull("moved", two)
	u.Put("library/app", []string{"seen"}, one) // resolved, and pulled after it moved: the digest that was pulled counts
	s.Do(t, "HEAD", name+"/manifests/seen").Want(t, 200)

	u.Stop()
	for tag, image := range map[string]registrytest.Image{"1": one, "latest": one, "moved": two, "seen": one} {
		for _, method := range []string{"HEAD", "GET"} {
			a := s.Do(t, method, name+"/manifests/"+tag).Want(t, 200).WantHeader(t, "Docker-Content-Digest", string(image.Manifest.Digest))
			if method == "GET" {
				a.WantBody(t, image.Manifest.Payload)
			}
		}
		s.Pull(t, name, tag, image)
	}
	s.Do(t, "GET", name+"/manifests/2").Want(t, 503) // nobody asked for it
}

// TestUpstreamDelete deletes a cached tag at its upstream.
func TestUpstreamDelete(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	image := registrytest.RandomImage(1, 1, 1000)
	u.Put("library/app", []string{"1"}, image)
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fmt.Sprintf(`groups:
- name: keep
  upstreams: [{name: far, url: %[1]q, freshness: {default: always}}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]
- name: refuse
  upstreams: [{name: far, url: %[1]q, freshness: {default: always}, on_upstream_delete: refuse}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]`, u.URL()))
	for _, group := range []string{"keep", "refuse"} {
		s.Pull(t, group+"/hub/library/app", "1", image)
	}
	u.Untag("library/app", "1")
	s.Pull(t, "keep/hub/library/app", "1", image)
	s.Do(t, "GET", "refuse/hub/library/app/manifests/1").Want(t, 404)
}

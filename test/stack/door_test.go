package stack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// doors starts a server whose acme/hub has two upstreams: one that stands for Docker Hub, one for ghcr.io. Both have library/app:1,
// not the same; each has an image of its own.
func doors(t *testing.T, o stack.Options) (s *stack.Server, hub, ghcr registrytest.Image) {
	t.Helper()
	a, b := registrytest.NewUpstream(t, registrytest.UpstreamOptions{}), registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	hub, ghcr = registrytest.RandomImage(1, 1, 100), registrytest.RandomImage(2, 1, 100)
	a.Put("library/app", []string{"1"}, hub)
	b.Put("library/app", []string{"1"}, ghcr)
	b.Put("org/only", []string{"1"}, ghcr)
	s = stack.Start(t, o)
	s.Apply(t, fmt.Sprintf(`groups:
- name: acme
  upstreams: [{name: hub, url: %q, hosts: [docker.io]}, {name: ghcr, url: %q, hosts: [ghcr.io]}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: hub}, {upstream: ghcr}]}, {name: closed, members: [{upstream: hub}]}]
  host_bindings:
  - {host: docker.acme.test, registry: hub}
  - {host: mirror.acme.test, registry: hub, mirror: true}
  - {host: far.acme.test, registry: hub, mirror: true, networks: [192.0.2.0/24]}`, a.URL(), b.URL()))
	return s, hub, ghcr
}

// TestDoors comes in by every door and checks which upstream answered.
func TestDoors(t *testing.T) {
	t.Parallel()
	s, hub, ghcr := doors(t, stack.Options{Configure: func(c *config.Config) { c.ExternalURLs = []string{"https://weir.acme.test"} }})
	for _, c := range []struct {
		host, path string
		want       *registrytest.Image // nil: 404
	}{
		{"", "acme/hub/library/app", &hub},
		{"", "acme/hub/org/only", &ghcr},
		{"docker.acme.test", "library/app", &hub},
		{"DOCKER.acme.test:443", "org/only", &ghcr},
		{"docker.acme.test", "acme/hub/library/app", nil},
		{"other.acme.test", "library/app", nil},
		{"other.acme.test", "acme/hub/library/app", &hub},
		{"", "acme/hub/library/app?ns=docker.io", &hub},
		{"", "acme/hub/library/app?ns=registry-1.docker.io", &hub},
		{"", "acme/hub/library/app?ns=index.docker.io", &hub},
		{"", "acme/hub/library/app?ns=ghcr.io", &ghcr},
		{"docker.acme.test", "library/app?ns=ghcr.io", &ghcr},
		{"docker.acme.test", "library/app?ns=docker.acme.test", &hub},
		{"", "acme/hub/library/app?ns=weir.acme.test", &hub},
		{"", "acme/hub/org/only?ns=docker.io", nil},
		{"", "acme/hub/library/app?ns=quay.io", nil},
		{"", "acme/hub/library/app?ns=169.254.169.254", nil},
		{"", "acme/hub/library/app?ns=10.0.0.1:1", nil},
		{"", "acme/hub/docker.io/library/app", &hub},
		{"", "acme/hub/docker.io/app", &hub}, // whoever answers for Docker Hub has its names
		{"", "acme/hub/app?ns=docker.io", &hub},
		{"", "acme/hub/app", &hub},
		{"", "acme/hub/ghcr.io/library/app", &ghcr},
		{"docker.acme.test", "ghcr.io/org/only", &ghcr},
		{"", "acme/hub/quay.io/library/app", nil},
		{"", "acme/hub/ghcr.io/library/app?ns=docker.io", nil},
	} {
		name, query, _ := strings.Cut(c.path, "?")
		change := func(r *http.Request) {
			if c.host != "" {
				r.Host = c.host
			}
			r.URL.RawQuery = query
		}
		caller := stack.Remote{URL: s.URL}
		if c.want == nil {
			caller = s.As(t, "admin")
			for _, method := range []string{"GET", "HEAD"} {
				if a := caller.Do(t, method, name+"/manifests/1", change); a.Status != 404 {
					t.Errorf("%s %s: %d %s", c.host, c.path, a.Status, a.Body)
				}
			}
			continue
		}
		a := caller.Do(t, "HEAD", name+"/manifests/1", change)
		b := caller.Do(t, "GET", name+"/manifests/1", change)
		if a.Status != 200 || string(b.Body) != string(c.want.Manifest.Payload) {
			t.Errorf("%s %s: %d %d %.200s", c.host, c.path, a.Status, b.Status, b.Body)
			continue
		}
		blob := c.want.Layers()[0]
		caller.Do(t, "GET", name+"/blobs/"+string(blob.Digest), change).Want(t, 200).WantBody(t, blob.Bytes())
	}
	far := stack.Header("Host", "far.acme.test")
	s.Do(t, "GET", "library/app/manifests/1", far).Want(t, 401)
	s.As(t, "admin").Do(t, "GET", "library/app/manifests/1", far).WantCode(t, 403, oci.CodeDenied)
	s.Do(t, "GET", "closed/x/manifests/1", stack.Header("Host", "other.acme.test")).Want(t, 401).
		WantHeader(t, "Www-Authenticate", `Bearer realm="https://weir.acme.test/token",service="other.acme.test",scope="repository:closed/x:pull"`)
}

// TestMirror pulls as a docker daemon does that has Weir as its mirror: with the user's login for Docker Hub, which means nothing
// here, must not keep anybody from pulling, and must not get into the log.
func TestMirror(t *testing.T) {
	t.Parallel()
	s, hub, _ := doors(t, stack.Options{})
	const password = "dckr_pat_topsecret"
	mirror, login := stack.Header("Host", "mirror.acme.test"), func(r *http.Request) { r.SetBasicAuth("hubuser", password) }
	s.Do(t, "GET", "/v2/", mirror).Want(t, 401).
		WantHeader(t, "Www-Authenticate", `Bearer realm="http://mirror.acme.test/token",service="mirror.acme.test"`)
	q := url.Values{"service": {"mirror.acme.test"}, "scope": {"repository:library/app:pull"}, "account": {"hubuser"}}
	a := s.Do(t, "GET", "/token?"+q.Encode(), mirror, login).Want(t, 200)
	var token struct{ Token string }
	if err := json.Unmarshal(a.Body, &token); err != nil || token.Token == "" {
		t.Fatalf("%v %s", err, a.Body)
	}
	for name, auth := range map[string]stack.Change{
		"token": stack.Header("Authorization", "Bearer "+token.Token), "foreign login": login,
		"foreign token": stack.Header("Authorization", "Bearer "+password), "nothing": func(*http.Request) {},
	} {
		for _, path := range []string{"manifests/1", "manifests/" + string(hub.Manifest.Digest), "blobs/" + string(hub.Layers()[0].Digest)} {
			if a := s.Do(t, "GET", "library/app/"+path, mirror, auth); a.Status != 200 {
				t.Errorf("%s: %s: %d %s", name, path, a.Status, a.Body)
			}
		}
	}
	// At any other door a wrong login is a wrong login.
	s.Do(t, "GET", "acme/hub/library/app/manifests/1", login).WantCode(t, 401, oci.CodeUnauthorized)
	s.Do(t, "GET", "library/app/manifests/1", stack.Header("Host", "docker.acme.test"), login).Want(t, 401)
	s.Stop()
	for _, secret := range []string{password, "aHVidXNlcjp", token.Token} {
		if strings.Contains(s.Log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// TestLoopCost has two servers be each other's upstream. A pull must end with an error, after a few requests.
func TestLoopCost(t *testing.T) {
	t.Parallel()
	a, b := stack.Start(t, stack.Options{}), stack.Start(t, stack.Options{})
	a.Apply(t, fronting(b.URL+"/acme/hub"))
	b.Apply(t, fronting(a.URL+"/acme/hub"))
	alone := stack.Start(t, stack.Options{})
	alone.Apply(t, fronting(alone.URL+"/acme/hub"))
	digest := string(nothing.Manifest.Digest)
	for _, s := range []*stack.Server{a, alone} {
		for _, path := range []string{"manifests/1", "manifests/" + digest, "blobs/" + digest, "tags/list"} {
			got := s.Do(t, "GET", "acme/hub/library/app/"+path)
			if got.Status < 400 {
				t.Errorf("%s: %d %s", path, got.Status, got.Body)
			}
		}
		s.Stop()
		if n := strings.Count(s.Log.String(), `"msg":"request"`); n > 20 {
			t.Errorf("%d requests for 4 pulls", n)
		}
	}
}

// TestForwarding sends forwarding headers from a proxy that is trusted and from one that is not.
func TestForwarding(t *testing.T) {
	t.Parallel()
	forwarded := []stack.Change{
		stack.Header("X-Forwarded-For", "192.0.2.7"), stack.Header("X-Forwarded-Proto", "https"), stack.Header("X-Forwarded-Host", "docker.acme.test"),
	}
	for _, c := range []struct {
		proxies        []string
		client, scheme string
		status         int
	}{
		{nil, "127.0.0.1", "http", 404},
		{[]string{"10.0.0.0/8"}, "127.0.0.1", "http", 404},
		{[]string{"127.0.0.0/8"}, "192.0.2.7", "https", 200},
	} {
		t.Run(fmt.Sprint(c.proxies), func(t *testing.T) {
			t.Parallel()
			s, _, _ := doors(t, stack.Options{Configure: func(conf *config.Config) { conf.TrustedProxies = c.proxies }})
			a := s.As(t, "admin").Do(t, "GET", "library/app/manifests/1", forwarded...).Want(t, c.status)
			id := a.Header.Get("X-Request-Id")
			line := s.Log.Find(t, "request "+id, func(l stack.Line) bool { return l["msg"] == "request" && l["id"] == id })
			if line["client"] != c.client {
				t.Errorf("client %v, want %s", line["client"], c.client)
			}
			challenge := s.Do(t, "GET", "/v2/", forwarded...).Want(t, 401).Header.Get("Www-Authenticate")
			if !strings.Contains(challenge, `realm="`+c.scheme+"://") || strings.Contains(challenge, "docker.acme.test") != (c.status == 200) {
				t.Errorf("challenge %s", challenge)
			}
		})
	}
}

// TestFirstRegistry pulls from main/all, which is open as long as nobody but this machine can be asking.
func TestFirstRegistry(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Configure: func(c *config.Config) { c.Upstream.Timeout = config.Duration(1e9) }})
	open := func(changes ...stack.Change) stack.Answer {
		return s.Do(t, "GET", "main/all/quay.io/org/none/manifests/1?ns=unknown.test", changes...)
	}
	open().Want(t, 404) // no member serves that host: nobody on the internet is asked
	for _, c := range []stack.Change{
		stack.Header("X-Forwarded-For", "127.0.0.1"), stack.Header("Forwarded", "for=127.0.0.1"), stack.Header("X-Real-Ip", "127.0.0.1"),
		stack.Header("X-Forwarded-Proto", "http"), stack.Header("X-Forwarded-Host", "localhost"), stack.Header("Host", "weir.example.com"),
	} {
		open(c).Want(t, 401)
	}
	far := stack.Start(t, stack.Options{Configure: func(c *config.Config) { c.Listen = strings.Replace(c.Listen, "127.0.0.1", "0.0.0.0", 1) }})
	reachable := stack.Remote{URL: strings.Replace(far.URL, "0.0.0.0", "127.0.0.1", 1)}
	reachable.Do(t, "GET", "main/all/library/alpine/manifests/latest").Want(t, 401)
}

// TestPushToVirtual tries everything that writes.
func TestPushToVirtual(t *testing.T) {
	t.Parallel()
	s, image, _ := doors(t, stack.Options{})
	admin, digest := s.As(t, "admin"), string(image.Manifest.Digest)
	for _, c := range []struct{ method, path string }{
		{"POST", "blobs/uploads/"}, {"POST", "blobs/uploads/?mount=" + digest + "&from=acme/x"}, {"PUT", "manifests/1"}, {"PUT", "manifests/" + digest},
		{"DELETE", "manifests/1"}, {"DELETE", "manifests/" + digest}, {"DELETE", "blobs/" + digest}, {"PATCH", "blobs/uploads/x"}, {"PUT", "blobs/uploads/x?digest=" + digest},
	} {
		admin.Do(t, c.method, "acme/hub/library/app/"+c.path, stack.Body(oci.MediaTypeImageManifest, image.Manifest.Payload)).
			WantCode(t, 405, oci.CodeUnsupported)
		s.Do(t, c.method, "acme/hub/library/app/"+c.path).Want(t, 401)
	}
}

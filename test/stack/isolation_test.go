package stack_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// nothing are digests that no registry has.
var nothing = registrytest.RandomImage(404, 2, 700)

// tenants starts a server with groups a and b and a developer for each; a has a private image, an artifact that refers to it, and
// a virtual registry with a private and a cached image.
func tenants(t *testing.T, o stack.Options) (*stack.Server, registrytest.Image, registrytest.Image, *registrytest.Upstream) {
	t.Helper()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	o.Users = []string{"ann", "bob"}
	s := stack.Start(t, o)
	s.Apply(t, fmt.Sprintf(`groups:
- name: a
  grants: [{user: ann, role: maintainer}]
  upstreams: [{name: far, url: %[1]q}, {name: own, local: a}]
  registries: [{name: hub, members: [{upstream: own}, {upstream: far}]}]
- name: b
  grants: [{user: bob, role: maintainer}]
  hosted: [{prefix: open, anonymous_pull: true}]
  upstreams: [{name: far, url: %[1]q}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]`, u.URL()))
	image, cached := registrytest.RandomImage(1, 2, 3000), registrytest.RandomImage(2, 2, 3000)
	u.Put("library/app", []string{"tag-real"}, cached)
	ann := s.As(t, "ann")
	ann.Push(t, "a/secret/app", []string{"tag-real"}, image)
	ann.Push(t, "a/secret/app", nil, registrytest.RandomArtifact(3, image.Manifest.Descriptor, "application/vnd.test.sbom"))
	ann.Pull(t, "a/hub/library/app", "tag-real", cached)
	ann.Pull(t, "a/hub/secret/app", "tag-real", image)
	kept(t, ann, client.Place{Group: "a", Repository: "library/app", Upstream: "far"}, cached)
	return s, image, cached, u
}

// kept waits until the cache has all of an image: who pulls it first has its last byte before that.
func kept(t *testing.T, r stack.Remote, p client.Place, image registrytest.Image) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m, err := apiOf(t, r).Manifest(t.Context(), p, string(image.Manifest.Digest))
		if err == nil && m.Config != nil && !slices.ContainsFunc(m.Layers, func(l client.Layer) bool { return !l.Here }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cache does not get %s: %+v, %v", image.Manifest.Digest, m, err)
		}
	}
}

// TestIsolation has tenant b, and nobody, try to get at what tenant a has, by every digest and name of it. Each request is made twice:
// for what exists and for what never did. The answers must not differ.
func TestIsolation(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, image, cached, _ := tenants(t, on(t, engine))
			for who, caller := range map[string]stack.Remote{"bob": s.As(t, "bob"), "nobody": s.As(t, "")} {
				for _, p := range attempts(image, cached) {
					compare(t, who, caller, p)
				}
			}
		})
	}
}

// attempt is one request about what exists, and the same about what does not.
type attempt struct {
	method          string
	real, imagined  string
	body, otherBody []byte
}

func attempts(image, cached registrytest.Image) []attempt {
	var out []attempt
	add := func(method, real, imagined string) {
		out = append(out, attempt{method: method, real: real, imagined: imagined})
	}
	none, noLayer := string(nothing.Manifest.Digest), string(nothing.Layers()[0].Digest)
	places := []struct {
		name  string
		image registrytest.Image
	}{{"a/secret/app", image}, {"a/hub/secret/app", image}, {"a/hub/library/app", cached}}
	for _, place := range places {
		m, l := string(place.image.Manifest.Digest), string(place.image.Layers()[0].Digest)
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			// In a's own repositories: neither the names nor what is in them.
			for _, ref := range []struct{ real, imagined string }{
				{"manifests/tag-real", "manifests/tag-imagined"}, {"manifests/" + m, "manifests/" + none}, {"blobs/" + l, "blobs/" + noLayer},
			} {
				add(method, place.name+"/"+ref.real, place.name+"/"+ref.imagined)
				add(method, place.name+"/"+ref.real, "a/never/was/"+ref.real)
				add(method, place.name+"/"+ref.real, "nogroup/never/"+ref.real)
			}
			// In b's repositories: content of a by its digest.
			for _, mine := range []string{"b/app", "b/open/app", "b/hub/other/app"} {
				add(method, mine+"/manifests/"+m, mine+"/manifests/"+none)
				add(method, mine+"/blobs/"+l, mine+"/blobs/"+noLayer)
			}
		}
		add("GET", place.name+"/tags/list", "a/never/was/tags/list")
		add("GET", place.name+"/referrers/"+m, place.name+"/referrers/"+none)
		add("GET", place.name+"/referrers/"+m, "a/never/was/referrers/"+none)
		add("GET", "b/open/app/referrers/"+m, "b/open/app/referrers/"+none)
		add("POST", place.name+"/blobs/uploads/", "a/never/was/blobs/uploads/")
		add("POST", "nogroup/x/blobs/uploads/", "a/never/was/blobs/uploads/")
		out = append(out, attempt{"PUT", place.name + "/manifests/tag-real", "a/never/was/manifests/tag-imagined", place.image.Manifest.Payload, place.image.Manifest.Payload})
		// A manifest of b that names what only a has.
		out = append(out, attempt{"PUT", "b/app/manifests/tag-new", "b/app/manifests/tag-new", place.image.Manifest.Payload, nothing.Manifest.Payload})
	}
	return out
}

// compare makes both requests. What differs by the name asked for alone is made equal first.
func compare(t *testing.T, who string, caller stack.Remote, p attempt) {
	t.Helper()
	send := func(path string, body []byte) stack.Answer {
		if body == nil {
			return caller.Do(t, p.method, path)
		}
		return caller.Do(t, p.method, path, stack.Body(oci.MediaTypeImageManifest, body))
	}
	a, b := send(p.real, p.body), send(p.imagined, p.otherBody)
	if a.Status < 400 && !strings.Contains(p.real, "/uploads/") && !strings.Contains(p.real, "/referrers/") {
		t.Errorf("%s: %s %s: %d", who, p.method, p.real, a.Status)
	}
	x, y := normal(a, p.real, p.body), normal(b, p.imagined, p.otherBody)
	if x != y {
		t.Errorf("%s: %s %s tells more than %s:\n%s\n%s", who, p.method, p.real, p.imagined, x, y)
	}
}

// normal is an answer as text, without ids and dates, and with names and digests that the caller sent replaced.
func normal(a stack.Answer, path string, body []byte) string {
	a.Header.Del("Content-Length") // as long as the body, which is compared; but for HEAD, where it is a name's length
	for _, h := range []string{"Date", "X-Request-Id", "Weir-Decision", "Location", "Docker-Upload-Uuid"} {
		if a.Header.Get(h) != "" {
			a.Header.Set(h, "something")
		}
	}
	var text strings.Builder
	fmt.Fprintln(&text, a.Status, a.Err)
	for _, h := range slices.Sorted(maps.Keys(a.Header)) {
		fmt.Fprintln(&text, h, a.Header[h])
	}
	text.Write(a.Body)
	name, rest, _ := cutName(path)
	out := strings.ReplaceAll(text.String(), name, "<name>")
	out = strings.ReplaceAll(out, rest, "<reference>")
	if _, local, ok := strings.Cut(name, "/hub/"); ok {
		out = strings.ReplaceAll(out, local, "<local>")
	}
	group, _, _ := strings.Cut(name, "/")
	out = strings.ReplaceAll(out, "owner of "+group+" can", "owner of <group> can")
	if body != nil {
		m, err := oci.ParseManifest("", body)
		if err == nil && m.Config != nil {
			out = strings.ReplaceAll(out, string(m.Config.Digest), "<blob>")
			for _, l := range m.Layers {
				out = strings.ReplaceAll(out, string(l.Digest), "<blob>")
			}
		}
	}
	if i := strings.Index(out, `"decision":"`); i >= 0 {
		out = out[:i] + out[i+len(`"decision":"`)+26:]
	}
	return out
}

// cutName splits a path below /v2/ into the name of the repository and the reference.
func cutName(path string) (name, reference string, ok bool) {
	for _, word := range []string{"/manifests/", "/blobs/uploads/", "/blobs/", "/referrers/", "/tags/"} {
		if name, reference, ok = strings.Cut(path, word); ok {
			if reference == "" {
				reference = "\x00"
			}
			return name, reference, true
		}
	}
	return path, "\x00", false
}

// TestMountAcrossTenants tries to mount a's blobs into b's repository, with and without naming where they are.
func TestMountAcrossTenants(t *testing.T) {
	t.Parallel()
	s, image, cached, _ := tenants(t, stack.Options{})
	bob := s.As(t, "bob")
	for _, c := range []struct{ digest, from string }{
		{string(image.Layers()[0].Digest), "a/secret/app"},
		{string(image.Layers()[0].Digest), "a/hub/secret/app"},
		{string(cached.Layers()[0].Digest), "a/hub/library/app"},
		{string(image.Layers()[0].Digest), ""},
		{string(nothing.Layers()[0].Digest), "a/secret/app"},
		{string(nothing.Layers()[0].Digest), "a/never"},
		{string(nothing.Layers()[0].Digest), ""},
	} {
		q := url.Values{"mount": {c.digest}}
		if c.from != "" {
			q.Set("from", c.from)
		}
		bob.Do(t, "POST", "b/app/blobs/uploads/?"+q.Encode()).Want(t, 202) // an upload like any other
		bob.Do(t, "HEAD", "b/app/blobs/"+c.digest).Want(t, 404)
	}
	// The same within one group works, without a transfer.
	ann := s.As(t, "ann")
	mount := "a/other/blobs/uploads/?mount=" + string(image.Layers()[0].Digest) + "&from=a/secret/app"
	ann.Do(t, "POST", mount).Want(t, 201)
	ann.Do(t, "GET", "a/other/blobs/"+string(image.Layers()[0].Digest)).Want(t, 200).WantBody(t, image.Layers()[0].Bytes())
}

// TestTokenScopes asks the token endpoint for everything of a's. The token it gives is as good as none.
func TestTokenScopes(t *testing.T) {
	t.Parallel()
	s, image, _, _ := tenants(t, stack.Options{})
	digest := string(image.Manifest.Digest)
	bob := s.As(t, "bob")
	q := url.Values{"service": {strings.TrimPrefix(s.URL, "http://")}, "scope": {
		"repository:a/secret/app:pull,push,delete", "repository:a/hub/library/app:pull", "repository:b/app:pull,push", "registry:catalog:*",
	}}
	for who, basic := range map[string]stack.Change{
		"bob": func(r *http.Request) { r.Header.Del("Authorization"); r.SetBasicAuth("bob", bob.Token) }, "nobody": func(*http.Request) {},
	} {
		a := stack.Remote{URL: s.URL}.Do(t, "GET", "/token?"+q.Encode(), basic).Want(t, 200)
		var token struct{ Token string }
		if err := json.Unmarshal(a.Body, &token); err != nil {
			t.Fatal(err)
		}
		as := stack.Remote{URL: s.URL, Token: token.Token}
		for _, path := range []string{"a/secret/app/manifests/" + digest, "a/hub/secret/app/manifests/" + digest, "a/secret/app/tags/list", "a/never/tags/list"} {
			if got := as.Do(t, "GET", path); got.Status != 401 && got.Status != 403 {
				t.Errorf("%s got %d for %s", who, got.Status, path)
			}
		}
		if mine := as.Do(t, "POST", "b/app/blobs/uploads/"); (mine.Status == 202) != (who == "bob") {
			t.Errorf("%s may push: %d", who, mine.Status)
		}
	}
}

// TestCatalog lists for each caller what that caller may read.
func TestCatalog(t *testing.T) {
	t.Parallel()
	s, _, _, _ := tenants(t, stack.Options{})
	ann, bob := s.As(t, "ann"), s.As(t, "bob")
	bob.Push(t, "b/app", []string{"1"}, nothing)
	for caller, want := range map[stack.Remote]string{ann: `["a/secret/app"]`, bob: `["b/app"]`, s.As(t, "admin"): `["a/secret/app","b/app"]`} {
		a := caller.Do(t, "GET", "_catalog").Want(t, 200)
		if !bytes.Contains(a.Body, []byte(want)) {
			t.Errorf("%s, want %s", a.Body, want)
		}
	}
	s.Do(t, "GET", "_catalog").Want(t, 401)
}

// TestTransferPerGroup counts what the upstream is asked for: another group has to transfer again what is in the store already,
// another repository of the same group has to show that it may have it.
func TestTransferPerGroup(t *testing.T) {
	t.Parallel()
	s, _, cached, u := tenants(t, stack.Options{})
	layer := cached.Layers()[0]
	count := func() (heads, gets int, sent int64) {
		return u.Count("HEAD", registrytest.KindBlob), u.Count("GET", registrytest.KindBlob), u.Sent(layer.Digest)
	}
	u.Forget()
	s.Do(t, "GET", "b/hub/library/app/blobs/"+string(layer.Digest)).Want(t, 200).WantBody(t, layer.Bytes())
	if heads, gets, sent := count(); heads != 0 || gets != 1 || sent != layer.Size {
		t.Errorf("another group cost %d HEADs, %d GETs, %d bytes; want one GET", heads, gets, sent)
	}
	u.PutBlob("library/copy", layer)
	u.Forget()
	s.As(t, "ann").Do(t, "GET", "a/hub/library/copy/blobs/"+string(layer.Digest)).Want(t, 200).WantBody(t, layer.Bytes())
	if heads, gets, sent := count(); heads != 1 || gets != 0 || sent != 0 {
		t.Errorf("another repository of the group cost %d HEADs, %d GETs, %d bytes; want one HEAD", heads, gets, sent)
	}
	u.Forget()
	s.As(t, "ann").Do(t, "GET", "a/hub/library/without/blobs/"+string(layer.Digest)).Want(t, 404)
	if heads, gets, _ := count(); heads+gets != 1 {
		t.Errorf("a repository without the blob cost %d HEADs, %d GETs", heads, gets)
	}
}

// TestLocalMemberStaysPrivate asks an open virtual registry for a private repository behind it: as if nobody had it, and the name goes
// to no upstream.
func TestLocalMemberStaysPrivate(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{Users: []string{"ann"}})
	s.Apply(t, fmt.Sprintf(`groups: [{name: a, grants: [{user: ann, role: developer}], upstreams: [{name: own, local: a}, {name: far, url: %q}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: own}, {upstream: far}]}]}]`, u.URL()))
	image, impostor := registrytest.RandomImage(1, 1, 100), registrytest.RandomImage(2, 1, 100)
	ann := s.As(t, "ann")
	ann.Push(t, "a/secret/app", []string{"tag-real"}, image)
	u.Put("secret/app", []string{"tag-real", "tag-other"}, impostor)
	for _, ref := range []string{"manifests/tag-real", "manifests/tag-other", "manifests/" + string(image.Manifest.Digest), "blobs/" + string(image.Config().Digest), "tags/list"} {
		compare(t, "nobody", stack.Remote{URL: s.URL}, attempt{method: "GET", real: "a/hub/secret/app/" + ref, imagined: "a/hub/never/was/" + ref})
	}
	for _, r := range u.Requests() {
		if strings.Contains(r.Repository, "secret") {
			t.Errorf("a private name travelled: %s %s", r.Method, r.Repository)
		}
	}
	ann.Pull(t, "a/hub/secret/app", "tag-real", image)
	ann.Do(t, "GET", "a/hub/secret/app/manifests/tag-other").Want(t, 404)
}

// TestLoginBehindAnOpenRegistry: a client that logs in only when asked to must be asked, for names that exist and others, and gets in.
func TestLoginBehindAnOpenRegistry(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Users: []string{"ann", "bob"}})
	s.Apply(t, `groups: [{name: a, grants: [{user: ann, role: developer}], upstreams: [{name: own, local: a/secret}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: own}]}]}]`)
	image := registrytest.RandomImage(1, 1, 100)
	s.As(t, "ann").Push(t, "a/secret/app", []string{"1"}, image)
	for _, name := range []string{"a/hub/secret/app", "a/hub/secret/none"} {
		for _, method := range []string{"GET", "HEAD"} {
			challenge := s.Remote.Do(t, method, name+"/manifests/1").Want(t, 401).Header.Get("WWW-Authenticate")
			if want := `scope="repository:` + name + `:pull"`; !strings.Contains(challenge, want) {
				t.Errorf("%s %s: challenge %q, want %s", method, name, challenge, want)
			}
		}
		bearer(t, s.Remote, s.NewToken(t, "bob"), "repository:"+name+":pull").Do(t, "GET", name+"/manifests/1").Want(t, 404)
	}
	s.Remote.Do(t, "GET", "a/hub/elsewhere/app/manifests/1").Want(t, 404)
	bearer(t, s.Remote, s.NewToken(t, "ann"), "repository:a/hub/secret/app:pull").Pull(t, "a/hub/secret/app", "1", image)
}

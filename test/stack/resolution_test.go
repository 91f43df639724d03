package stack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// resolution is a server with rules and claims in front of two upstreams and hosted repositories.
type resolution struct {
	*stack.Server
	a, b   *registrytest.Upstream
	images map[string]registrytest.Image // by name
}

func newResolution(t *testing.T) *resolution {
	t.Helper()
	r := &resolution{images: map[string]registrytest.Image{}}
	r.a, r.b = registrytest.NewUpstream(t, registrytest.UpstreamOptions{}), registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	for i, name := range []string{"a", "b", "own", "nightly", "claimed"} {
		r.images[name] = registrytest.RandomImage(uint64(i+1), 2, 500)
	}
	r.a.Put("library/app", []string{"1.0", "1.1", "same"}, r.images["a"])
	r.a.Put("library/app", []string{"nightly", "1.2-alpha"}, r.images["nightly"])
	r.a.Put("payments/api", []string{"1"}, r.images["claimed"]) // an impostor
	r.b.Put("library/app", []string{"1.0", "9.0"}, r.images["b"])
	r.b.Put("library/alone", []string{"1.0"}, r.images["b"])
	r.b.Put("partner/tool", []string{"1"}, r.images["b"])
	r.a.Put("partner/tool", []string{"1"}, r.images["a"])
	r.Server = stack.Start(t, stack.Options{Users: []string{"ann"}, Configure: func(c *config.Config) { c.Cache.NegativeTTL = 0 }})
	r.Apply(t, fmt.Sprintf(`groups:
- name: acme
  grants: [{user: ann, role: reader}]
  hosted: [{prefix: payments, anonymous_pull: true}]
  upstreams:
  - {name: a, url: %q, freshness: {default: forever}, rules: [{deny: "*:*-alpha*"}]}
  - {name: b, url: %q, freshness: {default: forever}}
  - {name: own, local: acme/payments}
  registries:
  - name: hub
    anonymous_pull: true
    members: [{upstream: own, claims: ["payments/*"]}, {upstream: a}, {upstream: b, claims: ["partner/*"]}]
    rules: [{deny: "*:nightly"}, {deny: "library/secret*"}]
  - {name: loose, digest_first: allow, anonymous_pull: true, members: [{upstream: a}], rules: [{allow: "*:1.*"}]}
  - {name: tight, anonymous_pull: true, members: [{upstream: a}], rules: [{allow: "*:1.*"}]}
  - {name: closed, members: [{upstream: a}]}`, r.a.URL(), r.b.URL()))
	r.As(t, "admin").Push(t, "acme/payments/api", []string{"2"}, r.images["own"])
	return r
}

// check pulls a reference and asks explain for it before and after, with a probe and without: all have to agree on status and member.
func (r *resolution) check(t *testing.T, who, image string, status int, member string) stack.Answer {
	t.Helper()
	name, ref, byDigest := strings.Cut(image, "@")
	if !byDigest {
		i := strings.LastIndexByte(image, ':')
		name, ref = image[:i], image[i+1:]
	}
	as := who
	if who == "" {
		as = "anonymous"
	}
	explain := func(when string, probe bool) {
		t.Helper()
		e, err := r.API.Explain(context.Background(), image, as, probe)
		if err != nil {
			t.Errorf("explain %s %s: %v", image, when, err)
			return
		}
		if e.Status == 0 && !probe && when == "before" {
			return // it says that it would have to ask
		}
		if e.Status != status || (e.Decision != nil && status == 200 && e.Decision.Member != member) {
			t.Errorf("explain %s %s, probe %v: %+v %+v; want %d from %s", image, when, probe, e, e.Decision, status, member)
		}
	}
	explain("before", false)
	explain("before", true)
	a := r.As(t, who).Do(t, "GET", name+"/manifests/"+ref).Want(t, status)
	if id := a.Header.Get("Weir-Decision"); id != "" {
		line := r.Log.Request(t, id)
		if got, _ := line["member"].(string); got != member {
			t.Errorf("%s: member %q, want %q", image, got, member)
		}
		if status == 403 && !strings.Contains(string(a.Body), id) {
			t.Errorf("%s: the answer does not name its decision %s: %s", image, id, a.Body)
		}
	} else if status != 401 {
		t.Errorf("%s: no decision", image)
	}
	explain("after", false)
	explain("after", true)
	return a
}

// TestResolution walks through rules, claims and precedence.
func TestResolution(t *testing.T) {
	t.Parallel()
	r := newResolution(t)
	digest := func(name string) string { return string(r.images[name].Manifest.Digest) }
	for _, c := range []struct {
		image  string
		status int
		member string
	}{
		{"acme/hub/library/app:1.0", 200, "a"},            // the first that has it
		{"acme/hub/library/app:9.0", 200, "b"},            // the only one
		{"acme/hub/library/alone:1.0", 200, "b"},          // the same for a repository
		{"acme/hub/library/app:2.0", 404, ""},             // nobody
		{"acme/hub/library/app:nightly", 403, ""},         // a rule of the registry
		{"acme/hub/library/app:1.2-alpha", 404, ""},       // a rule of one upstream; the other does not have it
		{"acme/hub/library/secret-x:1", 403, ""},          // a rule about repositories
		{"acme/hub/partner/tool:1", 200, "b"},             // claimed by the last
		{"acme/hub/payments/api:2", 200, "own"},           // claimed by hosted repositories
		{"acme/hub/payments/api:1", 404, ""},              // not there, whoever says otherwise
		{"acme/hub/payments/other:1", 404, ""},            // the same for a repository that nobody has pushed
		{"acme/tight/library/app:1.0", 200, "a"},          // an allow that matches
		{"acme/tight/library/app:same", 403, ""},          // one that does not
		{"acme/closed/library/app:1.0", 401, ""},          // not for everybody
		{"acme/hub/library/app@" + digest("a"), 200, "a"}, // admitted by 1.0
	} {
		r.check(t, "", c.image, c.status, c.member)
	}
	r.check(t, "ann", "acme/closed/library/app:1.0", 200, "a")
	for _, q := range r.a.Requests() {
		if strings.HasPrefix(q.Repository, "payments/") || q.Repository == "partner/tool" || strings.HasPrefix(q.Repository, "library/secret") {
			t.Errorf("a was asked for %s", q.Repository)
		}
	}
	var tags struct{ Tags []string }
	a := r.Do(t, "GET", "acme/hub/library/app/tags/list").Want(t, 200)
	decode(t, a.Body, &tags)
	if got := strings.Join(tags.Tags, " "); got != "1.0 1.1 same" {
		t.Errorf("tags through the rules: %s", got)
	}
}

// TestDigestFirst asks for digests before any tag, in a registry whose rules speak of tags.
func TestDigestFirst(t *testing.T) {
	t.Parallel()
	r := newResolution(t)
	good, bad := r.images["a"], r.images["nightly"]
	at := func(registry string, image registrytest.Image) string {
		return "acme/" + registry + "/library/app@" + string(image.Manifest.Digest)
	}
	r.check(t, "", at("tight", good), 403, "")
	r.check(t, "", at("tight", bad), 403, "")
	blob := "acme/tight/library/app/blobs/" + string(good.Layers()[0].Digest)
	r.Do(t, "GET", blob).WantCode(t, 403, oci.CodeDenied)
	r.Do(t, "HEAD", "acme/tight/library/app/manifests/1.0").Want(t, 200) // admits the digest
	r.check(t, "", at("tight", good), 200, "a")
	r.Do(t, "GET", blob).Want(t, 200)
	r.check(t, "", "acme/tight/library/app:nightly", 403, "")
	r.check(t, "", at("tight", bad), 403, "")
	r.check(t, "", at("loose", bad), 200, "a")
	r.Do(t, "GET", "acme/loose/library/app/blobs/"+string(bad.Layers()[0].Digest)).Want(t, 200)
	// That loose lets it in is no reason for tight to do so.
	r.check(t, "", at("tight", bad), 403, "")
	r.Do(t, "GET", "acme/tight/library/app/blobs/"+string(bad.Layers()[0].Digest)).Want(t, 403)
}

// TestRefresh moves tags that are fresh for ever. Only a refresh has the upstream asked again.
func TestRefresh(t *testing.T) {
	t.Parallel()
	r := newResolution(t)
	pulls := func(tag, image string) {
		t.Helper()
		r.Do(t, "GET", "acme/hub/library/app/manifests/"+tag).Want(t, 200).WantBody(t, r.images[image].Manifest.Payload)
	}
	move := func(to string) {
		t.Helper()
		r.a.Put("library/app", []string{"1.0", "1.1"}, r.images[to])
	}
	refresh := func(kind, name string) {
		t.Helper()
		if _, err := r.API.Refresh(context.Background(), kind, name, nil); err != nil {
			t.Fatal(err)
		}
	}
	pulls("1.0", "a")
	pulls("1.1", "a")
	move("own")
	pulls("1.0", "a")
	refresh("image", "acme/hub/library/app:1.0")
	pulls("1.0", "own")
	pulls("1.1", "a")
	refresh("repository", "acme/hub/library/app")
	pulls("1.1", "own")
	move("claimed")
	pulls("1.0", "own")
	refresh("upstream", "acme/a")
	pulls("1.0", "claimed")
	pulls("1.1", "claimed")
	r.a.Forget()
	pulls("1.0", "claimed")
	if n := len(r.a.Requests()); n != 0 {
		t.Errorf("%d requests for what is fresh for ever again", n)
	}
	r.a.Stop()
	refresh("upstream", "acme/a") // what cannot be confirmed is served all the same
	pulls("1.0", "claimed")
}

// TestConfigurationTakesEffect changes rules and members while the server runs.
func TestConfigurationTakesEffect(t *testing.T) {
	t.Parallel()
	r := newResolution(t)
	get := func(status int) {
		t.Helper()
		r.Do(t, "GET", "acme/hub/library/app/manifests/9.0").Want(t, status)
	}
	get(200)
	registry := func(members, rules string) {
		t.Helper()
		r.Apply(t, fmt.Sprintf("groups: [{name: acme, registries: [{name: hub, anonymous_pull: true, members: [%s], rules: [%s]}]}]", members, rules))
	}
	registry("{upstream: a}, {upstream: b}", `{deny: "*:9.*"}`)
	get(403)
	registry("{upstream: a}", "")
	get(404)
	registry("{upstream: a}, {upstream: b, enabled: false}", "")
	get(404)
	registry("{upstream: a}, {upstream: b}", "") // what is not said of a member stays
	get(404)
	registry("{upstream: a}, {upstream: b, enabled: true}", "")
	get(200)
	r.Apply(t, `groups: [{name: acme, registries: [{name: hub, enabled: false, anonymous_pull: true, members: [{upstream: b}]}]}]`)
	get(403)
}

// TestUpstreamMoves gives an upstream another address: nothing that came from the old one is served as the new one's.
func TestUpstreamMoves(t *testing.T) {
	t.Parallel()
	r := newResolution(t)
	layer := "acme/tight/library/app/blobs/" + string(r.images["a"].Layers()[0].Digest)
	r.Pull(t, "acme/tight/library/app", "1.0", r.images["a"])
	r.Apply(t, fmt.Sprintf("groups: [{name: other, upstreams: [{name: a, url: %q}]}, {name: acme, upstreams: [{name: b, url: %q}, {name: a, url: %q}]}]",
		r.b.URL(), r.a.URL(), r.b.URL()))
	r.Do(t, "GET", layer).Want(t, 403, 404)
	r.Pull(t, "acme/tight/library/app", "1.0", r.images["b"])
	r.Do(t, "GET", "acme/tight/library/app/manifests/1.1").Want(t, 404)
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v in %.300q", err, b)
	}
}

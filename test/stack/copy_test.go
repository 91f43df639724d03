package stack_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/work/gc"
	"github.com/weir-registry/weir/test/stack"
)

// legacyTag is where cosign keeps a signature without referrers.
func legacyTag(d oci.Digest) string { return oci.ReferrersTag(d) + ".sig" }

// TestCopy copies images from a hosted repository and out of a cold cache. What the target then has is what the source had, to the
// byte, with its signatures; it stays when the source goes, the collector runs, and the upstream is gone.
func TestCopy(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, image, _, u := tenants(t, on(t, engine))
			remote := s.As(t, "ann")
			ann := apiOf(t, remote)
			index := registrytest.RandomIndex(31, 2, 2000)
			attestation := registrytest.RandomArtifact(32, index.Manifest.Descriptor, "application/vnd.test.attestation")
			countersigned := registrytest.RandomArtifact(33, attestation.Manifest.Descriptor, "application/vnd.test.signature")
			ofChild := registrytest.RandomArtifact(34, index.Children[1].Manifest.Descriptor, "application/vnd.test.sbom")
			legacy := registrytest.RandomImage(35, 1, 50)
			u.Put("library/base", []string{"1.0"}, index)
			for _, referrer := range []registrytest.Image{attestation, countersigned, ofChild} {
				u.Put("library/base", nil, referrer)
			}
			u.Put("library/base", []string{legacyTag(index.Manifest.Digest)}, legacy)

			dry := must(ann.Copy(t.Context(), "a", client.CopyRequest{Source: "a/secret/app:tag-real", Target: "a/prod/app:stable", DryRun: true}, nil))(t)
			remote.Do(t, "GET", "a/prod/app/tags/list").Want(t, 404)
			first := must(ann.Copy(t.Context(), "a", client.CopyRequest{Source: "a/secret/app:tag-real", Target: "a/prod/app:stable"}, nil))(t)
			if first.Digest != string(image.Manifest.Digest) || first.Fetched != 0 || first.Manifests != 2 || len(first.Referrers) != 1 || first.Blobs != 5 {
				t.Errorf("from hosted: %+v", first)
			}
			if dry.DryRun = false; !reflect.DeepEqual(dry, first) {
				t.Errorf("a dry run told %+v, and this happened: %+v", dry, first)
			}
			cold := must(ann.Copy(t.Context(), "a", client.CopyRequest{Source: "a/hub/library/base:1.0", Target: "a/prod/base"}, nil))(t)
			if cold.Digest != string(index.Manifest.Digest) || cold.Fetched == 0 || len(cold.Referrers) != 3 || cold.Manifests != 7 {
				t.Errorf("from a cold cache: %+v", cold)
			}
			again := must(ann.Copy(t.Context(), "a", client.CopyRequest{Source: "a/hub/library/base:1.0", Target: "a/prod/base"}, nil))(t)
			if again.Fetched != 0 || again.Manifests != cold.Manifests || again.Blobs != cold.Blobs {
				t.Errorf("again: %+v, before %+v", again, cold)
			}
			if history := every(t, ann.TagHistory(t.Context(), client.Place{Group: "a", Repository: "prod/base"}, "1.0")); len(history) != 1 {
				t.Errorf("the second copy moved the tag: %+v", history)
			}

			u.Stop()
			remote.Do(t, "DELETE", "a/secret/app/manifests/"+string(image.Manifest.Digest)).Want(t, 202)
			must(ann.Purge(t.Context(), "a", "far", "", "", false, nil))(t)
			collected(t, s)
			remote = s.As(t, "ann")
			remote.Pull(t, "a/prod/app", "stable", image)
			remote.Pull(t, "a/prod/base", "1.0", index)
			for _, referrer := range []registrytest.Image{attestation, countersigned, ofChild} {
				remote.Pull(t, "a/prod/base", string(referrer.Manifest.Digest), referrer)
			}
			remote.Pull(t, "a/prod/base", legacyTag(index.Manifest.Digest), legacy)
			list := remote.Do(t, "GET", "a/prod/base/referrers/"+string(index.Manifest.Digest)).Want(t, 200)
			if !strings.Contains(string(list.Body), string(attestation.Manifest.Digest)) {
				t.Errorf("referrers %s", list.Body)
			}
			checked(t, s)
		})
	}
}

// collected stops the server, has everything collected that would ever be, as if days had gone by, and starts the server again.
func collected(t *testing.T, s *stack.Server) {
	t.Helper()
	s.Stop()
	db, err := meta.Open(t.Context(), meta.Options{Engine: s.Config.Database.Engine, Path: s.Config.Database.Path, DSN: s.Config.Database.DSN.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := fs.New(s.Config.Storage.Path)
	if err != nil {
		t.Fatal(err)
	}
	later := func() time.Time { return time.Now().Add(30 * 24 * time.Hour) }
	kept := store.New(db, blobs, store.Options{Now: later})
	collector := gc.New(kept, blobs, gc.Options{Now: func() time.Time { return later().Add(30 * 24 * time.Hour) }})
	for range 5 { // what goes lets go of more
		if err := collector.Collect(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(kept.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	s.Start()
}

// checked compares rows and bytes.
func checked(t *testing.T, s *stack.Server) {
	t.Helper()
	sum, err := s.API.Check(t.Context(), true, func(f client.Finding) {
		if !f.Warning {
			t.Errorf("%s %s: %s", f.Kind, f.Subject, f.Detail)
		}
	}, nil)
	if err != nil || sum.Problems != 0 {
		t.Errorf("check: %+v, %v", sum, err)
	}
}

// TestCopyRights asks for every right that a copy takes, and for the blobs of others.
func TestCopyRights(t *testing.T) {
	s, _, cached, u := tenants(t, stack.Options{})
	s.Apply(t, fmt.Sprintf(`groups:
- name: b
  hosted: [{prefix: sparse, allow_sparse_index: true}, {prefix: open, anonymous_pull: true}]
  grants: [{user: bob, role: maintainer}, {user: ann, path: team, role: developer}]
  upstreams: [{name: far, url: %[1]q}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}, {name: strict, members: [{upstream: far}], rules: [{deny: "*:no"}]}]`, u.URL()))
	index := registrytest.RandomIndex(41, 1, 100)
	u.Put("library/base", []string{"1.0", "no"}, index)
	bob, ann := apiOf(t, s.As(t, "bob")), apiOf(t, s.As(t, "ann"))
	copyTo := func(c *client.Client, source, target string, platforms ...string) error {
		group, _, _ := strings.Cut(target, "/")
		_, err := c.Copy(t.Context(), group, client.CopyRequest{Source: source, Target: target, Platforms: platforms}, nil)
		return err
	}
	for _, c := range []struct {
		who            *client.Client
		source, target string
		status         int
	}{
		{bob, "a/secret/app:tag-real", "b/x", 403},      // may not pull
		{bob, "b/hub/library/base:1.0", "a/x", 404},     // may not push, nor know that there is an a
		{ann, "a/secret/app:tag-real", "b/x", 404},      // has a grant elsewhere in b
		{ann, "a/secret/none:1", "a/x", 404},            // is not there
		{bob, "b/strict/library/base:no", "b/x", 403},   // a rule
		{bob, "b/hub/library/base:1.0", "b/hub/x", 422}, // not hosted
		{bob, "b/hub/library/base:1.0", "b/x@" + string(index.Manifest.Digest), 422},
		{bob, "b/hub/library/base:1.0", "b/X", 422},
		{bob, "X", "b/x", 422},
	} {
		refused(t, copyTo(c.who, c.source, c.target), c.status)
	}
	// A part of an index needs a target that takes one.
	err := copyTo(bob, "b/hub/library/base:1.0", "b/x", "linux/arm64")
	if refused(t, err, 422); err == nil || !strings.Contains(err.Error(), string(index.Children[0].Manifest.Digest)) || strings.Contains(err.Error(), string(index.Children[1].Manifest.Digest)) {
		t.Errorf("what is missing: %v", err)
	}
	s.As(t, "bob").Do(t, "GET", "b/x/manifests/"+string(index.Children[1].Manifest.Digest)).Want(t, 404) // it left nothing
	s.As(t, "bob").Do(t, "GET", "b/x/tags/list").Want(t, 404)
	// Nor is an index copied of which the source lacks a part.
	lacking := registrytest.RandomIndex(42, 1, 100)
	u.Put("library/lacking", []string{"1.0"}, lacking)
	u.Remove("library/lacking", lacking.Children[0].Manifest.Digest)
	refused(t, copyTo(bob, "b/hub/library/lacking:1.0", "b/x"), 422)
	s.As(t, "bob").Do(t, "GET", "b/x/tags/list").Want(t, 404)
	if err := copyTo(bob, "b/hub/library/base:1.0", "b/sparse/x", "linux/arm64"); err != nil {
		t.Error(err)
	}
	remote := s.As(t, "bob")
	for i, status := range []int{404, 200} {
		remote.Do(t, "HEAD", "b/sparse/x/manifests/"+string(index.Children[i].Manifest.Digest)).Want(t, status)
	}
	// The check warns of the part that is missing, and calls the index as people do.
	var warned []string
	if _, err := s.API.Check(t.Context(), false, func(f client.Finding) { warned = append(warned, f.Subject) }, nil); err != nil {
		t.Error(err)
	}
	if want := "b/sparse/x@" + string(index.Manifest.Digest); !slices.Contains(warned, want) {
		t.Errorf("the check is about %q, want %s", warned, want)
	}
	// What an image does not have is not copied, and nothing is tagged.
	s.As(t, "bob").Push(t, "b/one", []string{"1"}, index.Children[0])
	for _, c := range []struct{ source, platform, has string }{
		{"b/hub/library/base:1.0", "linux/xyz", "the index has linux/amd64, linux/arm64"},
		{"b/one:1", "linux/arm64", "one image of linux/amd64"},
	} {
		err := copyTo(bob, c.source, "b/sparse/none:1", c.platform)
		if refused(t, err, 422); err == nil || !strings.Contains(err.Error(), c.has) || !strings.Contains(err.Error(), "body.platforms[0]") {
			t.Errorf("%s of %s: %v", c.platform, c.source, err)
		}
	}
	u.Put("library/part", []string{"1.0"}, lacking)
	u.Remove("library/part", lacking.Children[0].Manifest.Digest)
	refused(t, copyTo(bob, "b/hub/library/part:1.0", "b/sparse/none:1", "linux/amd64"), 422)
	remote.Do(t, "GET", "b/sparse/none/manifests/1").Want(t, 404)
	if err := copyTo(bob, "b/one:1", "b/sparse/same:1", "linux/amd64"); err != nil {
		t.Error(err)
	}
	// Anyone may copy from what is public, into a path that he may push to.
	if err := copyTo(ann, "b/hub/library/base:1.0", "b/team/base:mine"); err != nil {
		t.Error(err)
	}
	s.As(t, "ann").Pull(t, "b/team/base", "mine", index)

	// An upstream that claims to have another tenant's layer does not get at its bytes: what it sends is not what the digest says.
	layer := cached.Layers()[0]
	stolen := registrytest.RandomImage(2, 2, 3000) // names the same layers as cached
	if !slices.ContainsFunc(stolen.Blobs, func(b registrytest.Content) bool { return b.Digest == layer.Digest }) {
		t.Fatal("the images differ")
	}
	liar := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	liar.Put("library/stolen", []string{"1"}, stolen)
	liar.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Reference: string(layer.Digest), Fault: registrytest.Fault{FlipAt: 1}}) // of what it sends, the first byte is not that layer's
	s.Apply(t, fmt.Sprintf(`groups:
- name: c
  grants: [{user: bob, role: owner}]
  upstreams: [{name: liar, url: %q}]
  registries: [{name: hub, members: [{upstream: liar}]}]`, liar.URL()))
	if err := copyTo(bob, "c/hub/library/stolen:1", "c/mine:1"); err == nil {
		t.Error("an image was copied whose layers its upstream did not send")
	}
	remote.Do(t, "HEAD", "c/mine/blobs/"+string(layer.Digest)).Want(t, 404)
}

// TestCopyProgress: who wants to know is told how much there is to do before anything is copied, and what goes wrong afterwards reads as
// any other refusal.
func TestCopyProgress(t *testing.T) {
	s, _, _, u := tenants(t, stack.Options{})
	index := registrytest.RandomIndex(51, 2, 2000)
	u.Put("library/base", []string{"1.0"}, index)
	ann := apiOf(t, s.As(t, "ann"))
	var told []client.CopyProgress
	request := client.CopyRequest{Source: "a/hub/library/base:1.0", Target: "a/prod/base"}
	copied := must(ann.Copy(t.Context(), "a", request, func(p client.CopyProgress) { told = append(told, p) }))(t)
	if copied.Manifests != 3 || copied.Bytes == 0 {
		t.Fatalf("copied %+v", copied)
	}
	want := client.CopyProgress{TotalManifests: copied.Manifests, TotalBlobs: copied.Blobs, TotalBytes: copied.Bytes}
	if len(told) == 0 || told[0] != want {
		t.Errorf("told %+v, want at first %+v", told, want)
	}
	for _, p := range told {
		if p.Manifests > p.TotalManifests || p.Bytes > p.TotalBytes {
			t.Errorf("told %+v", p)
		}
	}

	broken := registrytest.RandomImage(52, 1, 2000)
	u.Put("library/broken", []string{"1"}, broken)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Reference: string(broken.Layers()[0].Digest), Fault: registrytest.Fault{Status: 404}})
	told = nil
	_, err := ann.Copy(t.Context(), "a", client.CopyRequest{Source: "a/hub/library/broken:1", Target: "a/prod/broken"}, func(p client.CopyProgress) { told = append(told, p) })
	refused(t, err, 404)
	if len(told) == 0 {
		t.Error("it was refused at once")
	}
	told = nil
	_, err = ann.Copy(t.Context(), "a", client.CopyRequest{Source: "a/hub/library/none:1", Target: "a/prod/x"}, func(p client.CopyProgress) { told = append(told, p) })
	if refused(t, err, 404); len(told) > 0 {
		t.Errorf("told %+v of what is not there", told)
	}
}
